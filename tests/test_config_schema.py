"""The schema in Hydra's store: there when asked for, and no burden when not."""

from __future__ import annotations

import copy
import pickle

import pytest
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from keisei_lightning.config import SessionConfig
from keisei_lightning.config_schema import register_schema


@pytest.fixture(autouse=True)
def store() -> ConfigStore:
    """The store with our schema in it."""
    register_schema()
    return ConfigStore.instance()


def test_schema_is_built_when_it_is_loaded(store: ConfigStore) -> None:
    """Each load gives a fresh, typed node; changing one changes no other."""
    first = store.load("session/schema.yaml").node
    second = store.load("session/schema.yaml").node
    first.seed = 7
    assert OmegaConf.get_type(second) is SessionConfig
    assert second.seed == 42


def test_copies_of_the_store_are_independent(store: ConfigStore) -> None:
    """A deep copy has groups of its own, and the nodes given out are copies as ever."""
    store.store(name="one", group="a_group", node={"x": 1})
    copied = copy.deepcopy(store)
    copied.store(name="two", group="a_group", node={"x": 2})
    assert store.list("a_group") == ["one.yaml"]
    assert sorted(copied.list("a_group")) == ["one.yaml", "two.yaml"]
    copied.load("a_group/one.yaml").node.x = 5
    assert store.load("a_group/one.yaml").node.x == 1
    del store.repo["a_group"]


def test_store_can_be_pickled_into_workers(store: ConfigStore) -> None:
    """Launchers send the store to their workers."""
    there = pickle.loads(pickle.dumps(store.repo))
    assert OmegaConf.get_type(copy.copy(there["session"]["schema.yaml"]).node) is SessionConfig


def test_wrong_key_and_type_are_hydras_own_errors() -> None:
    """The schema rejects a key that does not exist and a value of the wrong type."""
    with initialize(version_base="1.3", config_path=None):
        assert compose(overrides=["+session=default", "session.seed=3"]).session.seed == 3
        for override in ("session.sed=1", "session.close.budget_s=soon"):
            with pytest.raises(ConfigCompositionException):
                compose(overrides=["+session=default", override])
