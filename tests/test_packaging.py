"""What is built and installed holds the whole package, its configs and its Hydra plugin."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

APP = """
import hydra


@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass


main()
"""

OPTIONS = """
import sys

from hydra import initialize
from hydra.core.global_hydra import GlobalHydra

with initialize(version_base="1.3", config_path=None):
    loader = GlobalHydra.instance().config_loader()
    for group in sys.argv[1:]:
        print(*(f"{group}/{option}" for option in loader.get_group_options(group)))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and give what it printed; its errors are the test's."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command} in {cwd}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of what a clone holds, so that no leftover build/ or egg-info takes part."""
    copy = tmp_path_factory.mktemp("tree")
    listing = run(
        *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), cwd=REPOSITORY
    )
    for name in filter(None, listing.split("\0")):
        if (REPOSITORY / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    return copy


def built(tree: Path, into: Path, *options: str) -> Path:
    """Build what the options ask for and give the folder it lies in."""
    run(
        *(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", into, "."),
        cwd=tree,
    )
    return into


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel built from the tree."""
    (path,) = built(tree, tmp_path_factory.mktemp("wheel"), "--wheel").glob("*.whl")
    return path


@pytest.fixture(scope="session")
def from_sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with an sdist and the wheel that was built from it."""
    return built(tree, tmp_path_factory.mktemp("sdist"))


def shipped(wheel: Path) -> set[str]:
    """Give the names in a wheel, its metadata aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected(tree: Path) -> set[str]:
    """Give the names that a wheel of the tree must hold."""
    package, conf = tree / "keisei_lightning", tree / "conf"
    names = {path.relative_to(tree).as_posix() for path in package.rglob("*.py")}
    plugins = {name for name in names if name.startswith("keisei_lightning/hydra_plugins/")}
    configs = [path for path in conf.rglob("*") if path.suffix in {".yaml", ".py"}]
    return {
        "keisei_lightning/py.typed",
        *(names - plugins),
        *(name.removeprefix("keisei_lightning/") for name in plugins),
        *(f"keisei_lightning/conf/{path.relative_to(conf).as_posix()}" for path in configs),
    }


def test_wheel_holds_the_tree(tree: Path, wheel: Path) -> None:
    """Every module and every config is in the wheel, and nothing else is."""
    assert shipped(wheel) == expected(tree)


def test_expected_names_are_not_empty(tree: Path) -> None:
    """The comparison above compares something: package, plugin and configs are all in it."""
    names = expected(tree)
    assert {
        "keisei_lightning/__init__.py",
        "hydra_plugins/keisei_lightning.py",
        "keisei_lightning/conf/session/default.yaml",
    } <= names


def test_wheel_announces_command_and_plugin(wheel: Path) -> None:
    """Hydra 1.4 finds the plugin by its entry point, a shell finds ``keisei``."""
    entry_points = ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        entry_points.read_string(archive.read(name).decode())
    assert dict(entry_points["console_scripts"]) == {"keisei": "keisei_lightning.cli:main"}
    assert dict(entry_points["hydra.plugins"]) == {
        "keisei-lightning": "keisei_lightning.search_path:KeiseiSearchPathPlugin"
    }


def test_sdist_gives_the_same_wheel(wheel: Path, from_sdist: Path) -> None:
    """Nothing is lost on the way through the sdist."""
    (through_sdist,) = from_sdist.glob("*.whl")
    assert shipped(through_sdist) == shipped(wheel)


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own that borrows the installed libraries, but not us."""

    folder: Path

    @property
    def python(self) -> Path:
        """Give its interpreter."""
        return self.folder / "bin" / "python"

    def install(self, *what: str | Path) -> None:
        """Install without the network: libraries and the build backend are there already."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--isolated", "install"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
        run(*pip, *offline, *what, cwd=self.folder)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Give an empty environment; a .pth in the borrowed folder, an editable us, is not read."""
    folder = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return Environment(folder)


def test_borrowed_libraries_do_not_bring_us(environment: Environment, tmp_path: Path) -> None:
    """Without an install the package is not found, so that the tests below test the install."""
    find = "from importlib.util import find_spec; print(find_spec('hydra') is not None, {})"
    ours = "find_spec('keisei_lightning')"
    assert run(environment.python, "-c", find.format(ours), cwd=tmp_path) == "True None\n"


def check(environment: Environment, tree: Path, tmp_path: Path) -> None:
    """Check that a project of an environment finds the plugin, all configs and the command."""
    app = tmp_path / "app.py"
    app.write_text(APP, encoding="utf-8")
    search_path = run(environment.python, app, "--info", "searchpath", cwd=tmp_path)
    assert "pkg://keisei_lightning.conf" in search_path
    config = run(environment.python, app, "+session=default", "--cfg", "job", cwd=tmp_path)
    assert "session:" in config
    assert "heartbeat:" in config

    configs = {path.relative_to(tree / "conf") for path in tree.glob("conf/session/**/*.yaml")}
    groups = {path.parent.as_posix() for path in configs}
    options = run(environment.python, "-c", OPTIONS, *groups, cwd=tmp_path).split()
    assert {path.with_suffix("").as_posix() for path in configs} <= {*options}

    command = environment.folder / "bin" / "keisei"
    assert "Usage" in run(command, "--help", cwd=tmp_path)


def test_wheel_installs(environment: Environment, wheel: Path, tree: Path, tmp_path: Path) -> None:
    """``pip install keisei_lightning-*.whl``."""
    environment.install(wheel)
    check(environment, tree, tmp_path)


def test_sdist_installs(
    environment: Environment, from_sdist: Path, tree: Path, tmp_path: Path
) -> None:
    """``pip install keisei_lightning-*.tar.gz``."""
    (sdist,) = from_sdist.glob("*.tar.gz")
    environment.install(sdist)
    check(environment, tree, tmp_path)


@pytest.mark.parametrize("options", [[], ["-e"]], ids=["plain", "editable"])
def test_folder_installs(
    options: list[str], environment: Environment, tree: Path, tmp_path: Path
) -> None:
    """``pip install .`` and ``pip install -e .``."""
    clone = tmp_path / "clone"
    shutil.copytree(tree, clone)
    environment.install(*options, clone)
    check(environment, tree, tmp_path)


def test_git_url_installs(environment: Environment, tree: Path, tmp_path: Path) -> None:
    """``pip install git+https://…``; the repository lies on this disk, the way is the same."""
    clone = tmp_path / "clone"
    shutil.copytree(tree, clone)
    run("git", "init", "--quiet", cwd=clone)
    run("git", "add", "--all", cwd=clone)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    run("git", *author, "commit", "--quiet", "--message", "all", cwd=clone)
    environment.install(f"git+{clone.as_uri()}")
    check(environment, tree, tmp_path)
