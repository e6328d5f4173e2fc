"""The limits of a session, and where it stands with them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keisei_lightning.config import LimitConfig, SlaConfig
from keisei_lightning.evaluation.baseline import Baseline
from keisei_lightning.evaluation.findings import Findings
from keisei_lightning.evaluation.limits import limits_of
from keisei_lightning.evaluation.sla import SlaState, combined, concerns, matches, verdict
from keisei_lightning.record import Place, SlaVerdict, Violation

__all__ = ["Judge", "Judgement"]

_log = logging.getLogger(__name__)
_SLA = "evaluation/sla/"
_TEXTS = ""  # the key of people's own violations, among the names of limits


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one evaluation.

    ``serious`` says that something is to be done about it; ``recovered`` are the metrics that were
    violated at the last verdict and are not any more, as they are named in the flags.
    """

    verdict: SlaVerdict
    serious: bool = False
    recovered: Iterable[str] = ()

    def metrics(self) -> dict[str, float]:
        """Return the verdict as metrics, a flag for each metric that is or was violated."""
        flags = dict.fromkeys(self.recovered, 0.0)
        flags |= dict.fromkeys(map(_flag, self.verdict.violations), 1.0)
        return {
            f"{_SLA}passed": float(self.verdict.passed),
            f"{_SLA}violation_count": float(len(self.verdict.violations)),
            **flags,
        }


class Judge:
    """Judges one evaluation after the other; every stage has its own counts of breaches.

    Args:
        sla: The ``session.sla`` node.
        baseline: Values that relative limits compare with; asked once, when first needed.

    Raises:
        SessionConfigError: A limit has an unknown key.
    """

    def __init__(self, sla: SlaConfig, baseline: Baseline | None = None) -> None:
        self._limits, self._grace = limits_of(sla), sla.grace
        self._baseline = baseline
        self._past: Mapping[str, float] | None = None
        self._verdicts: dict[tuple[str, str], SlaVerdict] = {}
        self.states: Mapping[tuple[str, str], SlaState] = {}

    @property
    def has_limits(self) -> bool:
        """Whether there is anything to judge by."""
        return bool(self._limits)

    @property
    def standing(self) -> SlaVerdict:
        """The last verdicts on every limit in every stage, as one."""
        return combined(self._verdicts.values())

    def past(self) -> Mapping[str, float]:
        """Return the baseline; empty when no limit is relative or the history cannot be read."""
        if self._past is None:
            self._past = self._read_past()
        return self._past

    def judge(self, found: Findings, place: Place, *, inside: bool) -> Judgement | None:
        """Return the verdict on an evaluation, or ``None`` when nothing judges it.

        Args:
            found: What rank 0 found.
            place: Where in the run that was. Warm-up is over in a test and without a training.
            inside: Whether Lightning was evaluating. If so, all limits of the stage count, those
                on missing metrics too; if not, the limits on what was logged.
        """
        stage = place.stage or ""
        metrics = {**found.others, **found.named()}
        limits = self._inside(found, metrics, stage) if inside else self._own(metrics, stage)
        training = place if stage != "test" else Place()
        before = self.standing
        verdicts, states = dict[str, SlaVerdict](), dict[str, SlaState]()
        for name, limit in limits.items():
            verdicts[name], states[name] = verdict(
                metrics,
                {name: limit},
                epoch=training.epoch,
                step=training.step,
                grace=self._grace,
                state=found.states.get((stage, name)),
                baseline=found.baseline,
            )
        if found.texts or inside:
            verdicts[_TEXTS], states[_TEXTS] = verdict({}, {}, texts=found.texts)
        self.states = {**found.states, **{(stage, name): one for name, one in states.items()}}
        self._verdicts |= {(stage, name): one for name, one in verdicts.items()}
        if not limits and not found.texts:
            return None
        now = set(map(_flag, self.standing.violations))
        return Judgement(
            combined(verdicts[name] for name in (*sorted(limits), _TEXTS) if name in verdicts),
            serious=any(state.serious for state in states.values()),
            recovered=[flag for flag in map(_flag, before.violations) if flag not in now],
        )

    def _inside(
        self, found: Findings, metrics: Iterable[str], stage: str
    ) -> dict[str, LimitConfig]:
        return {
            name: limit
            for name, limit in self._limits.items()
            if concerns(name, limit, stage)
            and (matches(name, metrics) or not matches(name, found.elsewhere))
        }

    def _own(self, metrics: Iterable[str], stage: str) -> dict[str, LimitConfig]:
        return {
            name: limit
            for name, limit in self._limits.items()
            if limit.stage in (None, stage) and matches(name, metrics)
        }

    def _read_past(self) -> Mapping[str, float]:
        relative = [
            limit
            for limit in self._limits.values()
            if limit.max_increase_percent is not None or limit.max_decrease_percent is not None
        ]
        if self._baseline is None or not relative:
            return {}
        try:
            return dict(self._baseline())
        except Exception as error:
            _log.warning("relative limits have nothing to compare with: %s", error)
            return {}


def _flag(violation: Violation) -> str:
    name = violation.metric
    if violation.kind == "text":  # loggers do not take any text as a name
        name = re.sub(r"[^\w./ -]", "_", name)[:100]
    return f"{_SLA}violations/{name}"
