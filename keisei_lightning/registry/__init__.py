"""The registry over many sessions; its names are loaded on first use, SQLAlchemy with them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keisei_lightning.registry.admission import Admission, Waiting
    from keisei_lightning.registry.events import Event, EventType, Observer
    from keisei_lightning.registry.location import default_database, find_database
    from keisei_lightning.registry.pruning import Kept, Pruned
    from keisei_lightning.registry.query import Filters
    from keisei_lightning.registry.reindex import Reindexed
    from keisei_lightning.registry.retention import Doomed, Retention
    from keisei_lightning.registry.statistics import Health, Statistics
    from keisei_lightning.registry.store import Entry, Registry

__all__ = [
    "Admission",
    "Doomed",
    "Entry",
    "Event",
    "EventType",
    "Filters",
    "Health",
    "Kept",
    "Observer",
    "Pruned",
    "Registry",
    "Reindexed",
    "Retention",
    "Statistics",
    "Waiting",
    "default_database",
    "find_database",
]

_HOMES = {
    "Admission": "admission",
    "Doomed": "retention",
    "Entry": "store",
    "Event": "events",
    "EventType": "events",
    "Filters": "query",
    "Health": "statistics",
    "Kept": "pruning",
    "Observer": "events",
    "Pruned": "pruning",
    "Registry": "store",
    "Reindexed": "reindex",
    "Retention": "retention",
    "Statistics": "statistics",
    "Waiting": "admission",
    "default_database": "location",
    "find_database": "location",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
