"""The house: rooms, rows and directions (imports go upwards only), held by reading the source."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "keisei_lightning"
NAME = PACKAGE.name

# A room may import what stands in a row above its own; a room without a row is an error.
ROWS = (
    {"record", "errors", "config"},
    {
        *("naming", "run_directory", "effective_config", "redaction", "seeding", "provenance"),
        *("console", "signals", "ranks", "heartbeat", "notify", "ending", "atomic_file", "machine"),
        *("tracking", "evaluation", "registry"),
    },
    {"session", "resume", "sweep", "hooks", "hydra_job"},
    {
        *("callback", "hydra_callback", "search_path", "hydra_plugins"),
        *("cli", "report", "testing"),
    },
)
# The rooms of row 1 that their neighbours may import.
FOR_ALL = {"redaction", "atomic_file", "machine"}
SAME_ROOM = {  # modules and packages that are part of the room of another name
    "secret_forms": "redaction",
    "secret_names": "redaction",
    "plain_values": "effective_config",
    "config_nodes": "effective_config",
    "lifecycle": "session",
    "config_schema": "search_path",
}
FORBIDDEN_NAMES = {"utils", "base", "manager", "helpers", "util", "common", "misc"}
LONGEST_MODULE = 300
LONG_ON_PURPOSE = {
    "keisei_lightning.record": 400,  # the words of the house, one dataclass each
    "keisei_lightning.session": 330,  # the surface of a session, one short method each
}
HEAVY = {"torch", "lightning", "pytorch_lightning", "wandb", "sqlalchemy"}


@dataclass(frozen=True)
class Import:
    """One imported module and where the import stands."""

    module: str
    line: int
    at_import_time: bool  # false inside a function or under TYPE_CHECKING


def modules() -> list[Path]:
    """Give every module of the package, ``__init__`` of the package itself included."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """Give the name under which a module is imported: ``keisei_lightning.registry.store``."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """Give the room of a module: ``registry`` for ``keisei_lightning.registry.store``."""
    name = module.split(".")[1] if "." in module else ""
    return SAME_ROOM.get(name, name)


def row(name: str) -> int:
    """Give the row of a room."""
    for number, rooms in enumerate(ROWS):
        if name in rooms:
            return number
    raise LookupError(f"{name} has no row; give it one in ROWS of tests/test_house.py and DESIGN")


def complaint(importer: str, imported: str) -> str | None:
    """Say what is wrong with one room importing another, or nothing."""
    if importer == imported:
        return None
    if imported == "":
        return f"{importer} imports the package itself; name the module that holds the thing"
    low, high = row(importer), row(imported)
    if high > low:
        return f"{importer} (row {low}) imports {imported} (row {high}), which stands below it"
    if low == high == 1 and imported not in FOR_ALL:
        return f"{importer} imports its neighbour {imported}; rooms of row 1 do not know each other"
    return None


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Give everything that a module imports, in functions and under TYPE_CHECKING too."""
    package = module if is_package else module.rpartition(".")[0]
    yield from _walk(ast.parse(source), package, at_import_time=True)


def _walk(node: ast.AST, package: str, *, at_import_time: bool) -> Iterator[Import]:
    for name in _imported_by(node, package):
        yield Import(name, node.lineno, at_import_time)
    late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, package, at_import_time=at_import_time and not late)


def _imported_by(node: ast.AST, package: str) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=source, names=names, level=level):
            above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            origin = ".".join([*above, *([source] if source else [])])
            return [_module_of(origin, alias.name) for alias in names]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(s))]):
            return [s]
    return []


def _module_of(origin: str, name: str) -> str:
    """Tell ``from package import module`` from ``from module import name``."""
    target = REPOSITORY.joinpath(*origin.split("."), name)
    return f"{origin}.{name}" if target.is_dir() or target.with_suffix(".py").exists() else origin


def imports_of(path: Path) -> list[Import]:
    """Give everything that a file of the package imports."""
    source = path.read_text(encoding="utf-8")
    return list(imports(source, dotted(path), is_package=path.name == "__init__.py"))


def own_imports() -> Iterator[tuple[str, str, str]]:
    """Give (room, imported room, place) for each import of ours; the package's own face aside."""
    for path in modules():
        importer = room(dotted(path))
        for found in imports_of(path):
            if importer and found.module.split(".")[0] == NAME:
                place = f"{path.relative_to(REPOSITORY)}:{found.line}"
                yield importer, room(found.module), place


