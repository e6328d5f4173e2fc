"""What a run can be repeated from is written down beside it, whatever state git is in."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from keisei_lightning.provenance import Provenance, environment, git_diff, git_facts, packages
from keisei_lightning.record import Git
from keisei_lightning.redaction import make_redactor

SECRET = "hunter2-canary-9f8e7d6c5b"


@pytest.fixture(autouse=True)
def own_git_settings(tmp_path_factory, monkeypatch):
    """Let no setting of the person who runs the tests decide them."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, errors="surrogateescape"
    ).stdout.strip()


def repository(folder: Path) -> Path:
    """Make a repository with one commit of train.py and a folder src."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "src").mkdir()
    (folder / "train.py").write_text("lr = 0.1\nsteps = 10\n")
    (folder / "src" / "model.py").write_text("width = 3\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def fake_git(folder: Path, script: str) -> None:
    """Put a program named git before the real one."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def runs(pid: str) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Commit and branch


def test_a_clean_repository_is_told(weird_tmp_path):
    """Commit and branch are git's, also from a folder below; untracked files make nothing dirty."""
    top = repository(weird_tmp_path)
    (top / "notes.txt").touch()
    expected = Git(commit=git(top, "rev-parse", "HEAD"), branch="trunk", dirty=False)
    assert git_facts(top) == expected
    assert git_facts(top / "src") == expected


def test_a_changed_file_makes_the_tree_dirty(tmp_path):
    """A change is dirty, whether it is staged or not."""
    top = repository(tmp_path)
    (top / "train.py").write_text("lr = 0.2\n")
    assert git_facts(top).dirty is True
    git(top, "add", "-A")
    assert git_facts(top).dirty is True


def test_a_detached_head_has_a_commit_and_no_branch(tmp_path):
    """Where no branch is checked out, none is made up."""
    top = repository(tmp_path)
    git(top, "checkout", "-q", "--detach")
    found = git_facts(top)
    assert (found.branch, found.commit) == (None, git(top, "rev-parse", "HEAD"))


def test_before_the_first_commit_there_is_a_branch(tmp_path):
    """A new repository has no commit, and its diff is everything that was added."""
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert git_facts(tmp_path) == Git(commit=None, branch="trunk", dirty=False)
    (tmp_path / "a.py").write_text("one\n")
    git(tmp_path, "add", "a.py")
    assert git_facts(tmp_path).dirty is True
    assert b"+one\n" in git_diff(tmp_path, str)


def test_a_submodule_is_its_own_repository(tmp_path):
    """Inside a submodule its commit counts; a change in it makes the outer tree dirty."""
    inner, outer = repository(tmp_path / "inner"), repository(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(inner), "sub")
    git(outer, "commit", "-q", "-m", "sub")
    assert git_facts(outer / "sub").commit == git(inner, "rev-parse", "HEAD")
    assert git_facts(outer).dirty is False
    (outer / "sub" / "train.py").write_text("changed\n")
    assert git_facts(outer).dirty is True
    assert b"-dirty" in git_diff(outer, str)
    assert b"+changed" in git_diff(outer / "sub", str)


def test_a_worktree_and_a_bare_repository_are_told(tmp_path):
    """A linked work tree has its own branch; a bare repository has a commit and no tree."""
    top = repository(tmp_path / "top")
    git(top, "worktree", "add", "-q", "-b", "side", "../side")
    git(tmp_path, "clone", "-q", "--bare", "top", "bare")
    assert git_facts(tmp_path / "side").branch == "side"
    assert git_facts(tmp_path / "bare") == Git(git(top, "rev-parse", "HEAD"), "trunk", None)
    assert git_diff(tmp_path / "bare", str) is None


@pytest.mark.parametrize("place", [".", "nowhere", "file"])
def test_no_repository_is_no_fact(tmp_path, place):
    """Outside a repository, and where there is no directory, nothing is known or raised."""
    (tmp_path / "file").touch()
    os.environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path.parent)
    assert git_facts(tmp_path / place) is None
    assert git_diff(tmp_path / place, str) is None


