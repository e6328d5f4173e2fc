"""``keisei compare``: what differs between sessions: config, git, packages, seed, metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, References, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json, status_style
from keisei_lightning.cli.sheet import Column
from keisei_lightning.cli.source import one_session
from keisei_lightning.cli.trouble import UsageError
from keisei_lightning.record import SessionRecord, to_json

__all__ = ["compare", "differences", "flatten"]

SECTIONS = ("run", "config", "git", "packages", "environment", "metrics")
_LEAST_VALUE = 12

Section = dict[str, dict[str, Any]]


def compare(
    sessions: References,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also what is the same in all.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SECTION", help=f"{', '.join(SECTIONS)}; may be repeated."),
    ] = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show what differs between two or more sessions."""
    unknown = sorted(set(only or ()) - set(SECTIONS))
    if unknown:
        raise UsageError(f"--only {unknown[0]}: no such section", f"one of {', '.join(SECTIONS)}")
    found = [one_session(reference, directories, registry).record for reference in sessions]
    records = list({record.id: record for record in found}.values())
    if len(records) < 2:
        raise UsageError("compare needs two different sessions", "keisei compare A B")
    facts = {record.id: _facts(record) for record in records}
    result = {
        name: differences({id: one[name] for id, one in facts.items()}, everything=everything)
        for name in only or SECTIONS
    }
    if as_json:
        heads = [{"id": r.id, "name": r.name, "status": r.status} for r in records]
        print_json({"sessions": heads, **result})
        return 0
    for record in records:
        if not facts[record.id]["config"]:
            complain(f"the config of {record.id} is not there to compare")
    _print(Screen(), records, result)
    return 0


def differences(facts: Mapping[str, Mapping[str, Any]], *, everything: bool = False) -> Section:
    """Return key -> session -> value for the keys that are not the same in all sessions.

    A session that does not have the key is left out of its row; that counts as a difference.
    """
    keys = sorted({key for one in facts.values() for key in one})
    rows = {key: {id: one[key] for id, one in facts.items() if key in one} for key in keys}
    return {key: row for key, row in rows.items() if everything or _differs(row, len(facts))}


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings (and lists of such) as one mapping with dotted keys."""
    if isinstance(value, Mapping) and value:
        pairs: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        pairs = iter(enumerate(value))
    else:
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for key, item in pairs:
        flat.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _differs(row: Mapping[str, Any], sessions: int) -> bool:
    # As JSON, because there 1 and True and 1.0 are three things, and NaN is itself.
    return len(row) < sessions or len({json.dumps(v, sort_keys=True) for v in row.values()}) > 1


def _facts(record: SessionRecord) -> dict[str, dict[str, Any]]:
    run = {
        "seed": record.seed,
        "status": record.status.value,
        "reason": record.ending.reason if record.ending else None,
        "duration_s": record.duration_s,
        "device": record.device,
        "world_size": record.world_size,
        "host": record.host,
    }
    facts: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    facts["run"] = {key: value for key, value in run.items() if value is not None}
    facts["git"] = flatten({k: v for k, v in (to_json(record.git) or {}).items() if v is not None})
    facts["metrics"] = dict(to_json(record.metrics))
    if record.directory:
        directory = Path(record.directory)
        config = flatten(_json(directory / "effective_config.json"))
        facts["config"] = {key: _anonymous(value, record) for key, value in config.items()}
        facts["packages"] = _packages(directory / "provenance" / "packages.txt")
        facts["environment"] = flatten(_json(directory / "provenance" / "environment.json"))
    return facts


def _anonymous(value: Any, record: SessionRecord) -> Any:
    """Return a value without the run's own name, id and place, which always differ."""
    if isinstance(value, str):
        for own, word in (
            (record.directory, "directory"),
            (record.id, "id"),
            (record.name, "name"),
        ):
            if own and len(own) > 3:
                value = value.replace(own, f"<{word}>")
    return value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _packages(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.replace(" @ ", "==", 1).partition("==") for line in lines)
    return {name.strip(): version.strip() for name, _, version in pairs if version}


def _print(screen: Screen, records: Sequence[SessionRecord], result: Mapping[str, Section]) -> None:
    for index, record in enumerate(records):
        status = record.status.value
        mark = wording.one_line(f"{_letter(index)}  {record.id}")
        name = "" if record.name == record.id else f"  {wording.one_line(record.name)}"
        screen.line((mark, "bold"), name, "  ", (status, status_style(status)))
    if not any(result.values()):
        screen.line("nothing differs")
    for name, section in result.items():
        if section:
            screen.line("")
            screen.line((name, "bold"))
            _section(screen, [record.id for record in records], section)


def _section(screen: Screen, ids: Sequence[str], section: Section) -> None:
    if screen.width is not None and (screen.width - 20) // len(ids) < _LEAST_VALUE:
        _stacked(screen, ids, section)
        return
    sheet = screen.sheet(
        [
            Column("KEY", least=18, keep="end"),
            *(Column(_letter(i), least=_LEAST_VALUE - 2) for i in range(len(ids))),
        ]
    )
    for key, row in section.items():
        sheet.add(wording.one_line(key), *(_cell(row, id) for id in ids))
    screen.lines(sheet.lines())


def _stacked(screen: Screen, ids: Sequence[str], section: Section) -> None:
    """Print a key, and below it a line a session: for more sessions than fit side by side."""
    for key, row in section.items():
        screen.line(wording.one_line(key))
        for index, id in enumerate(ids):
            screen.line((f"  {_letter(index)}  ", "dim"), _cell(row, id))


def _cell(row: Mapping[str, Any], id: str) -> Text:
    if id not in row:
        return Text("(absent)", style="dim")
    value = row[id]
    if isinstance(value, float):
        return Text(wording.number(value))
    return Text(wording.one_line(value if isinstance(value, str) else json.dumps(value)))


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"#{index + 1}"
