"""Where the registry of a project is, and what file system it is on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from keisei_lightning.registry import default_database, find_database
from keisei_lightning.registry.location import file_system, is_network

DATABASE = Path(".keisei/sessions.db")

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/me/fast rw - xfs /dev/nvme0n1 rw
32 22 0:27 / /mnt/a\\040b rw - fuse.sshfs me@far:/ rw
33 22 0:28 / /mnt/fuse rw - fuse.lxcfs lxcfs rw
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def folder(path: Path) -> Path:
    """Make a folder."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_the_database_is_found_upwards(home: Path) -> None:
    """From any folder of a project its database is found, before any other mark."""
    folder(home / "project" / ".keisei")
    below = folder(home / "project" / "src" / "deep")
    folder(home / "project" / "src" / ".git")
    assert find_database(below) == home / "project" / DATABASE
    assert default_database(below) == home / "project" / DATABASE


@pytest.mark.parametrize("mark", [".git", "pyproject.toml"])
def test_it_is_made_beside_the_marks_of_a_project(home: Path, mark: str) -> None:
    """A new one stands beside .git or pyproject.toml; a .git that is a file will do."""
    below = folder(home / "p" / "conf")
    (home / "p" / mark).touch()
    assert find_database(below) is None
    assert default_database(below) == home / "p" / DATABASE


def test_without_marks_it_is_made_where_we_are(home: Path) -> None:
    """A folder of scripts is a project too."""
    assert default_database(folder(home / "scripts")) == home / "scripts" / DATABASE


def test_the_home_directory_is_no_project(home: Path) -> None:
    """Dotfiles in git do not make everything under home one project, nor do we litter there."""
    folder(home / ".git")
    folder(home / ".keisei")
    assert default_database(home) == home / ".local" / "state" / "keisei" / "sessions.db"
    assert default_database(folder(home / "work")) == home / "work" / DATABASE


@pytest.mark.parametrize("place", ["/", "/usr", "/etc", "/tmp"])
def test_system_folders_are_left_alone(
    home: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made in them; it goes where state belongs."""
    assert default_database(place) == home / ".local/state/keisei/sessions.db"
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    assert default_database(place) == home / "state" / "keisei" / "sessions.db"


def test_nobody_plants_a_database_in_a_shared_folder(home: Path, tmp_path: Path) -> None:
    """A .keisei in a sticky folder that all may write to is not ours."""
    shared = folder(tmp_path / "shared")
    shared.chmod(0o777 | stat.S_ISVTX)
    folder(shared / ".keisei")
    assert default_database(folder(shared / "mine")) == shared / "mine" / DATABASE


def test_a_current_directory_that_is_gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even then there is a place."""
    gone = folder(home / "gone")
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert default_database() == home / ".local/state/keisei/sessions.db"
    os.chdir(home)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x", "ext4"),
        ("/home/me/x", "nfs4"),
        ("/home/me/fast/x", "xfs"),
        ("/homes", "ext4"),
        ("/mnt/a b/x", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    """The longest mount point that the path is in decides."""
    assert file_system(Path(path), MOUNTS) == kind


def test_nonsense_in_the_mount_table_is_passed_over() -> None:
    """A table that is cut short is no error."""
    assert file_system(Path("/x"), "1 2\n\n - \n" + MOUNTS[:30]) is None


def test_this_machine_is_read(tmp_path: Path) -> None:
    """The temporary folder of the tests is on a local disk."""
    assert is_network(tmp_path) is None