def test_no_git_is_no_fact(tmp_path):
    """Without the program nothing is known or raised."""
    top = repository(tmp_path)
    os.environ["PATH"] = str(tmp_path)
    assert git_facts(top) is None
    assert git_diff(top, str) is None


@pytest.mark.parametrize(
    "script",
    [
        "exec sleep 600",
        "trap '' TERM INT; sleep 600 & echo $! >> $PIDS; wait",
        "sleep 600 & echo $! >> $PIDS",
        "exit 128",
        "while :; do printf %01000d 0; sleep 0.1; done",
    ],
    ids=["hangs", "hangs below", "leaves a child", "fails", "drips"],
)
def test_a_git_that_hangs_is_left(tmp_path, script):
    """Past the time allowed git and what it started are gone, and nothing is known."""
    top = repository(tmp_path / "top")
    os.environ["PIDS"] = str(tmp_path / "pids")
    fake_git(tmp_path / "bin", f"echo $$ >> $PIDS\n{script}")
    started = time.monotonic()
    assert git_facts(top, timeout_s=0.5) is None
    assert git_diff(top, str, timeout_s=0.5) is None
    assert time.monotonic() - started < 20
    started_here = (tmp_path / "pids").read_text().split()
    deadline = time.monotonic() + 10
    while any(map(runs, started_here)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started_here
    assert not any(map(runs, started_here))


def test_a_repository_that_a_hook_points_to_is_not_ours(tmp_path, monkeypatch):
    """GIT_DIR of a git that started us does not hide the repository we are in."""
    top, other = repository(tmp_path / "top"), repository(tmp_path / "other")
    git(other, "checkout", "-q", "-b", "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert git_facts(top).branch == "trunk"


def test_asking_writes_nothing_and_starts_no_program_of_the_repository(tmp_path):
    """Index, external diff, text conversion and file system monitor are left alone."""
    top = repository(tmp_path / "top")
    (top / ".gitattributes").write_text("*.py diff=mine\n")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\n")
    trap.chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "diff.mine.textconv", "core.pager"):
        git(top, "config", key, str(trap))
    (tmp_path / "sprung").unlink(missing_ok=True)
    os.utime(top / "train.py", (1, 1))  # the index would be refreshed by an ordinary status
    (top / "src" / "model.py").write_text("width = 4\n")
    before = (top / ".git" / "index").read_bytes()
    assert git_facts(top).dirty is True
    diff = git_diff(top, str)
    assert b"+width = 4" in diff
    assert b"train.py" not in diff
    assert (top / ".git" / "index").read_bytes() == before
    assert not (tmp_path / "sprung").exists()


# Diff


def test_the_diff_rebuilds_the_tree(weird_tmp_path):
    """Applied to the commit, the diff gives the files back, in any encoding, from any folder."""
    top = repository(weird_tmp_path / "top")
    git(top, "config", "diff.noprefix", "true")
    (top / "train.py").write_bytes("# größe\n".encode("latin-1") + b"lr = 0.2\r\n")
    (top / "new file.py").write_text("x = '日本'\n", encoding="utf-8")
    git(top, "add", "new file.py")
    (top / "loose.py").touch()
    diff = git_diff(top / "src", str)
    patch = weird_tmp_path / "p.diff"
    patch.write_bytes(diff)
    git(weird_tmp_path, "clone", "-q", "top", "copy")
    git(weird_tmp_path / "copy", "apply", str(patch))
    for name in ("train.py", "new file.py"):
        assert (weird_tmp_path / "copy" / name).read_bytes() == (top / name).read_bytes()
    assert diff.startswith(b"# untracked: loose.py\n")


def test_a_clean_tree_has_an_empty_diff(tmp_path):
    """Nothing differs, and that is no failure."""
    assert git_diff(repository(tmp_path), str) == b""


def test_a_binary_file_is_only_named(tmp_path):
    """Of a binary file it is said that it differs."""
    top = repository(tmp_path)
    (top / "train.py").write_bytes(bytes(range(256)) * 10)
    assert b"Binary files a/train.py and b/train.py differ" in git_diff(top, str)


def test_untracked_files_are_named_but_not_the_ignored(tmp_path):
    """The nearest come first, strange names stay on one line, and many are counted."""
    top = repository(tmp_path)
    (top / ".gitignore").write_text("*.ckpt\n")
    (top / "big.ckpt").touch()
    (top / "outputs").mkdir()
    for number in range(600):
        (top / "outputs" / f"{number:03}").touch()
    (top / "größe\nx").touch()
    lines = git_diff(top, str).decode().splitlines()
    assert lines[:2] == ["# untracked: .gitignore", "# untracked: größe?x"]
    assert lines[-1] == "# untracked: ... and 102 more"
    assert len(lines) == 501


def test_secrets_in_a_diff_are_hidden(tmp_path):
    """What the redactor knows as secret stands in no line of it."""
    top = repository(tmp_path / SECRET)
    (top / "train.py").write_text(f"password = '{SECRET}'\n-----BEGIN PRIVATE KEY-----\nMIIabc\n")
    (top / f"{SECRET}.py").touch()
    redact = make_redactor(environ={"MY_API_KEY": SECRET}).text
    diff = git_diff(top, redact).decode()
    assert "+password = " in diff
    assert SECRET not in diff
    assert "MIIabc" not in diff


def test_a_huge_diff_is_cut(tmp_path):
    """Of 50 MB the first lines are kept, whole, with a word on the rest; git is not waited for."""
    top = repository(tmp_path)
    with (top / "train.py").open("w") as file:
        file.writelines(f"line {number:060}\n" for number in range(750_000))
    diff = git_diff(top, str, limit_bytes=100_000)
    *lines, last = diff.decode().splitlines()
    assert 99_000 < len(diff) < 100_100
    assert last == "# cut off: more than 100000 bytes differ"
    assert all(len(line) == 66 for line in lines[10:])


# Packages and machine


def test_all_packages_are_listed(tmp_path):
    """Each distribution is there once, with its version, an editable one included."""
    listed = packages()
    assert all(line.count("==") == 1 for line in listed)
    names = [line.partition("==")[0].lower() for line in listed]
    assert {"torch", "lightning", "hydra-core", "keisei-lightning"} <= set(names)
    assert len(set(names)) == len(names)
    assert listed == packages()


def test_a_broken_installation_hides_no_other(tmp_path, monkeypatch):
    """A distribution without metadata, or with garbage in it, is passed over."""
    garbage = {"a-1.dist-info": None, "b-1.dist-info": b"\xff\xfe", "c-1.dist-info": b""}
    for name, content in garbage.items():
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "METADATA").write_bytes(content)
    before = packages()
    monkeypatch.syspath_prepend(tmp_path)
    assert packages() == before


