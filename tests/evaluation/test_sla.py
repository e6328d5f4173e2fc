"""The SLA is a pure function: what it promises holds for any metrics and limits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.config import LimitConfig, Severity
from keisei_lightning.evaluation.sla import SlaState, combined, concerns, describe, verdict
from keisei_lightning.record import SlaVerdict, Violation

few = settings(max_examples=60, deadline=None)
names = st.sampled_from(["val/acc", "val/loss", "test/acc", "evaluation/win_rate", "ü b"])
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
metrics = st.dictionaries(names, st.one_of(numbers, st.just(math.nan)), max_size=5)
limits = st.dictionaries(
    st.one_of(names, st.sampled_from(["val/*", "*", "nothing/*"])),
    st.builds(
        LimitConfig,
        min=st.none() | numbers,
        max=st.none() | numbers,
        after_epoch=st.integers(0, 3),
        grace=st.none() | st.integers(1, 3),
        optional=st.booleans(),
        severity=st.sampled_from(Severity),
    ),
    max_size=4,
)


def judged(values: dict[str, float], wanted: dict[str, LimitConfig], **more: Any) -> SlaVerdict:
    """Return the verdict alone."""
    return verdict(values, wanted, **more)[0]


@few
@given(metrics, limits, st.randoms())
def test_the_order_of_limits_and_metrics_is_irrelevant(values: Any, wanted: Any, rng: Any) -> None:
    """Shuffling both gives the same verdict, violations in the same order."""
    shuffled_limits, shuffled_values = list(wanted.items()), list(values.items())
    rng.shuffle(shuffled_limits)
    rng.shuffle(shuffled_values)
    again = judged(dict(shuffled_values), dict(shuffled_limits), epoch=5)
    assert repr(judged(values, wanted, epoch=5)) == repr(again)


@few
@given(metrics, limits, st.lists(st.text(), max_size=3))
def test_passed_means_no_violation(values: Any, wanted: Any, texts: Any) -> None:
    """``passed`` is true exactly when there is no violation, and every text is one."""
    found = judged(values, wanted, texts=texts)
    assert found.passed == (not found.violations)
    assert {v.metric for v in found.violations if v.kind == "text"} == set(texts)


@few
@given(metrics, numbers, st.floats(0, 1e6, width=32))
def test_a_looser_limit_breaks_nothing_new(values: Any, bound: float, slack: float) -> None:
    """Every metric that keeps a limit keeps a looser one."""
    for name in ("max", "min"):
        strict = LimitConfig(**{name: bound})
        loose = LimitConfig(**{name: bound + slack if name == "max" else bound - slack})
        broken = {v.metric for v in judged(values, {"*": strict}).violations}
        assert {v.metric for v in judged(values, {"*": loose}).violations} <= broken


@few
@given(metrics, limits)
def test_more_limits_break_no_less(values: Any, wanted: Any) -> None:
    """Adding limits never makes a violation disappear."""
    some = dict(list(wanted.items())[: len(wanted) // 2])
    assert set(map(repr, judged(values, some).violations)) <= set(
        map(repr, judged(values, wanted).violations)
    )


@few
@given(names, numbers, numbers)
def test_min_and_max_are_what_they_say(name: str, value: float, bound: float) -> None:
    """A value breaks max when above it, min when below it, and never on it."""
    above = judged({name: value}, {name: LimitConfig(max=bound)})
    assert above.violations == ((Violation(name, value, bound, "max"),) if value > bound else ())
    below = judged({name: value}, {name: LimitConfig(min=bound)})
    assert below.violations == ((Violation(name, value, bound, "min"),) if value < bound else ())


@few
@given(st.floats(0.1, 1e6), st.floats(0, 200), st.floats(-1e6, 1e6))
def test_relative_limits_count_from_the_baseline(past: float, percent: float, value: float) -> None:
    """An increase in percent of the baseline is what is compared, on both sides."""
    limit = LimitConfig(max_increase_percent=percent, max_decrease_percent=percent)
    kinds = {v.kind for v in judged({"m": value}, {"m": limit}, baseline={"m": past}).violations}
    increase = (value - past) / past * 100
    if abs(abs(increase) - percent) > 1e-6 * (1 + percent):  # beside the edge, rounding decides
        assert ("max_increase_percent" in kinds) == (increase > percent)
        assert ("max_decrease_percent" in kinds) == (-increase > percent)


@few
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_grace_counts_breaches_in_a_row(breaches: list[bool], grace: int) -> None:
    """A limit is violated from the grace-th breach in a row on; one good value starts anew."""
    state, row = SlaState(), 0
    for breach in breaches:
        row = row + 1 if breach else 0
        limit = {"m": LimitConfig(max=0.0)}
        found, state = verdict({"m": float(breach)}, limit, grace=grace, state=state)
        assert found.passed == (row < grace)


def test_a_missing_metric_and_nan_are_violated() -> None:
    """What is not known has not passed."""
    limit = {"m": LimitConfig(min=0.0)}
    assert judged({}, limit).violations == (Violation("m", None, None, "missing"),)
    (found,) = judged({"m": math.nan}, limit).violations
    assert (found.metric, found.kind) == ("m", "nan")
    assert math.isnan(found.value or 0.0)


@pytest.mark.parametrize("values", [{}, {"m": math.nan}])
def test_an_optional_metric_may_be_missing(values: dict[str, float]) -> None:
    """``optional`` lets a missing metric and NaN pass, but no broken bound."""
    limit = LimitConfig(max=1.0, optional=True)
    assert judged(values, {"m": limit}).passed
    assert not judged({"m": 2.0}, {"m": limit}).passed


def test_infinity_is_a_value() -> None:
    """A diverged loss breaks its maximum, and minus infinity its minimum."""
    assert judged({"m": math.inf}, {"m": LimitConfig(max=1e300)}).violations[0].kind == "max"
    assert judged({"m": -math.inf}, {"m": LimitConfig(min=-1e300)}).violations[0].kind == "min"


def test_a_pattern_stands_for_every_metric_it_matches() -> None:
    """Each match is judged and counted on its own; no match is a missing metric."""
    limit = {"val/*": LimitConfig(max=1.0)}
    found = judged({"val/a": 2.0, "val/b": 0.0, "val/c": 3.0, "test/a": 9.0}, limit)
    assert [v.metric for v in found.violations] == ["val/a", "val/c"]
    assert judged({"test/a": 0.0}, limit).violations == (Violation("val/*", kind="missing"),)


def test_a_name_with_brackets_is_no_pattern_where_it_exists() -> None:
    """``acc[0]`` is the metric of that name first."""
    limit = {"acc[0]": LimitConfig(max=1.0)}
    assert [v.metric for v in judged({"acc[0]": 2.0, "acc0": 2.0}, limit).violations] == ["acc[0]"]


def test_warm_up_is_not_judged() -> None:
    """Before ``after_epoch`` and ``after_step`` nothing counts, a missing metric neither."""
    limit = {"m": LimitConfig(min=1.0, after_epoch=3, after_step=100)}
    assert judged({}, limit, epoch=2, step=500).passed
    assert judged({"m": 0.0}, limit, epoch=5, step=99).passed
    assert not judged({"m": 0.0}, limit, epoch=3, step=100).passed
    assert not judged({"m": 0.0}, limit).passed


def test_a_warning_is_a_violation_but_not_serious() -> None:
    """Severity decides whether something is to be done, not whether it is told."""
    limit = LimitConfig(max=0.0, severity=Severity.warning)
    found, state = verdict({"m": 1.0}, {"m": limit})
    assert (found.passed, state.serious) == (False, False)
    _, state = verdict({"m": 1.0}, {"m": replace(limit, severity=Severity.error)})
    assert state.serious
    _, state = verdict({}, {}, texts=["too slow"])
    assert state.serious


@pytest.mark.parametrize("past", [{}, {"m": math.nan}, {"m": math.inf}])
def test_without_a_baseline_nothing_is_compared(past: dict[str, float]) -> None:
    """The first run of a config cannot break a relative limit."""
    assert judged({"m": 5.0}, {"m": LimitConfig(max_increase_percent=0.0)}, baseline=past).passed


def test_every_free_text_is_kept_once() -> None:
    """People's own words stay as they are, after the metrics, and are never parsed."""
    found = judged({"m": 2.0}, {"m": LimitConfig(max=1.0)}, texts=["b: 1 > 0", "a", "b: 1 > 0"])
    assert [v.metric for v in found.violations] == ["m", "b: 1 > 0", "a"]


