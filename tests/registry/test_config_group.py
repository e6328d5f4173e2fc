"""The config group ``session/registry`` through Hydra's own composition."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from keisei_lightning import Registry
from keisei_lightning.config import RegistryConfig
from keisei_lightning.config_schema import register_schema

VARIABLES = (
    "KEISEI_REGISTRY_URL",
    "SESSION_MAX_CONCURRENT",
    "SESSION_TIMEOUT_SECS",
    "SESSION_CLEANUP_INTERVAL",
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def composed(choice: str) -> Any:
    """The node that a choice of the group gives, under the schema."""
    register_schema()
    with initialize_config_module("keisei_lightning.conf", version_base="1.3"):
        made = compose(overrides=["+session=schema", f"+session/registry={choice}"])
    return made.session.registry


def test_sqlite_is_the_schemas_defaults() -> None:
    """Without variables of the environment the group changes nothing."""
    assert OmegaConf.to_object(composed("sqlite")) == RegistryConfig()


def test_the_environment_may_set_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's three variables and the URL are read, as numbers."""
    monkeypatch.setenv("SESSION_MAX_CONCURRENT", "7")
    monkeypatch.setenv("SESSION_TIMEOUT_SECS", "90.5")
    monkeypatch.setenv("SESSION_CLEANUP_INTERVAL", "0")
    monkeypatch.setenv("KEISEI_REGISTRY_URL", "sqlite:////tmp/x.db")
    with Registry.from_config(composed("sqlite")) as registry:
        found = registry.config
        assert str(registry.path) == "/tmp/x.db"
    assert (found.max_concurrent, found.inactive_after_s, found.cleanup_interval_s) == (
        7,
        90.5,
        0.0,
    )


def test_postgres_needs_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the variable is named; with it it is used."""
    with pytest.raises(InterpolationResolutionError, match="KEISEI_REGISTRY_URL"):
        OmegaConf.to_object(composed("postgres"))
    monkeypatch.setenv("KEISEI_REGISTRY_URL", "postgresql+psycopg://h/d")
    assert composed("postgres").url == "postgresql+psycopg://h/d"


def test_none_is_none() -> None:
    """The registry can be turned off."""
    assert composed("none").enabled is False
