"""Hyper-parameters as trackers can take them: plain, nested, redacted; never an exception."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

__all__ = ["plain"]

DEEPEST = 20


def plain(value: Any, redact: Callable[[str], str] = str, depth: int = 0) -> Any:
    """Return mappings, sequences and scalars as plain ones, everything else as text.

    Args:
        value: A mapping, a namespace, a dataclass, an OmegaConf node, or a leaf.
        redact: Applied to every text.
        depth: How deep we are; below 20 levels everything is text.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact(value)
    if depth < DEEPEST:
        for convert in (_mapping, _sequence):
            converted = convert(value, redact, depth)
            if converted is not None:
                return converted
    return redact(_text(value))


def _mapping(value: Any, redact: Callable[[str], str], depth: int) -> dict[str, Any] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    elif type(value).__name__ in ("Namespace", "SimpleNamespace"):
        value = vars(value)
    if not isinstance(value, Mapping):
        return None
    result: dict[str, Any] = {}
    for key in _keys(value):
        try:
            item = value[key]
        except Exception as error:  # a broken interpolation, a missing value
            item = f"<{type(error).__name__}>"
        name = key.value if isinstance(key, Enum) else key
        result[redact(str(name))] = plain(item, redact, depth + 1)
    return result


def _keys(value: Mapping[Any, Any]) -> list[Any]:
    try:
        return list(value)
    except Exception:
        return []


def _sequence(value: Any, redact: Callable[[str], str], depth: int) -> list[Any] | None:
    if not isinstance(value, (list, tuple, set, frozenset)) and not _is_list_config(value):
        return None
    try:
        return [plain(item, redact, depth + 1) for item in value]
    except Exception as error:
        return [f"<{type(error).__name__}>"]


def _is_list_config(value: Any) -> bool:
    return type(value).__name__ == "ListConfig"


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(value, '__module__', '')}.{name}".lstrip(".")
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
