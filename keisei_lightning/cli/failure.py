"""``keisei why``: the cause of a failure in five lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.backtrace import TRACE_STARTS, Frame, causes, last_user_frame
from keisei_lightning.cli.options import AsJson, Debug, Directories, Reference, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json, status_style
from keisei_lightning.cli.selection import Entry, Query, matches
from keisei_lightning.cli.series import latest
from keisei_lightning.cli.source import one_session
from keisei_lightning.cli.text_file import tail
from keisei_lightning.cli.trouble import ExitCode
from keisei_lightning.record import Liveness, SessionRecord, Status

__all__ = ["Failure", "why"]

LOG_LINES = 3
_LOOKED_AT = 400
_BAD = (
    Query(
        statuses=frozenset({Status.FAILED, Status.INTERRUPTED, Status.TERMINATED, Status.LOST}),
    ),
    Query(liveness=frozenset({Liveness.DEAD, Liveness.STALE, Liveness.STALLED})),
)
_PREFIX = re.compile(
    r"\d{4}-\d\d-\d\d (?P<time>[\d:]+)[,.\d]* (?P<level>[A-Z]+) \[keisei [^\]]*\] (?P<logger>\S+): "
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session ended badly, as far as its files tell."""

    id: str
    name: str
    status: Status
    liveness: Liveness | None
    reason: str | None
    stage: str | None
    epoch: int | None
    step: int | None
    rank: int | None
    signal: str | None
    exit_code: int | None
    exception: str | None
    causes: tuple[str, ...]
    frame: Frame | None
    log: tuple[str, ...]
    metrics: dict[str, float]


