"""Which of W&B's directories are still to be sent."""

from __future__ import annotations

from pathlib import Path

from keisei_lightning.tracking.wandb_directories import (
    can_be_continued,
    has_data,
    mark_sent,
    unsent,
)


def run_directory(root: Path, name: str, id: str, size: int = 100) -> Path:
    """Make a directory as W&B does."""
    path = root / "wandb" / name
    path.mkdir(parents=True)
    (path / f"run-{id}.wandb").write_bytes(b"x" * size)
    return path


def test_unsent_directories_come_oldest_first(tmp_path: Path) -> None:
    """Whether online or offline, by the time in the name; other runs and links are left out."""
    second = run_directory(tmp_path, "offline-run-20260102_000000-a[1]", "a[1]")
    first = run_directory(tmp_path, "run-20260101_000000-a[1]", "a[1]")
    run_directory(tmp_path, "run-20260101_000000-a1", "a1")
    (tmp_path / "wandb" / "latest-run").symlink_to(first.name)
    assert unsent(tmp_path, "a[1]") == [first, second]
    assert unsent(tmp_path / "nowhere", "a[1]") == []


def test_what_was_marked_is_not_sent_again(tmp_path: Path) -> None:
    """The mark is the file that wandb sync itself looks at."""
    path = run_directory(tmp_path, "offline-run-20260102_000000-a", "a")
    mark_sent(path)
    assert (path / "run-a.wandb.synced").exists()
    assert unsent(tmp_path, "a") == []


def test_only_offline_data_can_be_continued(tmp_path: Path) -> None:
    """Not what was online, nor a file that only has its header."""
    assert can_be_continued(run_directory(tmp_path, "offline-run-20260101_000000-a", "a"))
    assert not can_be_continued(run_directory(tmp_path, "run-20260101_000000-a", "a"))
    empty = run_directory(tmp_path, "offline-run-20260102_000000-a", "a", 7)
    assert not can_be_continued(empty)
    assert not has_data(empty)
