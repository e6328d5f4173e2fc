"""Fixtures of the tracking tests: W&B that can reach nothing outside, a real Trainer and module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import KEY

from keisei_lightning.config import TrackerKind, TrackingConfig
from keisei_lightning.tracking import Tracking, wandb_core


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give W&B a home of its own, no key, and no way out."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_SERVICE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(home))
    monkeypatch.setenv("WANDB_DATA_DIR", str(home))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    yield
    core = wandb_core.core_process()
    if not wandb_core.teardown(5.0):
        wandb_core.kill_core(core)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up API key."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run directory with a name that wants quoting."""
    path = tmp_path / "run 'é' 1"
    path.mkdir()
    return path


OpenTracking = Callable[..., Tracking]


@pytest.fixture
def open_tracking(directory: Path) -> Iterator[OpenTracking]:
    """Open tracking in the run directory; whatever is still open is closed at the end."""
    opened: list[Tracking] = []

    def make(*kinds: str, settings: dict[str, Any] | None = None, **more: Any) -> Tracking:
        config = TrackingConfig(
            kinds=[TrackerKind(kind) for kind in kinds], **(settings or {"init_timeout": 5.0})
        )
        facts = {"directory": directory, "session_id": "amber-1", "name": "a run"} | more
        opened.append(Tracking.open(config, **facts))
        return opened[-1]

    yield make
    for tracking in opened:
        tracking.close(0, 10)
