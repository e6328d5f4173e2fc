"""Being installed costs other people's Hydra applications next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "lightning", "wandb", "sqlalchemy", "rich", "psutil", "numpy", "typer", "pynvml"}

APP = """
import atexit
import sys

import hydra


@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass


if __name__ == "__main__":
    atexit.register(lambda: print("imported:", *sorted(sys.modules)))
    main()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Give an application that imports Hydra only and, at its end, tells what it has imported."""
    path = tmp_path / "app.py"
    path.write_text(APP, encoding="utf-8")
    return path


def imported(app: Path, *arguments: str) -> set[str]:
    """Run the application and give all modules it had imported when it ended."""
    done = subprocess.run(
        [sys.executable, app, *arguments],
        cwd=app.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.rpartition("imported:")[2].split())


def heavy(modules: set[str]) -> set[str]:
    """Give the libraries among modules that are too heavy for every application."""
    return {name.partition(".")[0] for name in modules} & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--info", "searchpath"], ["--cfg", "job"], ["hydra.run.dir=run"]],
    ids=["help", "info", "cfg", "run"],
)
def test_an_application_that_does_not_use_us_imports_nothing_heavy(
    app: Path, arguments: list[str]
) -> None:
    """The plugin scan brings our search path and schema into the process, no library."""
    modules = imported(app, *arguments)
    assert "keisei_lightning.search_path" in modules  # the scan did find us
    assert heavy(modules) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "all"]], ids=["help", "cfg"])
def test_composing_a_session_imports_nothing_heavy(app: Path, arguments: list[str]) -> None:
    """Composing ``session=default`` needs the schema and the resolvers only."""
    assert heavy(imported(app, "+session=default", *arguments)) == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    """``import keisei_lightning`` loads its names on first use; ``dir`` shows them all the same."""
    code = "import sys, keisei_lightning as k; print('SessionCallback' in dir(k), *sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()
    assert output[0] == "True"
    assert heavy(set(output)) == set()


def test_help_of_an_application_with_a_session_imports_nothing_heavy(tmp_path: Path) -> None:
    """``train.py --help`` and tab completion of a project that uses us stay quick."""
    example = Path(__file__).parents[1] / "examples" / "digits" / "train.py"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", example, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "session:" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "keisei_lightning.search_path" in modules
    assert heavy(modules) == set()
