"""One evaluation after the other: measured, judged, logged, and acted on."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from keisei_lightning.config import EvaluationConfig, SlaConfig
from keisei_lightning.evaluation.enforcement import Enforcement
from keisei_lightning.evaluation.findings import Findings, agreed, gathered
from keisei_lightning.evaluation.judge import Judge
from keisei_lightning.evaluation.monitor import Monitor
from keisei_lightning.evaluation.publication import Publication
from keisei_lightning.evaluation.result import EvaluationResult, as_result
from keisei_lightning.evaluation.stage_metrics import StageMetrics
from keisei_lightning.record import Place, SlaVerdict

if TYPE_CHECKING:
    import lightning.pytorch as pl

__all__ = ["Evaluation"]

_PREFIX = "evaluation/"
_OWN_STAGE = "evaluation"  # of what people log while Lightning evaluates nothing


class Evaluation:
    """Measures and judges what happens between ``begin`` and ``end``, and what people log.

    One per session and rank. All ranks call ``begin`` and ``end``, which holds one collective call
    when there are several; only rank 0 writes and logs. A sink that raises keeps none of the
    others, nor what the SLA demands, from happening.

    Args:
        config: The ``session.evaluation`` node.
        sla: The ``session.sla`` node.
        baseline: Gives the values that relative limits compare with; asked once, when needed.
        write: Takes one line of ``evaluations.jsonl``.
        log: Takes metrics by name and their step, for every logger.
        on_verdict: Takes where the session stands: the last verdicts of all stages as one.
        configure: Takes the evaluation's configuration for the trackers' config, once.
        rank: The rank of this process.

    Raises:
        SessionConfigError: A limit has an unknown key.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        sla: SlaConfig,
        *,
        baseline: Callable[[], Mapping[str, float]] | None = None,
        write: Callable[[dict[str, Any]], None],
        log: Callable[[Mapping[str, float], int | None], None],
        on_verdict: Callable[[SlaVerdict], None],
        configure: Callable[[Mapping[str, Any]], None],
        rank: int = 0,
    ) -> None:
        self._config = config
        self._judge = Judge(sla, baseline)
        self._enforcement = Enforcement(sla.on_violation)
        self._publication = Publication(write, log, on_verdict)
        self._configure, self._rank = configure, rank
        self._monitor: Monitor | None = None
        self._metrics = StageMetrics()
        self._ref: weakref.ref[pl.Trainer] | None = None
        self._open = False
        self._given = Findings()  # what people log while the evaluation runs
        self._elsewhere: set[str] = set()
        self._configured = False

    @property
    def stopped_by_sla(self) -> bool:
        """Whether a violation has ended the last training."""
        return self._enforcement.stopped

    def train_begin(self, trainer: pl.Trainer) -> None:
        """Called when training begins: evaluations are held against its time."""
        self._ref = weakref.ref(trainer)
        self._enforcement.stopped = False
        if self._config.performance:
            self._monitor_of(trainer).training_began()

    def begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Called when a validation or test begins; the sanity check is ignored."""
        self._ref = weakref.ref(trainer)
        self._given = Findings()
        self._open = not trainer.sanity_checking
        if not self._open:
            return
        self._metrics.begin(trainer.callback_metrics)
        if self._config.performance:
            monitor = self._monitor_of(trainer)
            if trainer.state.fn != "fit":
                monitor.training_ended()
            monitor.begin()
        self._tell_configuration()

    def batch_begin(self) -> None:
        """Called before each batch of an evaluation, if percentiles over batches are wanted."""
        if self._open and self._monitor is not None:
            self._monitor.batch_begin()

    def batch_end(self) -> None:
        """Called after each batch of an evaluation, if percentiles over batches are wanted."""
        if self._open and self._monitor is not None:
            self._monitor.batch_end()

    def end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Called when a validation or test has ended, on every rank; the sanity check is ignored.

        Raises:
            SlaViolationError: A limit is violated and ``on_violation`` is ``fail``.
        """
        if trainer.sanity_checking:
            return
        # Nothing may raise or return before the collective call: the other ranks wait in it.
        found = self._found(trainer)
        if self._has_to_agree(trainer):
            found = agreed(gathered(found))
        self._open, self._given = False, Findings()
        if found.fault:
            raise RuntimeError(f"rank 0 could not tell what the evaluation found: {found.fault}")
        place = Place(stage, trainer.current_epoch, trainer.global_step)
        judgement = self._judge.judge(found, place, inside=True)
        with ExitStack() as steps:
            steps.callback(
                self._enforcement.act,
                judgement,
                place,
                trainer,
                deferred=tuple(found.deferred),
                loud=self._is_leader,
            )
            if self._is_leader:
                standing = self._judge.standing  # the metrics themselves are logged already
                self._publication.put(
                    steps, found, judgement, place, standing=standing, unlogged={}
                )

    def log_evaluation(
        self, result: Any, *, step: int | None = None, stage: str | None = None
    ) -> None:
        """Log a result (:class:`EvaluationResult`, a mapping of numbers, an object like it).

        While Lightning evaluates, it joins that evaluation's line and verdict; otherwise it is an
        evaluation of its own, judged by the limits that name what is in it.

        Args:
            result: What was found; its names are logged as ``evaluation/<name>``.
            step: Training step that was evaluated; by default the result's, else the trainer's.
            stage: Name for an evaluation of its own; by default the result's, else ``evaluation``.

        Raises:
            SessionConfigError: The result has the wrong shape; the message names the field.
            SlaViolationError: A limit is violated and ``on_violation`` is ``fail``.
        """
        given = as_result(result)
        metrics = {_full(name): value for name, value in given.metrics().items()}
        found = Findings(metrics, performance=given.performance, texts=given.violations)
        self._take(found, given.step if step is None else step, stage or given.stage)

    def log_performance(self, figures: Mapping[str, float]) -> None:
        """Log figures of your own as ``evaluation/performance/<name>``.

        Raises:
            SessionConfigError: A figure is no number; the message names it.
            SlaViolationError: A limit is violated and ``on_violation`` is ``fail``.
        """
        given = EvaluationResult(performance=figures)
        self._take(Findings(performance=given.performance), None, None)

    def _take(self, found: Findings, step: int | None, stage: str | None) -> None:
        trainer = self._trainer
        if trainer is not None and trainer.sanity_checking:
            return
        if step is None and trainer is not None:
            step = trainer.global_step
        if self._open and trainer is not None and trainer.evaluating:
            self._given = self._given.joined(found)
            if self._is_leader and found.metrics:
                self._publication.log(found.metrics, step)
        elif self._is_leader:
            epoch = None if trainer is None else trainer.current_epoch
            self._conclude_own(found, Place(stage or _OWN_STAGE, epoch, step), trainer)

    def _conclude_own(self, found: Findings, place: Place, trainer: pl.Trainer | None) -> None:
        self._elsewhere.update(found.named())
        judgement = self._judge.judge(self._with_history(found), place, inside=False)
        alone = trainer is None or trainer.world_size == 1
        with ExitStack() as steps:
            if judgement is not None and alone:
                steps.callback(self._enforcement.act, judgement, place, trainer)
            elif judgement is not None and not judgement.verdict.passed:
                self._enforcement.defer(judgement, place)
            self._publication.put(
                steps,
                found,
                judgement,
                place,
                standing=self._judge.standing,
                unlogged=found.metrics,
            )
            steps.callback(self._tell_configuration)

    def _found(self, trainer: pl.Trainer) -> Findings:
        """Return what this rank found; whatever goes wrong is told in it."""
        try:
            performance = {} if self._monitor is None else self._monitor.end()
            fresh, training = self._metrics.end(trainer.callback_metrics)
            found = Findings(
                metrics=fresh,
                others=training,
                performance=performance,
                elsewhere=sorted(self._elsewhere),
                deferred=self._enforcement.deferred,
            )
            return self._with_history(found.joined(self._given))
        except Exception as error:
            return Findings(fault=f"{type(error).__name__}: {error}")

    def _with_history(self, found: Findings) -> Findings:
        past = self._judge.past() if self._is_leader else {}
        return dataclasses.replace(found, baseline=past, states=self._judge.states)

    def _tell_configuration(self) -> None:
        if self._is_leader and not self._configured:
            self._configured = True
            settings = dataclasses.asdict(self._config)
            parameters = settings.pop("parameters")
            settings |= {f"parameters/{name}": value for name, value in parameters.items()}
            self._configure({f"{_PREFIX}{name}": value for name, value in settings.items()})

    def _monitor_of(self, trainer: pl.Trainer) -> Monitor:
        device = trainer.strategy.root_device
        if self._monitor is None or self._monitor.device != device:
            self._monitor = Monitor(device, warmup_batches=self._config.warmup_batches)
        return self._monitor

    @property
    def _trainer(self) -> pl.Trainer | None:
        return None if self._ref is None else self._ref()

    @property
    def _is_leader(self) -> bool:
        trainer = self._trainer
        return self._rank == 0 and (trainer is None or trainer.is_global_zero)

    def _has_to_agree(self, trainer: pl.Trainer) -> bool:
        """Return whether the ranks must talk; the answer is the same on all of them."""
        wanted = self._config.performance or self._judge.has_limits
        return trainer.world_size > 1 and (wanted or self._enforcement.may_end_run)


def _full(name: str) -> str:
    return name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"
