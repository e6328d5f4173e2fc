"""The schema of the ``session`` node: one dataclass a node, checked by Hydra before a job starts.

This module is imported by Hydra's plugin scan: nothing heavy may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional

__all__ = [
    "CapacityPolicy",
    "CapacityScope",
    "CloseConfig",
    "ConsoleConfig",
    "CostConfig",
    "EvaluationConfig",
    "HeartbeatConfig",
    "LimitConfig",
    "OnViolation",
    "RedactionConfig",
    "RegistryConfig",
    "SessionConfig",
    "Severity",
    "SlaConfig",
    "TrackerKind",
    "TrackingConfig",
]

# OmegaConf reads the annotations of these classes at run time and does not know "X | None".
# ruff: noqa: UP045


class TrackerKind(Enum):
    """Where metrics can go besides ``metrics.jsonl``."""

    wandb = "wandb"
    tensorboard = "tensorboard"
    csv = "csv"


class OnViolation(Enum):
    """What a broken SLA does to the run."""

    record = "record"
    warn = "warn"
    stop = "stop"
    fail = "fail"


class Severity(Enum):
    """How much a broken limit matters: a ``warning`` never stops or fails the run."""

    warning = "warning"
    error = "error"


class CapacityPolicy(Enum):
    """What happens to a session that would be one too many."""

    refuse = "refuse"
    wait = "wait"
    evict_finished = "evict_finished"


class CapacityScope(Enum):
    """Which live sessions count against ``max_concurrent``."""

    host = "host"
    all = "all"


@dataclass
class TrackingConfig:
    """Trackers and the settings of W&B; the others need none."""

    kinds: list[TrackerKind] = field(default_factory=list)  # trackers to feed from metrics.jsonl
    project: Optional[str] = None  # W&B project; null: $WANDB_PROJECT, else "lightning_logs"
    entity: Optional[str] = None  # W&B user or team
    mode: Optional[str] = None  # online, offline, shared, disabled; null: online if there is a key
    notes: Optional[str] = None  # free text shown with the W&B run
    job_type: Optional[str] = None  # W&B job type
    init_timeout: float = 15.0  # seconds W&B may take to answer before the run goes offline
    settings: dict[str, Any] = field(default_factory=dict)  # more fields of wandb.Settings


@dataclass
class EvaluationConfig:
    """What is measured around each validation and test."""

    performance: bool = True  # latency, memory, CPU, GPU and training impact of each evaluation
    batch_latency: bool = False  # percentiles over batches; adds two hooks per evaluation batch
    warmup_batches: int = 1  # batches dropped from the percentiles
    strategy: Optional[str] = None  # name of the evaluation strategy, for the tracker's config
    parameters: dict[str, Any] = field(default_factory=dict)  # its parameters, likewise
    baseline_runs: int = 10  # completed runs of the same config that relative limits look back on


@dataclass
class LimitConfig:
    """One limit on one metric (or on all that match a pattern such as ``val/*``)."""

    min: Optional[float] = None  # lowest value allowed
    max: Optional[float] = None  # highest value allowed
    max_increase_percent: Optional[float] = None  # above the baseline, in percent of it
    max_decrease_percent: Optional[float] = None  # below the baseline, in percent of it
    after_epoch: int = 0  # epochs before the limit counts
    after_step: int = 0  # steps before the limit counts
    grace: Optional[int] = None  # breaches in a row that are needed; null: the grace of all limits
    severity: Severity = Severity.error  # a warning is shown and recorded, never acted on
    optional: bool = False  # a missing metric, or NaN, is fine
    stage: Optional[str] = None  # validate or test; null: told by the name (val/, test/), else both


@dataclass
class SlaConfig:
    """Limits on the metrics of evaluations, and what happens when one is broken."""

    limits: dict[str, Any] = field(default_factory=dict)  # metric or pattern -> a LimitConfig node
    on_violation: OnViolation = OnViolation.warn  # record, warn, stop or fail
    grace: int = 1  # breaches in a row before a limit counts as broken


@dataclass
class RegistryConfig:
    """The index over many sessions, admission and clean-up."""

    enabled: bool = True  # false: no registry at all, session.json only
    url: Optional[str] = None  # SQLAlchemy URL; null: .keisei/sessions.db found upwards like .git
    max_concurrent: int = 100  # sessions that may run at once
    scope: CapacityScope = CapacityScope.host  # count those of this host, or all
    on_capacity: CapacityPolicy = CapacityPolicy.refuse  # refuse, wait or evict_finished
    wait_timeout_s: float = 3600.0  # seconds to wait for a slot
    timeout_s: float = 5.0  # seconds the database may take before we go on without it
    inactive_after_s: float = 3600.0  # seconds without a beat before a session counts as lost
    cleanup_interval_s: float = 300.0  # seconds between two clean-ups in the background; 0: none
    observers: list[Any] = field(default_factory=list)  # _target_ nodes with on_event(event)


@dataclass
class HeartbeatConfig:
    """The thread that writes progress and signs of life."""

    interval_s: float = 10.0  # seconds between two beats
    stalled_after_s: float = 1800.0  # seconds without progress before a run counts as stalled


@dataclass
class ConsoleConfig:
    """What is shown and what is kept of the console."""

    capture: bool = True  # stdout.log and stderr.log in logs/
    banner: Optional[bool] = None  # start banner and end summary; null: only on a terminal


@dataclass
class CloseConfig:
    """How long the end of a session may take, in seconds, all steps together."""

    budget_s: float = 30.0  # after an ordinary end or an exception
    signal_budget_s: float = 15.0  # after SIGTERM, SIGHUP or Ctrl-C
    ddp_failure_budget_s: float = 3.0  # when another rank has died (Lightning kills us after 5 s)


@dataclass
class RedactionConfig:
    """What counts as secret besides the built-in rules."""

    keys: list[str] = field(default_factory=list)  # regular expressions on config keys
    env: list[str] = field(default_factory=list)  # names of environment variables to hide


@dataclass
class CostConfig:
    """What a device hour costs."""

    price_per_device_hour: Optional[float] = None  # any currency; null: no cost in the record


@dataclass
class SessionConfig:
    """The whole ``session`` node."""

    enabled: bool = True  # false: the callbacks do nothing
    id: Optional[str] = None  # null: generated, e.g. amber-finch-7k3q
    name: Optional[str] = None  # null: from the output directory and the id
    group: Optional[str] = None  # null: the sweep directory in a multirun
    tags: list[str] = field(default_factory=list)  # free labels
    seed: Any = 42  # a number, null (drawn and recorded) or derive (base_seed + job number)
    base_seed: int = 42  # where derive starts
    directory: Optional[str] = None  # run directory; null: Hydra's output directory
    fallback_dir: Optional[str] = None  # used when that cannot be written; null: a temporary one
    checkpoint_dir: Optional[str] = None  # null: checkpoints/ in the run directory
    pickle_config: bool = False  # also write effective_config.pkl
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sla: SlaConfig = field(default_factory=SlaConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    heartbeat: HeartbeatConfig = field(default_factory=HeartbeatConfig)
    console: ConsoleConfig = field(default_factory=ConsoleConfig)
    close: CloseConfig = field(default_factory=CloseConfig)
    redaction: RedactionConfig = field(default_factory=RedactionConfig)
    cost: CostConfig = field(default_factory=CostConfig)