def why(
    session: Reference = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Say in five lines why a session failed; without SESSION, the newest that did."""
    entry = one_session(
        session, directories, registry, wanted=_BAD, otherwise="no session has failed here"
    )
    record, failure = entry.record, examine(entry)
    if as_json:
        print_json(failure)
    else:
        _print(failure, record, Screen())
    if _is_bad(entry):
        return ExitCode.DONE
    complain(f"session {record.id} is {record.status}: there is no failure to explain")
    return ExitCode.NOTHING_FOUND


def examine(entry: Entry) -> Failure:
    """Collect what the record and the files of a run say about its end."""
    record = entry.record
    directory = Path(record.directory) if record.directory else None
    ending, progress = record.ending, record.progress
    rank = ending.rank if ending else None
    trace = _traceback(directory, rank) if directory else ""
    where = ending if ending and ending.step is not None else progress
    step, epoch = (where.step, where.epoch) if where else (None, None)
    metrics = dict(record.metrics)
    if directory and (ending is None or record.status is Status.LOST):
        logged_step, logged_epoch, values = latest(directory / "metrics.jsonl")
        metrics |= values
        if logged_step is not None and logged_step >= (step or 0):
            step, epoch = logged_step, epoch if logged_epoch is None else logged_epoch
    fault = ending.exception if ending else None
    chain = causes(trace)
    return Failure(
        id=record.id,
        name=record.name,
        status=record.status,
        liveness=entry.liveness,
        reason=ending.reason if ending else None,
        stage=where.stage if where else None,
        epoch=epoch,
        step=step,
        rank=rank,
        signal=ending.signal if ending else None,
        exit_code=ending.exit_code if ending else None,
        exception=f"{fault.type}: {fault.message}" if fault else chain[-1] if chain else None,
        causes=tuple(chain[:-1]),
        frame=last_user_frame(trace),
        log=tuple(_last_words(directory, rank)) if directory else (),
        metrics=metrics,
    )


def _is_bad(entry: Entry) -> bool:
    return any(matches(query, entry) for query in _BAD)


def _traceback(directory: Path, rank: int | None) -> str:
    if rank:
        try:
            words = json.loads((directory / "ranks" / f"rank{rank}.json").read_bytes())
            if words.get("traceback"):
                return str(words["traceback"])
        except (OSError, ValueError, AttributeError):
            pass
    try:
        return (directory / "error.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _last_words(directory: Path, rank: int | None) -> list[str]:
    """Return the last lines of the first log that has any, before a traceback began."""
    for stem in (f"rank{rank}" if rank else "training", "training", "stderr", "stdout"):
        try:
            lines = [_said(x) for x in tail(directory / "logs" / f"{stem}.log", _LOOKED_AT)]
        except OSError:
            continue
        starts = (i for i, line in enumerate(lines) if any(s in line for s in TRACE_STARTS))
        said = [line for line in lines[: next(starts, None)] if line]
        if said:
            return said[-LOG_LINES:]
    return []


def _said(line: str) -> str:
    """Return a log line without its session's prefix; empty for the banner and the summary."""
    prefix = _PREFIX.match(line)
    if prefix is None:
        return wording.one_line(line)
    if prefix["logger"] == "keisei_lightning":
        return ""
    return wording.one_line(f"{prefix['time']} {prefix['level']} {line[prefix.end() :]}")


def _print(failure: Failure, record: SessionRecord, screen: Screen) -> None:
    word = failure.liveness if failure.liveness else failure.status
    lines = (
        (word, _headline(failure, record), status_style(word)),
        ("exception", Text(_exception(failure), style="red"), "dim"),
        ("frame", Text(_frame(failure, screen.width)), "dim"),
        ("log", Text(_log(failure, screen.width)), "dim"),
        ("metrics", Text(_metrics(failure)), "dim"),
    )
    indent = max(len(label) for label, *_ in lines) + 2
    for label, text, style in lines:
        screen.line((str(label).ljust(indent), style), text)


def _headline(failure: Failure, record: SessionRecord) -> Text:
    of = f" of {record.world_size}" if (record.world_size or 1) > 1 else ""
    beat = wording.instant(record.heartbeat.at if record.heartbeat else record.ended_at)
    parts = [
        f"rank {failure.rank or 0}{of}",
        failure.reason if failure.reason and failure.reason != failure.status else "",
        failure.signal or "",
        f"in {failure.stage}" if failure.stage else "",
        "" if failure.epoch is None else f"epoch {failure.epoch}",
        "" if failure.step is None else f"step {failure.step}",
        f"{wording.ago(beat, datetime.now(UTC))} ago" if beat else "",
    ]
    words = wording.one_line(", ".join(filter(None, parts)))
    return Text.assemble((wording.one_line(failure.id), "bold"), ": ", words)


def _exception(failure: Failure) -> str:
    if failure.exception:
        because = "".join(f" <- {cause}" for cause in reversed(failure.causes))
        return wording.one_line(failure.exception + because)
    if failure.liveness is Liveness.DEAD or failure.status is Status.LOST:
        return "none: the process is gone without a word (killed? out of memory?)"
    if failure.liveness is Liveness.STALLED:
        return "none: the process lives but makes no progress"
    if failure.liveness is Liveness.STALE:
        return "none: no sign of life for longer than promised"
    code = "" if failure.exit_code is None else f" (exit code {failure.exit_code})"
    return f"none{code}"


def _frame(failure: Failure, width: int | None) -> str:
    frame = failure.frame
    if frame is None:
        return "no traceback"
    function = f" in {frame.function}" if frame.function else ""
    place = f":{frame.line}{function}: {frame.code}"
    # On a narrow screen rather the code is seen than the folders.
    short = width is not None and len(frame.file) + len(place) > width - 12
    path = Path(frame.file)
    return wording.one_line((str(Path(*path.parts[-2:])) if short else str(path)) + place)


def _log(failure: Failure, width: int | None) -> str:
    """Return the last lines as one; on a narrow screen fewer, but always the very last."""
    said = list(failure.log)
    while len(said) > 1 and width is not None and len(" | ".join(said)) > width - 12:
        said.pop(0)
    return " | ".join(said) or "nothing was captured"


def _metrics(failure: Failure) -> str:
    pairs = (f"{name}={wording.number(value)}" for name, value in failure.metrics.items())
    return wording.one_line(" ".join(pairs)) or "none were logged"
