"""``keisei prune``: old sessions removed by rules, never by surprise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, RegistryUrl, Yes
from keisei_lightning.cli.screen import Screen, complain, print_json, status_style
from keisei_lightning.cli.sheet import Column
from keisei_lightning.cli.trouble import UsageError
from keisei_lightning.record import SessionRecord, Status

if TYPE_CHECKING:
    from keisei_lightning.registry.pruning import Pruned
    from keisei_lightning.registry.retention import Retention

__all__ = ["Best", "ages", "best", "prune"]

Best = tuple[str, Literal["min", "max"], int]


def prune(
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", "-s", metavar="STATUS", help="Only these may go; repeatable."),
    ] = None,
    older_than: Annotated[
        list[str] | None,
        typer.Option(
            "--older-than",
            metavar="[STATUS:]AGE",
            help="Only what ended so long ago may go: 12h, 30d, failed:1h; repeatable.",
        ),
    ] = None,
    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="N", min=0, help="The newest N stay.")
    ] = 0,
    keep_best: Annotated[
        str | None,
        typer.Option(
            "--keep-best",
            metavar="METRIC:max|min[:K]",
            help="The K best (one, if not said) by this metric stay.",
        ),
    ] = None,
    classic: Annotated[
        bool,
        typer.Option("--classic", help="Failed go after 1 h, completed after 6 h, others 24 h."),
    ] = False,
    files: Annotated[
        bool, typer.Option("--files", help="Delete the run directories too, not only records.")
    ] = False,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", metavar="DIR", help="With --files: only under DIR (default: the project)."
        ),
    ] = None,
    yes: Yes = False,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Remove ended sessions by rules; only shows them until --yes.

    Never a running or pinned session, never anything outside the project or through a link, and
    only directories that hold the session's own record.
    """
    from keisei_lightning.cli.registry_source import open_index

    if directories and not files:
        raise UsageError("with --dir there are only files to remove", "add --files")
    rules = _rules(status or (), older_than or (), keep_last, keep_best, classic)
    with open_index(directories or (), registry) as index:
        roots = [path.absolute() for path in root or directories or index.roots]
        if files and not roots:
            raise UsageError("this registry has no project directory", "say where: --root DIR")
        pruned = index.prune(rules, files=files, roots=roots, dry_run=not yes)
    if as_json:
        print_json(_document(pruned))
    else:
        _print(Screen(), pruned, files=files)
    return 0


def best(text: str) -> Best:
    """Return metric, direction and number of a ``METRIC:max|min[:K]``.

    Raises:
        UsageError: It is none.
    """
    head, _, tail = text.rpartition(":")
    number = int(tail) if tail.isdecimal() and head else 1
    metric, _, mode = (head if tail.isdecimal() else text).rpartition(":")
    if not metric or mode not in ("min", "max") or number < 1:
        raise UsageError(
            f"--keep-best {text!r} does not say which values are good",
            "write METRIC:max or METRIC:min, and :K for how many: val/acc:max:3",
        )
    return metric, "max" if mode == "max" else "min", number


def ages(texts: Sequence[str]) -> tuple[float | None, dict[Status, float]]:
    """Return the seconds for all, and those for single statuses.

    Raises:
        UsageError: One cannot be understood.
    """
    general: float | None = None
    special: dict[Status, float] = {}
    for text in texts:
        head, colon, tail = text.rpartition(":")
        try:
            age = wording.span(tail)
            status = Status(head) if colon else None
        except ValueError:
            raise UsageError(
                f"--older-than {text!r} cannot be understood", "write 12h, 30d, or failed:1h"
            ) from None
        if status is None:
            general = age
        else:
            special[status] = age
    return general, special


def _rules(
    statuses: Sequence[Status],
    older_than: Sequence[str],
    keep_last: int,
    keep_best: str | None,
    classic: bool,
) -> Retention:
    from keisei_lightning.registry.retention import CLASSIC, Retention

    if not (statuses or older_than or keep_last or keep_best or classic):
        raise UsageError(
            "prune needs a rule that says what may go",
            "for example --older-than 30d, --keep-last 20, --status failed, or --classic",
        )
    age, by_status = ages(older_than)
    if classic:
        age = CLASSIC.older_than_s if age is None else age
        by_status = {**CLASSIC.older_by_status_s, **by_status}
    given: dict[str, Any] = {"older_than_s": age, "older_by_status_s": by_status}
    if statuses:
        given["statuses"] = frozenset(statuses)
    elif by_status and age is None:
        given["statuses"] = frozenset(by_status)
    if keep_best:
        given["metric"], given["mode"], given["keep_best"] = best(keep_best)
    return Retention(keep_last=keep_last, **given)


def _document(pruned: Pruned) -> dict[str, object]:
    return {
        "dry_run": pruned.dry_run,
        "removed": [_brief(one.record, one.reason) for one in pruned.removed],
        "kept": [_brief(one.record, one.reason) for one in pruned.kept],
        "freed_bytes": pruned.freed_bytes,
    }


def _brief(record: SessionRecord, reason: str) -> dict[str, object]:
    facts = {"id": record.id, "name": record.name, "status": record.status}
    return {**facts, "reason": reason, "directory": record.directory}


def _print(screen: Screen, pruned: Pruned, *, files: bool) -> None:
    sheet = screen.sheet(
        [
            Column("ID", least=18),
            Column("NAME", rank=2, least=12),
            Column("STATUS"),
            Column("WHY", least=12),
            Column("DIRECTORY", rank=3, least=20, keep="end"),
        ]
    )
    for kept in pruned.kept:
        _row(sheet.add, kept.record, Text(f"stays: {wording.one_line(kept.reason)}", "yellow"))
    for gone in pruned.removed:
        _row(sheet.add, gone.record, Text(wording.one_line(gone.reason)))
    if pruned.kept or pruned.removed:
        screen.lines(sheet.lines())
    count = len(pruned.removed)
    what = f"{count} session{'' if count == 1 else 's'}"
    size = f", {_size(pruned.freed_bytes)} of files" if files else ", records only"
    screen.line(f"{what} {'would go' if pruned.dry_run else 'removed'}{size if count else ''}")
    if pruned.dry_run and count:
        complain("nothing was changed", "--yes does it")


def _row(add: Any, record: SessionRecord, why: Text) -> None:
    add(
        wording.one_line(record.id),
        wording.one_line(record.name),
        Text(record.status.value, style=status_style(record.status)),
        why,
        wording.one_line(record.directory or ""),
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
