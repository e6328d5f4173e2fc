"""The record of a session: frozen facts, the statuses and the changes between them.

``session.json`` is one :class:`SessionRecord` as JSON. Nothing here touches a disk or a clock.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeVar

from keisei_lightning.errors import SessionError, SessionStateError

__all__ = [
    "SCHEMA",
    "TRANSITIONS",
    "Checkpoint",
    "Ending",
    "ExceptionFacts",
    "Git",
    "Heartbeat",
    "LastWords",
    "Liveness",
    "Place",
    "Progress",
    "Reason",
    "SessionRecord",
    "SlaVerdict",
    "Status",
    "Tracker",
    "Violation",
    "damaged",
    "from_json",
    "to_json",
]

SCHEMA = 1

Reason = Literal[
    "max_epochs",
    "max_steps",
    "max_time",
    "early_stopping",
    "stopped",
    "finished",
    "exception",
    "exit",
    "keyboard_interrupt",
    "signal",
    "pruned",
    "sla",
    "capacity",
    "lost",
]
Sync = Literal["done", "pending", "not_needed"]
T = TypeVar("T")


class Status(StrEnum):
    """Where a session stands; the last six are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    PRUNED = "pruned"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether the session has ended."""
        return self not in (Status.PENDING, Status.RUNNING)


_FINAL = frozenset(status for status in Status if status.is_final)

TRANSITIONS: Mapping[Status, frozenset[Status]] = types.MappingProxyType(
    {
        Status.PENDING: frozenset({Status.RUNNING}) | _FINAL,
        Status.RUNNING: _FINAL,
        **{status: frozenset[Status]() for status in _FINAL},
    }
)
"""The status changes that are allowed: the first final status wins."""


class Liveness(StrEnum):
    """What a reader may believe of a record that says ``running``."""

    ALIVE = "alive"
    STALLED = "stalled"
    STALE = "stale"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the process last gave a sign of life, and when it promised the next (seconds).

    What it took of the machine then: CPU in percent of one core, memory in MB, GPU in percent;
    absent when unknown.
    """

    at: str
    expect_next_in_s: float
    cpu_percent: float | None = None
    rss_mb: float | None = None
    gpu_memory_mb: float | None = None
    gpu_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is; ``percent`` is 0-100, ``eta_s`` seconds, both absent when unknown.

    ``moved_at`` is when stage, epoch, step or batch last changed: what "stalled" is judged by.
    """

    stage: str | None = None
    epoch: int | None = None
    step: int | None = None
    total_steps: int | None = None
    percent: float | None = None
    steps_per_s: float | None = None
    eta_s: float | None = None
    moved_at: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Paths of the newest and the best checkpoint that exist on disk."""

    last: str | None = None
    best: str | None = None


@dataclass(frozen=True, slots=True)
class Tracker:
    """One place the metrics go besides ``metrics.jsonl``."""

    kind: str
    id: str | None = None
    url: str | None = None
    mode: str | None = None
    sync: Sync = "not_needed"
    sync_command: str | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken limit, or (``limit`` absent) one in the words of a person's own check.

    ``kind`` is ``max``, ``min``, ``max_increase_percent``, ``max_decrease_percent``, ``missing``,
    ``nan`` or ``text``; for ``text`` the words are the ``metric``.
    """

    metric: str
    value: float | None = None
    limit: float | None = None
    kind: str = "max"


@dataclass(frozen=True, slots=True)
class SlaVerdict:
    """Whether every limit held, and which did not."""

    passed: bool
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Git:
    """The commit the code was at, and whether the work tree differed from it."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True, slots=True)
