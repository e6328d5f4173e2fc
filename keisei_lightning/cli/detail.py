"""``keisei show``: everything about one session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.listing import document, elapsed
from keisei_lightning.cli.options import AsJson, Debug, Directories, Reference, RegistryUrl
from keisei_lightning.cli.screen import Screen, print_json, status_style
from keisei_lightning.cli.source import one_session
from keisei_lightning.record import Ending, Heartbeat, SessionRecord, Violation

__all__ = ["show"]

Facts = Iterator[tuple[str, str | Text]]


def show(
    session: Reference = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show one session: status, progress, metrics, files, and how it ended."""
    entry = one_session(session, directories, registry)
    record, liveness = entry.record, entry.liveness
    if as_json:
        print_json(document(entry))
        return 0
    screen = Screen()
    now = datetime.now(UTC)
    screen.line(
        (wording.one_line(record.name), "bold"),
        "  ",
        (record.status.value, status_style(record.status)),
        (f" ({liveness})" if liveness else "", status_style(liveness or "")),
    )
    screen.facts(_identity(record))
    screen.facts(_course(record, now))
    screen.facts(_files(record))
    screen.facts(_metrics(record), title="metrics")
    return 0


def _identity(record: SessionRecord) -> Facts:
    job = "" if record.job_num is None else f" job {record.job_num}"
    yield "id", wording.one_line(record.id)
    yield "group", wording.one_line((record.group or "") + (job if record.group else ""))
    yield "attempt", str(record.attempt) if record.attempt > 1 else ""
    yield "tags", wording.one_line(", ".join(record.tags))
    yield "overrides", wording.one_line(" ".join(record.overrides))
    yield "seed", "" if record.seed is None else str(record.seed)
    place = " ".join(filter(None, [record.host, f"pid {record.pid}" if record.pid else ""]))
    world = f", {record.world_size} ranks" if (record.world_size or 1) > 1 else ""
    yield "where", wording.one_line(f"{place} {record.device or ''}{world}")
    if record.git and record.git.commit:
        dirty = ", with uncommitted changes" if record.git.dirty else ""
        yield "git", wording.one_line(f"{record.git.commit[:12]} {record.git.branch or ''}{dirty}")


def _course(record: SessionRecord, now: datetime) -> Facts:
    started = wording.instant(record.started_at or record.created_at)
    if started:
        local = started.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        yield "started", f"{local} ({_ago(started, now)})"
    yield "took" if record.status.is_final else "runs for", wording.duration(elapsed(record, now))
    yield "progress", _progress(record)
    if record.heartbeat and not record.status.is_final:
        yield "last beat", _beat(record.heartbeat, now)
    if record.ending:
        yield "ended", _ending(record.ending)
    if record.ending and record.ending.exception:
        fault = record.ending.exception
        words = wording.one_line(f"{fault.type}: {fault.message}")
        yield "exception", Text(words, style="red")
    if record.sla:
        yield "sla", Text("passed", "green") if record.sla.passed else Text("violated", "red")
        for violation in record.sla.violations:
            yield "", wording.one_line(_violation(violation))
    yield "cost", wording.number(record.cost)
    if record.warnings:
        counts = ", ".join(f"{text} (x{n})" for text, n in record.warnings.items())
        yield "warnings", wording.one_line(counts)


def _files(record: SessionRecord) -> Facts:
    yield "directory", wording.one_line(record.directory or "")
    if record.directory and not Path(record.directory).is_dir():
        yield "", Text("is not there (moved, deleted, or on another host)", style="yellow")
    if record.checkpoint:
        yield "best", wording.one_line(record.checkpoint.best or "")
        yield "last", wording.one_line(record.checkpoint.last or "")
    for tracker in record.trackers:
        state = " sync pending: keisei sync" if tracker.sync == "pending" else ""
        words = " ".join(filter(None, [tracker.mode, tracker.url or tracker.id]))
        yield tracker.kind, wording.one_line(words + state)
    for key, value in record.artifacts.items():
        yield wording.one_line(key), wording.one_line(value)


def _metrics(record: SessionRecord) -> Facts:
    for name, value in record.metrics.items():
        yield f"  {wording.one_line(name)}", wording.number(value)


def _progress(record: SessionRecord) -> str:
    progress = record.progress
    if progress is None:
        return ""
    total = f" of {progress.total_steps}" if progress.total_steps else ""
    parts = [
        wording.percent(progress.percent),
        progress.stage or "",
        "" if progress.epoch is None else f"epoch {progress.epoch}",
        "" if progress.step is None else f"step {progress.step}{total}",
        f"{wording.number(progress.steps_per_s)} steps/s" if progress.steps_per_s else "",
    ]
    if progress.eta_s is not None and not record.status.is_final:
        parts.append(f"{wording.duration(progress.eta_s)} left")
    return wording.one_line(", ".join(filter(None, parts)))


def _beat(beat: Heartbeat, now: datetime) -> str:
    parts = [
        _ago(wording.instant(beat.at), now),
        "" if beat.cpu_percent is None else f"CPU {beat.cpu_percent:.0f}%",
        "" if beat.rss_mb is None else f"{beat.rss_mb:.0f} MB",
        "" if beat.gpu_percent is None else f"GPU {beat.gpu_percent:.0f}%",
        "" if beat.gpu_memory_mb is None else f"{beat.gpu_memory_mb:.0f} MB on it",
    ]
    return ", ".join(filter(None, parts))


def _ending(ending: Ending) -> str:
    parts = [
        f"{ending.status} ({ending.reason})",
        ending.signal or "",
        f"in {ending.stage}" if ending.stage else "",
        "" if ending.epoch is None else f"epoch {ending.epoch}",
        "" if ending.step is None else f"step {ending.step}",
        f"rank {ending.rank}" if ending.rank else "",
        "" if ending.exit_code is None else f"exit code {ending.exit_code}",
    ]
    return wording.one_line(", ".join(filter(None, parts)))


def _violation(violation: Violation) -> str:
    if violation.kind in ("text", "missing", "nan"):
        return violation.metric if violation.kind == "text" else f"{violation.metric} is missing"
    value, limit = wording.number(violation.value), wording.number(violation.limit)
    return f"{violation.metric} = {value} ({violation.kind} {limit})"


def _ago(at: datetime | None, now: datetime) -> str:
    text = wording.ago(at, now)
    return text if text in ("", "now") else f"{text} ago"