@pytest.mark.parametrize(
    ("name", "stage", "expected"),
    [
        ("val/acc", "validate", True),
        ("val/acc", "test", False),
        ("val_loss", "test", False),
        ("valid/loss", "validate", True),
        ("test/acc", "test", True),
        ("test_acc", "validate", False),
        ("evaluation/performance/latency_ms", "validate", True),
        ("evaluation/performance/latency_ms", "test", True),
        ("value/mean", "test", True),
        ("*", "test", True),
    ],
)
def test_a_name_says_where_a_limit_counts(name: str, stage: str, expected: bool) -> None:
    """A limit on ``val/…`` does not miss its metric in a test."""
    assert concerns(name, LimitConfig(max=1.0), stage) is expected


def test_a_limit_may_say_itself_where_it_counts() -> None:
    """``stage`` goes before what the name says."""
    limit = LimitConfig(max=1.0, stage="test")
    assert (concerns("val/acc", limit, "test"), concerns("val/acc", limit, "validate")) == (1, 0)


def test_verdicts_of_several_stages_become_one() -> None:
    """The session passed when every stage did; the same violation is told once."""
    broken = SlaVerdict(False, (Violation("m", 2.0, 1.0),))
    assert combined([]) == SlaVerdict(True)
    assert combined([SlaVerdict(True), broken, broken]) == broken


@pytest.mark.parametrize(
    ("violation", "words"),
    [
        (Violation("val/acc", 0.5, 0.9, "min"), "val/acc=0.5 (min 0.9)"),
        (Violation("val/acc", kind="missing"), "val/acc is missing"),
        (Violation("val/acc", math.nan, kind="nan"), "val/acc is NaN"),
        (Violation("the box is hot", kind="text"), "the box is hot"),
    ],
)
def test_a_violation_in_words(violation: Violation, words: str) -> None:
    """What is shown names the metric, the value and the limit."""
    assert describe(violation) == words
