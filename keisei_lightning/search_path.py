"""How Hydra finds us: the config group, its schema and the resolvers.

Hydra imports this module in every application of the environment, so nothing heavy may be
imported here or by what is imported here.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from keisei_lightning.config_schema import register_schema
from keisei_lightning.naming import register_resolvers

__all__ = ["KeiseiSearchPathPlugin"]


class KeiseiSearchPathPlugin(SearchPathPlugin):
    """Adds ``pkg://keisei_lightning.conf``, so that ``+session=default`` works without an edit."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append our configs behind the user's own, and register schema and resolvers."""
        register_schema()
        register_resolvers()
        search_path.append(provider="keisei-lightning", path="pkg://keisei_lightning.conf")