def test_the_machine_is_described():
    """Processor, memory and interpreter are there, as plain JSON."""
    found = environment(str)
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == sys.version
    assert found["cpu"]["logical"] == os.cpu_count()
    assert 1 <= found["cpu"]["allowed"] <= found["cpu"]["logical"]
    assert found["memory_mb"] > 100
    assert isinstance(found["gpus"], list)


def test_only_telling_variables_without_secrets_are_kept():
    """The scheduler's facts are kept, its tokens are not, and values pass the redactor."""
    kept = {
        "SLURM_JOB_ID": "17",
        "PBS_QUEUE": "gpu",
        "LSB_JOBID": "3",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "OMP_NUM_THREADS": "4",
        "RANK": "0",
    }
    hidden = {
        "SLURM_JWT": SECRET,
        "SLURM_MY_TOKEN": SECRET,
        "PBS_O_API_KEY": SECRET,
        "WANDB_API_KEY": SECRET,
        "HOME": "/home/me",
        "SLURM_AUTH_COOKIE": SECRET,
    }
    comment = {"SLURM_JOB_COMMENT": f"uses {SECRET}"}
    redact = make_redactor(environ={"WANDB_API_KEY": SECRET}).text
    found = environment(redact, {**hidden, **kept, **comment})["variables"]
    assert SECRET not in found.pop("SLURM_JOB_COMMENT")
    assert found == kept


