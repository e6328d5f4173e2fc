"""The schema of the ``session`` node in Hydra's ConfigStore, as ``session/schema``.

Hydra makes a deep copy of the whole store each time it lists the options of a group, and
``--help`` lists every group several times. Six groups and a hundred typed nodes of ours would
cost every application of the environment a sixth of a second; with what is here it is nothing.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore

from keisei_lightning.config import SessionConfig

__all__ = ["register_schema"]

_GROUP, _NAME = "session", "schema.yaml"


class SchemaNode(ConfigNode):
    """The schema, built only when a config asks for it.

    ``ConfigStore.load`` takes a shallow copy of a node before it gives it out; here that is the
    moment at which it is built. Most applications of an environment never ask.
    """

    def __init__(self) -> None:
        super().__init__(name=_NAME, node=None, group=_GROUP, package=None, provider=None)  # type: ignore[arg-type]

    def __deepcopy__(self, memo: Any) -> SchemaNode:
        return self  # there is nothing in it that could change

    def __copy__(self) -> ConfigNode:
        from omegaconf import OmegaConf

        return ConfigNode(
            name=self.name,
            node=OmegaConf.structured(SessionConfig),
            group=self.group,
            package=self.package,
            provider="keisei-lightning",
        )


class Shelf(dict[str, Any]):
    """The store's tree of groups; a deep copy shares the nodes, which are never changed in place.

    ``ConfigStore.load`` copies every node that it gives out, so sharing is safe; and listing our
    groups then costs less than listing Hydra's own did before.
    """

    def __deepcopy__(self, memo: Any) -> Shelf:
        return Shelf(_branches(self))


def register_schema() -> None:
    """Put the schema into the store; again is harmless."""
    store = ConfigStore.instance()
    if type(store.repo) is dict:
        store.repo = Shelf(store.repo)
    store.repo.setdefault(_GROUP, {})[_NAME] = SchemaNode()


def _branches(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: _branches(item) if type(item) is dict else item for key, item in tree.items()}