class ExceptionFacts:
    """Type and message of the exception that ended a session."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the run something happened."""

    stage: str | None = None
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class LastWords:
    """What another rank left before it died; ``signal`` when it was killed without a word."""

    rank: int
    exception: ExceptionFacts | None = None
    place: Place = Place()
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended; ``closed_by`` names the hook that wrote it down."""

    status: Status
    reason: Reason
    stage: str | None = None
    epoch: int | None = None
    step: int | None = None
    rank: int | None = None
    exception: ExceptionFacts | None = None
    signal: str | None = None
    exit_code: int | None = None
    closed_by: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """Everything worth knowing about one session; times are ISO 8601 in UTC."""

    id: str
    name: str
    status: Status = Status.PENDING
    schema: int = SCHEMA
    group: str | None = None
    job_num: int | None = None
    attempt: int = 1
    tags: tuple[str, ...] = ()
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    duration_s: float | None = None
    host: str | None = None
    pid: int | None = None
    pid_started_at: float | None = None
    boot_id: str | None = None
    pid_namespace: int | None = None
    user: str | None = None
    directory: str | None = None
    argv: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    config_hash: str | None = None
    seed: int | None = None
    world_size: int | None = None
    device: str | None = None
    heartbeat: Heartbeat | None = None
    progress: Progress | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    trackers: tuple[Tracker, ...] = ()
    sla: SlaVerdict | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)
    git: Git | None = None
    cost: float | None = None
    warnings: Mapping[str, int] = field(default_factory=dict)
    ending: Ending | None = None

    def update(self, **changes: Any) -> SessionRecord:
        """Return a copy with other facts; the status changes only as :data:`TRANSITIONS` allows.

        Raises:
            SessionStateError: The status change is not allowed.
            SessionError: A field does not exist; the message names it.
        """
        unknown = sorted(set(changes) - {f.name for f in dataclasses.fields(self)})
        if unknown:
            raise SessionError(f"a session record has no field {', '.join(unknown)}")
        wanted = Status(changes.get("status", self.status))
        if wanted is not self.status and wanted not in TRANSITIONS[self.status]:
            raise SessionStateError(
                f"session {self.id} is {self.status.value} and cannot become {wanted.value}"
            )
        return dataclasses.replace(self, **changes)

    def end(self, ending: Ending, *, at: str, duration_s: float | None = None) -> SessionRecord:
        """Return the ended record.

        Raises:
            SessionStateError: The session has ended already; the first final status wins.
        """
        return self.update(status=ending.status, ending=ending, ended_at=at, duration_s=duration_s)


def to_json(value: Any) -> Any:
    """Return dataclasses, mappings and sequences as plain JSON values.

    Numbers that JSON does not know are written as the strings ``"NaN"``, ``"Infinity"`` and
    ``"-Infinity"``, which ``float()`` reads back.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@functools.cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def from_json(data: Any) -> SessionRecord:
    """Read a record back; keys of a newer schema are ignored.

    Raises:
        SessionError: The data is no record; the message names the key that does not fit.
    """
    if not isinstance(data, Mapping) or "id" not in data:
        raise SessionError("not a session record: there is no 'id' in it")
    try:
        return _build(SessionRecord, data)
    except (TypeError, ValueError, KeyError) as error:
        raise SessionError(f"not a session record: {error}") from error


def damaged(id: str, message: str, **facts: Any) -> SessionRecord:
    """Return what stands for a record that could not be read: failed, with the reason why."""
    ending = Ending(
        status=Status.FAILED,
        reason="lost",
        exception=ExceptionFacts(type="DamagedRecord", message=message),
        closed_by="reader",
    )
    return SessionRecord(id=id, name=facts.pop("name", id), **facts).update(
        status=Status.FAILED, ending=ending
    )


def _build(cls: type[T], data: Mapping[str, Any]) -> T:
    readers = _readers(cls)  # type: ignore[arg-type]
    return cls(**{key: readers[key](key, value) for key, value in data.items() if key in readers})


_Reader = Callable[[str, Any], Any]


@functools.cache
def _readers(cls: type[Any]) -> Mapping[str, _Reader]:
    return {name: _reader(hint) for name, hint in typing.get_type_hints(cls).items()}


def _reader(hint: Any) -> _Reader:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    convert = _converter(next(option for option in options if option is not type(None)))

    def read(key: str, value: Any) -> Any:
        if value is None and type(None) not in options:
            raise ValueError(f"{key!r} is null")
        return None if value is None else convert(key, value)

    return read


def _converter(kind: Any) -> _Reader:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return lambda key, value: _build(kind, _checked(key, value, Mapping))
    if origin is tuple:
        item = _converter(typing.get_args(kind)[0])
        return lambda key, value: tuple(item(key, e) for e in _checked(key, value, (list, tuple)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = _converter(typing.get_args(kind)[1])
        return lambda key, value: {
            str(name): item(key, e) for name, e in _checked(key, value, Mapping).items()
        }
    if kind is float:
        return lambda key, value: float(value)
    if origin is Literal or kind in (int, bool, str):
        return lambda key, value: _checked(key, value, str if origin is Literal else kind)
    return lambda key, value: kind(value)


def _checked(key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{key!r} is {type(value).__name__}")
    return value