def test_every_module_has_a_row() -> None:
    """A new room is given its row before anything imports it."""
    for path in modules():
        if path.parent != PACKAGE or path.stem != "__init__":
            row(room(dotted(path)))


def test_imports_go_upwards_only() -> None:
    """No room imports one below it, and the rooms of row 1 do not know each other."""
    found = [(place, complaint(here, there)) for here, there, place in own_imports()]
    assert [f"{place}: {wrong}" for place, wrong in found if wrong] == []


def test_rooms_do_not_import_in_a_circle() -> None:
    """Rooms of one row may know each other in one direction only."""
    graph: dict[str, set[str]] = {}
    for here, there, _ in own_imports():
        if here != there:
            graph.setdefault(here, set()).add(there)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_plugin_scan_reaches_nothing_heavy() -> None:
    """What Hydra imports in every application of the environment stays cheap."""
    files = {dotted(path): path for path in modules()}
    pending = [f"{NAME}.search_path", *(name for name in files if ".hydra_plugins." in name)]
    reached: set[str] = set()
    heavy: list[str] = []
    while pending:
        module = pending.pop()
        if module in reached or module not in files:
            continue
        reached.add(module)
        pending.append(module.rpartition(".")[0])  # a package is imported before its modules
        for found in imports_of(files[module]):
            if found.at_import_time and found.module.split(".")[0] in HEAVY:
                heavy.append(f"{module}:{found.line} imports {found.module}")
            elif found.at_import_time:
                pending.append(found.module)
    assert heavy == []
    assert f"{NAME}.config" in reached


def test_a_module_is_named_for_what_it_holds() -> None:
    """No module is a drawer: a reader finds a thing by its name."""
    drawers = [dotted(path) for path in modules() if path.stem.strip("_") in FORBIDDEN_NAMES]
    assert drawers == []


def test_modules_stay_short() -> None:
    """A module is one noun that fits a reader's head."""
    lengths = {dotted(path): len(path.read_text("utf-8").splitlines()) for path in modules()}
    limits = {name: LONG_ON_PURPOSE.get(name, LONGEST_MODULE) for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines >= limits[name]} == {}


def test_every_package_is_shipped() -> None:
    """A package that pyproject.toml does not list would be missing in the wheel only."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    moved = settings["tool"]["setuptools"]["package-dir"]
    folders = {path.parent for path in [*modules(), *(REPOSITORY / "conf").glob("*.py")]}
    shipped = {REPOSITORY / moved.get(name, name.replace(".", "/")) for name in listed}
    assert {str(folder.relative_to(REPOSITORY)) for folder in shipped ^ folders} == set()


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("session", "record", True),
        ("session", "resume", True),
        ("naming", "errors", True),
        ("naming", "redaction", True),
        ("registry", "registry", True),
        ("callback", "session", True),
        ("record", "naming", False),
        ("naming", "seeding", False),
        ("redaction", "naming", False),
        ("registry", "tracking", False),
        ("session", "callback", False),
        ("session", "", False),
    ],
)
def test_directions_are_told_apart(importer: str, imported: str, allowed: bool) -> None:
    """The rule itself: upwards and within a room yes, sideways in row 1 and downwards no."""
    assert (complaint(importer, imported) is None) is allowed


def test_a_room_without_a_row_is_named() -> None:
    """The message says which room is homeless and where its row is to be written."""
    with pytest.raises(LookupError, match=r"attic has no row.*ROWS"):
        complaint("attic", "record")


@pytest.mark.parametrize(
    ("source", "module", "at_import_time"),
    [
        ("import keisei_lightning.record", "keisei_lightning.record", True),
        ("from keisei_lightning import record", "keisei_lightning.record", True),
        ("from keisei_lightning.record import Status", "keisei_lightning.record", True),
        ("from . import record", "keisei_lightning.record", True),
        ("from .record import Status", "keisei_lightning.record", True),
        ("try:\n    import wandb\nexcept ImportError:\n    pass", "wandb", True),
        ("class A:\n    import torch", "torch", True),
        ("def f():\n    import torch", "torch", False),
        ("if TYPE_CHECKING:\n    from torch import Tensor", "torch", False),
        ("importlib.import_module('keisei_lightning.record')", "keisei_lightning.record", True),
    ],
)
def test_every_way_to_import_is_seen(source: str, module: str, at_import_time: bool) -> None:
    """Absolute, relative, conditional, lazy: no way of importing escapes the rule."""
    found = list(imports(source, "keisei_lightning.naming"))
    assert [(each.module, each.at_import_time) for each in found] == [(module, at_import_time)]
