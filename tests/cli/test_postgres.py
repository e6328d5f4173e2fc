"""The commands over a real PostgreSQL: they say what they say over SQLite."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from keisei_lightning.record import Status

from .conftest import Invoke, Runs

STORE_TESTS = Path(__file__).parents[1] / "registry" / "conftest.py"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Start the server that the store's own tests use, and return a URL into it."""
    spec = importlib.util.spec_from_file_location("store_tests", STORE_TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    folder = Path(tempfile.mkdtemp(prefix="kpg-"))
    server = module.start_server(folder)
    try:
        yield server.new_schema()
        server.stop_at_once()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_all_commands_over_postgres(
    postgres: str, runs: Runs, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reindex, read, clean up and prune, with the URL from the environment."""
    monkeypatch.setenv("KEISEI_REGISTRY_URL", postgres)
    runs.add("alive", Status.RUNNING, tags=("x", "y"))
    runs.dead("dead", name="100%_real")
    runs.failed("bad", metrics={"loss": 1.0})
    assert invoke("ls").code == 1
    assert invoke("reindex", runs.root, "--json").json["written"] == 3
    assert [one["id"] for one in invoke("ls", "--json").json] == ["alive", "dead", "bad"]
    assert [one["id"] for one in invoke("ls", "--json", "--sort", "name").json] == [
        *("dead", "alive", "bad"),
    ]
    assert [one["id"] for one in invoke("ls", "--name", "0%_", "--json").json] == ["dead"]
    assert [one["id"] for one in invoke("ls", "--liveness", "dead", "--json").json] == ["dead"]
    assert [one["id"] for one in invoke("ls", "-t", "x", "-t", "y", "--json").json] == ["alive"]
    assert invoke("show", "ba", "--json").json["id"] == "bad"
    assert invoke("why").out.startswith("dead ")
    assert invoke("stats", "--json").json["total"] == 3
    assert "1 alive, 1 dead" in invoke("watch").out
    assert invoke("cleanup", "--yes", "--json").json["count"] == 1
    assert invoke("prune", "--status", "failed", "--files").code == 2
    pruned = invoke("prune", "--status", "failed", "--files", "--root", runs.root, "--yes")
    assert "1 session removed" in pruned.out
    assert sorted(path.name for path in runs.root.iterdir() if path.name != "by-status") == [
        *("alive", "dead"),
    ]
