"""The documents tell the truth: every setting is in them, every command of theirs runs."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# What cannot be run from here, and where it is run instead.
ELSEWHERE = {
    "make test": "it is what runs this",
    "make demo": "test_demo_ends_with_the_summary",
    "pip install keisei-lightning": "test_packaging.py installs in every way there is",
}


def blocks() -> list[tuple[str, str]]:
    """Every line of every bash block, with its document; docs/cli.md has a test of its own."""
    found = []
    for document in DOCUMENTS:
        if document.name == "cli.md":
            continue
        for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.splitlines():
                command = line.split("  #")[0].strip()
                if command:
                    found.append((document.name, command))
    return found


def settings() -> list[tuple[str, str]]:
    """Every setting as ``class.field`` with its comment, read from the schema's source."""
    source = (REPOSITORY / "keisei_lightning" / "config.py").read_text()
    rows = source.splitlines()
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    comment = rows[(field.end_lineno or 1) - 1].partition("  # ")[2]
                    found.append((f"{node.name}.{field.target.id}", comment))
    return found


@pytest.mark.parametrize("setting", [name for name, _ in settings()])
def test_every_setting_has_a_comment_and_is_documented(setting: str) -> None:
    """No setting is without one line of comment in the schema and a row in docs/config.md."""
    comment = dict(settings())[setting]
    field = setting.partition(".")[2]
    assert comment or setting.startswith("SessionConfig."), setting
    assert f"`{field}`" in (REPOSITORY / "docs" / "config.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link points to a file that is there."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.long
@pytest.mark.parametrize(
    "command", sorted({command for _, command in blocks() if command not in ELSEWHERE})
)
def test_command_of_the_documents_runs(command: str, tmp_path: Path) -> None:
    """Each command runs as it is written, in the repository's folder layout."""
    words = shlex.split(command)
    assert words[0] == "python", command
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=tmp_path,
        env=env | {"HOME": str(tmp_path), "KEISEI_LOG_DIR": str(tmp_path / "runs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_demo_ends_with_the_summary(tmp_path: Path) -> None:
    """`make demo` trains, learns, and leaves a completed record with reason max_epochs."""
    import json

    done = subprocess.run(
        ["make", "demo"],
        cwd=REPOSITORY,
        env=os.environ | {"KEISEI_LOG_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    record = json.loads((tmp_path / "latest" / "session.json").read_text())
    assert (record["status"], record["ending"]["reason"]) == ("completed", "max_epochs")
    assert record["metrics"]["test/acc"] > 0.95