def test_torch_is_described_only_when_it_is_there():
    """The room imports no torch of its own, and tells its version once somebody has."""
    code = (
        "import sys; from keisei_lightning.provenance import environment\n"
        "print(environment(str)['torch'], 'torch' in sys.modules, 'numpy' in sys.modules)\n"
        "import torch; print(environment(str)['torch']['version'] == str(torch.__version__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False", "False", "True"]


# The thread


def test_the_files_are_written_beside_the_run(weird_tmp_path):
    """All three files come from another thread, readable by their owner alone."""
    top = repository(weird_tmp_path / "code")
    (top / "train.py").write_text("lr = 0.3\n")
    seen: list[tuple[Git | None, str]] = []
    provenance = Provenance(
        weird_tmp_path / "run" / "provenance",
        top,
        str,
        lambda found: seen.append((found, threading.current_thread().name)),
    )
    assert provenance.join(60)
    assert seen == [(git_facts(top), "keisei-provenance")]
    files = {file.name: file for file in (weird_tmp_path / "run" / "provenance").iterdir()}
    assert set(files) == {"git.diff", "packages.txt", "environment.json"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert files["git.diff"].read_bytes() == git_diff(top, str)
    assert files["packages.txt"].read_text().splitlines() == packages()
    assert json.loads(files["environment.json"].read_text())["python"] == sys.version


def test_without_a_repository_there_is_no_diff(tmp_path):
    """The other files are written, and the answer is that there is no git."""
    os.environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path.parent)
    seen: list[Git | None] = []
    assert Provenance(tmp_path / "p", tmp_path, str, seen.append).join(60)
    assert seen == [None]
    assert sorted(file.name for file in (tmp_path / "p").iterdir()) == [
        "environment.json",
        "packages.txt",
    ]


def test_what_fails_is_a_warning_and_stops_nothing_else(tmp_path, caplog):
    """A failing listener and a failing redactor cost their own part, and leak nothing."""
    top = repository(tmp_path / "code")
    (top / "train.py").write_text("lr = 0.3\n")

    def fail(*_: object) -> str:
        raise RuntimeError(f"out of {SECRET}")

    assert Provenance(tmp_path / "p", top, fail, fail).join(60)
    assert [file.name for file in (tmp_path / "p").iterdir()] == ["packages.txt"]
    assert [item.levelname for item in caplog.records] == ["WARNING"] * 3
    assert SECRET not in caplog.text


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    """Without a folder to write to the run goes on, and the commit is still told."""
    (tmp_path / "file").touch()
    seen: list[Git | None] = []
    code = repository(tmp_path / "code")
    assert Provenance(tmp_path / "file" / "p", code, str, seen.append).join(60)
    assert seen[0].branch == "trunk"
    assert "packages was not recorded (NotADirectoryError" in caplog.text


def test_waiting_for_the_files_is_bounded(tmp_path):
    """A git that hangs holds nobody longer than he is willing to wait."""
    top = repository(tmp_path / "top")
    fake_git(tmp_path / "bin", "exec sleep 600")
    provenance = Provenance(tmp_path / "p", top, str, timeout_s=1.0)
    started = time.monotonic()
    assert provenance.join(0.1) is False
    assert time.monotonic() - started < 4
    assert provenance.join(60) is True
    assert (tmp_path / "p" / "packages.txt").exists()
