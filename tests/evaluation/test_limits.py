"""Limits that make no sense are told before a job starts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from keisei_lightning.config import LimitConfig, OnViolation, Severity, SlaConfig
from keisei_lightning.errors import SessionConfigError
from keisei_lightning.evaluation.limits import check_limits, limits_of

ACC = "session.sla.limits['val/acc']"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (LimitConfig(), f"{ACC} has neither min nor max; give one of them."),
        (LimitConfig(after_epoch=3), f"{ACC} has neither min nor max"),
        (LimitConfig(min=2, max=1), f"{ACC} has min 2 above max 1"),
        (LimitConfig(max=1, grace=0), f"{ACC}.grace is 0"),
        (LimitConfig(max=1, grace=-1), f"{ACC}.grace is -1"),
        (LimitConfig(max=1, after_epoch=-1), f"{ACC}.after_epoch is -1"),
        (LimitConfig(max=1, after_step=-5), f"{ACC}.after_step is -5"),
        (LimitConfig(max=math.nan), f"{ACC}.max is nan"),
        (LimitConfig(max_increase_percent=-10), f"{ACC}.max_increase_percent is -10"),
        (LimitConfig(max_decrease_percent=-1), f"{ACC}.max_decrease_percent is -1"),
        (LimitConfig(max=1, stage="fit"), f"{ACC}.stage is 'fit'"),
        ({"max": "high"}, f"{ACC}.max is 'high'"),
        ({"maximum": 1}, f"{ACC} has the unknown key maximum; the keys are min, max"),
        ({"max": 1, "severity": "bad"}, f"{ACC}.severity is 'bad'; it is one of warning, error"),
        (0.9, f"{ACC} is 0.9; write a mapping such as"),
    ],
)
def test_a_limit_without_sense_is_an_error_that_names_its_key(limit: Any, message: str) -> None:
    """The message says which key is wrong and what to write."""
    with pytest.raises(SessionConfigError) as caught:
        check_limits(SlaConfig(limits={"val/acc": limit}))
    assert message in str(caught.value)


def test_the_policy_and_the_common_grace_are_checked() -> None:
    """What counts for all limits is checked as well."""
    with pytest.raises(SessionConfigError, match=r"session\.sla\.grace is 0"):
        check_limits(SlaConfig(grace=0))
    wrong: Any = "explode"
    with pytest.raises(SessionConfigError, match="one of record, warn, stop, fail"):
        check_limits(SlaConfig(on_violation=wrong))


def test_sensible_limits_are_fine() -> None:
    """No limits, equal bounds, relative ones alone and an infinite bound are all right."""
    check_limits(SlaConfig())
    check_limits(
        SlaConfig(
            limits={
                "a": LimitConfig(min=1, max=1),
                "b/*": LimitConfig(max_increase_percent=0),
                "c": LimitConfig(max=math.inf, grace=3, stage="test"),
            },
            on_violation=OnViolation.fail,
        )
    )


def test_limits_may_be_written_as_plain_mappings() -> None:
    """In Python code people write what they would write in YAML."""
    plain: Any = {"val/acc": {"min": 0.9, "severity": "warning"}}
    expected = {"val/acc": LimitConfig(min=0.9, severity=Severity.warning)}
    assert limits_of(SlaConfig(limits=plain)) == expected


@pytest.mark.parametrize("choice", ["none", "keisei"])
def test_the_shipped_choices_compose_and_make_sense(choice: str) -> None:
    """``session/sla=…`` gives limits that pass the schema and the check."""
    from pathlib import Path

    from omegaconf import OmegaConf

    folder = Path(__file__).parents[2] / "conf" / "session" / "sla"
    node = OmegaConf.merge(
        OmegaConf.structured(SlaConfig), OmegaConf.load(folder / f"{choice}.yaml")
    )
    config = OmegaConf.to_object(node)
    assert isinstance(config, SlaConfig)
    check_limits(config)
    maxima = {name.rpartition("/")[2]: limit.max for name, limit in limits_of(config).items()}
    classic = {
        "latency_ms": 5000,
        "memory_overhead_mb": 500,
        "training_impact_percent": 5,
        "gpu_utilization_percent": 80,
    }
    assert maxima == ({} if choice == "none" else classic)
