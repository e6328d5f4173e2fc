"""An evaluation in real trainings: its line, its metrics, its verdict, and what follows."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_training import Model, Sinks, points, trainer_for

from keisei_lightning.config import EvaluationConfig, LimitConfig, OnViolation, Severity
from keisei_lightning.errors import SessionConfigError, SlaViolationError
from keisei_lightning.evaluation.result import EvaluationResult, Game
from keisei_lightning.record import SlaVerdict, Violation

ACC = {"val/acc": LimitConfig(min=0.9)}
BAD = (0.95, 0.5, 0.95)  # broken in the second epoch only


def test_every_validation_has_its_line(sinks: Sinks, train: Any) -> None:
    """Stage, step, epoch, metrics of the stage and performance; the sanity check has none."""
    trainer = train(sinks.evaluation(), Model(BAD), num_sanity_val_steps=2)
    assert trainer.callbacks[0].begun == ["sanity", "validate", "validate", "validate"]
    assert [(line["stage"], line["epoch"], line["step"]) for line in sinks.lines] == [
        ("validate", 0, 4),
        ("validate", 1, 8),
        ("validate", 2, 12),
    ]
    for line, accuracy in zip(sinks.lines, BAD, strict=True):
        assert set(line["metrics"]) == {"val/loss", "val/acc"}
        assert line["metrics"]["val/acc"] == pytest.approx(accuracy)
        assert line["sla"] is None
        assert line["performance"]["latency_ms"] > 0
        assert 0 < line["performance"]["training_impact_percent"] < 100
    json.dumps(sinks.lines, allow_nan=False)


def test_what_the_module_logs_is_not_logged_again(sinks: Sinks, train: Any) -> None:
    """Only our own names are logged, at the step that the trainer is at."""
    train(sinks.evaluation(ACC), Model(BAD))
    names = {name for metrics, _ in sinks.logged for name in metrics}
    assert names == {
        "evaluation/performance/latency_ms",
        "evaluation/performance/memory_overhead_mb",
        "evaluation/performance/cpu_utilization_percent",
        "evaluation/performance/training_impact_percent",
        "evaluation/sla/passed",
        "evaluation/sla/violation_count",
        "evaluation/sla/violations/val/acc",
    }
    assert [step for _, step in sinks.logged] == [4, 8, 12]


def test_record_only_records(sinks: Sinks, train: Any, caplog: Any) -> None:
    """``record``: training goes to its end, quietly; the verdict is in the line and the flags."""
    with caplog.at_level(logging.WARNING):
        trainer = train(sinks.evaluation(ACC), Model(BAD))
    assert trainer.current_epoch == 3
    assert "SLA" not in caplog.text
    broken = [line["sla"] for line in sinks.lines]
    assert [one["passed"] for one in broken] == [True, False, True]
    (violation,) = broken[1]["violations"]
    assert violation == {
        "metric": "val/acc",
        "value": pytest.approx(0.5),
        "limit": 0.9,
        "kind": "min",
    }
    assert sinks.values("evaluation/sla/passed") == [1, 0, 1]
    assert sinks.values("evaluation/sla/violation_count") == [0, 1, 0]
    assert sinks.values("evaluation/sla/violations/val/acc") == [1, 0]
    assert [verdict.passed for verdict in sinks.verdicts] == [True, False, True]


def test_warn_warns_once_per_broken_evaluation(sinks: Sinks, train: Any, caplog: Any) -> None:
    """``warn``: one line that names the metric, the value and the limit; training goes on."""
    evaluation = sinks.evaluation(ACC, OnViolation.warn)
    with caplog.at_level(logging.WARNING):
        trainer = train(evaluation, Model(BAD))
    assert (trainer.current_epoch, evaluation.stopped_by_sla) == (3, False)
    assert [r.message for r in caplog.records if "SLA" in r.message] == [
        "SLA violated in validate at step 8: val/acc=0.5 (min 0.9)"
    ]


def test_stop_ends_the_training_cleanly(sinks: Sinks, train: Any) -> None:
    """``stop``: the fit ends by itself after the broken evaluation, and is known to be stopped."""
    evaluation = sinks.evaluation(ACC, OnViolation.stop)
    trainer = train(evaluation, Model(BAD))
    assert (trainer.global_step, len(sinks.lines)) == (8, 2)
    assert evaluation.stopped_by_sla
    train(evaluation, Model((0.95,) * 3))
    assert not evaluation.stopped_by_sla


def test_fail_raises(sinks: Sinks, train: Any) -> None:
    """``fail``: the fit raises, after the verdict has been told everywhere."""
    with pytest.raises(SlaViolationError, match=r"validate at step 8: val/acc=0\.5 \(min 0\.9\)"):
        train(sinks.evaluation(ACC, OnViolation.fail), Model(BAD))
    assert sinks.lines[-1]["sla"]["passed"] is False
    assert sinks.values("evaluation/sla/passed") == [1, 0]


def test_the_sanity_check_is_never_judged(sinks: Sinks, train: Any) -> None:
    """What is missing or logged in the sanity check is neither judged nor logged nor kept."""

    def act(model: Model) -> None:
        if model.trainer.sanity_checking:
            evaluation.log_evaluation({"win_rate": 0.0})

    evaluation = sinks.evaluation({"evaluation/win_rate": LimitConfig(min=0.5)}, OnViolation.fail)
    with pytest.raises(SlaViolationError, match="at step 4: evaluation/win_rate is missing"):
        train(evaluation, Model(act=act))
    assert sinks.values("evaluation/win_rate") == []
    assert [line["step"] for line in sinks.lines] == [4]


def test_a_warning_never_stops(sinks: Sinks, train: Any) -> None:
    """A limit of severity ``warning`` is told but not acted on."""
    limit = {"val/acc": LimitConfig(min=0.9, severity=Severity.warning)}
    evaluation = sinks.evaluation(limit, OnViolation.fail)
    assert train(evaluation, Model(BAD)).current_epoch == 3
    assert sinks.lines[1]["sla"]["passed"] is False


def test_grace_and_warm_up_in_a_training(sinks: Sinks, train: Any) -> None:
    """Two bad epochs in a row are needed, and the first epochs do not count."""
    train(sinks.evaluation(ACC, grace=2), Model((0.5, 0.5, 0.5, 0.95, 0.5)), max_epochs=5)
    assert [line["sla"]["passed"] for line in sinks.lines] == [True, False, False, True, True]
    sinks.lines.clear()
    late = {"val/acc": LimitConfig(min=0.9, after_epoch=2)}
    train(sinks.evaluation(late), Model((0.5,) * 4), max_epochs=4)
    assert [line["sla"]["passed"] for line in sinks.lines] == [True, True, False, False]


def test_a_metric_that_is_not_logged_this_time_is_missing(sinks: Sinks, train: Any) -> None:
    """The value of an earlier validation does not stand for this one; a training metric does."""
    limits = {**ACC, "train/loss": LimitConfig(max=1e9)}
    train(sinks.evaluation(limits), Model((0.95, None, 0.95)))
    kinds = [[one["kind"] for one in line["sla"]["violations"]] for line in sinks.lines]
    assert kinds == [[], ["missing"], []]
    assert "val/acc" not in sinks.lines[1]["metrics"]


def test_nan_does_not_pass(sinks: Sinks, train: Any) -> None:
    """A metric that is NaN is violated, and the line is still JSON."""
    train(sinks.evaluation(ACC), Model((math.nan,)), max_epochs=1)
    (line,) = sinks.lines
    assert line["sla"]["violations"][0]["kind"] == "nan"
    assert line["metrics"]["val/acc"] == "NaN"
    json.dumps(line, allow_nan=False)


def test_fit_then_test(sinks: Sinks, tmp_path: Path) -> None:
    """A limit on ``val/…`` is not missing in the test; the record stands for both stages."""
    limits = {**ACC, "test/loss": LimitConfig(max=-1.0, after_epoch=99)}
    trainer = trainer_for(sinks.evaluation(limits), tmp_path, max_epochs=1)
    model = Model((0.5,))
    trainer.fit(model, points(), points())
    trainer.test(model, points(), verbose=False)
    validated, tested = sinks.lines
    assert [one["metric"] for one in validated["sla"]["violations"]] == ["val/acc"]
    assert [one["metric"] for one in tested["sla"]["violations"]] == ["test/loss"]
    assert set(tested["metrics"]) == {"test/loss"}
    assert "training_impact_percent" not in tested["performance"]
    assert [one.metric for one in sinks.verdicts[-1].violations] == ["val/acc", "test/loss"]


def test_stop_in_a_test_has_nothing_to_stop(sinks: Sinks, tmp_path: Path) -> None:
    """``stop`` outside a fit does not pretend to have stopped one."""
    evaluation = sinks.evaluation({"test/loss": LimitConfig(max=-1.0)}, OnViolation.stop)
    trainer = trainer_for(evaluation, tmp_path)
    trainer.test(Model(), points(), verbose=False)
    assert (trainer.should_stop, evaluation.stopped_by_sla) == (False, False)
    assert sinks.verdicts[-1].passed is False


def test_what_is_logged_in_an_evaluation_joins_it(sinks: Sinks, train: Any) -> None:
    """Games played in the validation are in its line, under the limits, and logged once."""

    def act(model: Model) -> None:
        games = [Game("win", 40), Game("loss", None), Game("draw", 60)]
        result = EvaluationResult.from_games(games, performance={"moves_per_s": 9.0}, elo=1500)
        evaluation.log_evaluation(result)

    limits = {
        "evaluation/win_rate": LimitConfig(min=0.5),
        "evaluation/performance/moves_per_s": LimitConfig(min=10),
    }
    evaluation = sinks.evaluation(limits)
    train(evaluation, Model(act=act), max_epochs=1, num_sanity_val_steps=0)
    (line,) = sinks.lines
    assert line["metrics"]["evaluation/elo"] == 1500
    assert line["metrics"]["evaluation/average_length"] == 50
    assert line["performance"]["moves_per_s"] == 9
    broken = ["evaluation/performance/moves_per_s", "evaluation/win_rate"]
    assert [one["metric"] for one in line["sla"]["violations"]] == broken
    assert sinks.values("evaluation/win_rate") == [pytest.approx(1 / 3)]
    assert sinks.values("evaluation/performance/moves_per_s") == [9]
    assert len(sinks.values("evaluation/performance/latency_ms")) == 1


def test_an_evaluation_of_ones_own_outside_of_fit(sinks: Sinks) -> None:
    """Without any trainer it has its own line and is judged by the limits on what it holds."""
    limits = {
        "val/acc": LimitConfig(min=0.9),
        "evaluation/win_rate": LimitConfig(min=0.5, after_epoch=3),
        "evaluation/elo": LimitConfig(min=1000),
    }
    evaluation = sinks.evaluation(limits)
    evaluation.log_evaluation({"win_rate": 0.25}, step=7, stage="arena")
    (line,) = sinks.lines
    assert (line["stage"], line["step"], line["epoch"]) == ("arena", 7, None)
    assert line["metrics"] == {"evaluation/win_rate": 0.25}
    assert [one["metric"] for one in line["sla"]["violations"]] == ["evaluation/win_rate"]
    ((metrics, step),) = sinks.logged
    assert (metrics["evaluation/win_rate"], metrics["evaluation/sla/passed"], step) == (0.25, 0, 7)
    evaluation.log_evaluation({"elo": 1200})
    assert [one.metric for one in sinks.verdicts[-1].violations] == ["evaluation/win_rate"]
    evaluation.log_evaluation({"evaluation/win_rate": 0.75}, stage="arena")
    assert sinks.verdicts[-1] == SlaVerdict(True)


def test_an_evaluation_between_epochs_is_not_missed_in_the_next_validation(
    sinks: Sinks, tmp_path: Path
) -> None:
    """What is judged where it is logged is not judged as missing elsewhere."""
    limits = {"evaluation/win_rate": LimitConfig(min=0.5)}
    evaluation = sinks.evaluation(limits, OnViolation.stop)

    class Arena(Model):
        def on_train_epoch_start(self) -> None:
            evaluation.log_evaluation({"win_rate": 0.75 if self.current_epoch < 2 else 0.25})

    trainer = trainer_for(evaluation, tmp_path, max_epochs=5)
    trainer.fit(Arena(), points(), points())
    passed = [(line["stage"], (line["sla"] or {}).get("passed")) for line in sinks.lines]
    assert passed[:4] == [("evaluation", True), ("validate", None)] * 2
    assert passed[4] == ("evaluation", False)
    assert evaluation.stopped_by_sla
    assert trainer.current_epoch == 3


def test_fail_reaches_who_logs(sinks: Sinks) -> None:
    """A result that breaks a limit under ``fail`` raises at the call that logs it."""
    evaluation = sinks.evaluation({"evaluation/elo": LimitConfig(min=1)}, OnViolation.fail)
    with pytest.raises(SlaViolationError, match="evaluation/elo=0"):
        evaluation.log_evaluation({"elo": 0.0})
    assert len(sinks.lines) == len(sinks.logged) == 1


def test_free_text_is_a_violation_everywhere(sinks: Sinks, train: Any) -> None:
    """People's own words are in the line, the count, the flags and the record, with no limit."""
    words = "Speicher > 500 MB: 731"
    evaluation = sinks.evaluation()

    def act(model: Model) -> None:
        if model.current_epoch == 1:
            evaluation.log_evaluation(EvaluationResult(violations=[words]))

    train(evaluation, Model(act=act), max_epochs=2, num_sanity_val_steps=0)
    assert [line["sla"] for line in sinks.lines] == [
        None,
        {
            "passed": False,
            "violations": [{"metric": words, "value": None, "limit": None, "kind": "text"}],
        },
    ]
    assert sinks.values("evaluation/sla/violation_count") == [1]
    assert sinks.values("evaluation/sla/violations/Speicher _ 500 MB_ 731") == [1]
    assert sinks.verdicts[-1].violations == (Violation(words, kind="text"),)


def test_figures_of_ones_own(sinks: Sinks) -> None:
    """``log_performance`` logs under the performance names, and wrong ones are told."""
    evaluation = sinks.evaluation()
    evaluation.log_performance({"nodes_per_s": 5})
    assert sinks.logged == [({"evaluation/performance/nodes_per_s": 5.0}, None)]
    assert sinks.lines[0]["performance"] == {"nodes_per_s": 5.0}
    with pytest.raises(SessionConfigError, match="nodes_per_s"):
        evaluation.log_performance({"nodes_per_s": "many"})  # type: ignore[dict-item]


def test_relative_limits_look_at_the_baseline_once(sinks: Sinks, train: Any) -> None:
    """The history is read once, and only when a limit is relative."""
    asked: list[int] = []

    def baseline() -> dict[str, float]:
        asked.append(1)
        return {"val/acc": 0.9}

    train(sinks.evaluation(ACC, baseline=baseline), Model(BAD))
    assert asked == []
    sinks.lines.clear()
    relative = {"val/acc": LimitConfig(max_decrease_percent=10)}
    train(sinks.evaluation(relative, baseline=baseline), Model(BAD))
    assert len(asked) == 1
    kinds = [[one["kind"] for one in line["sla"]["violations"]] for line in sinks.lines]
    assert kinds == [[], ["max_decrease_percent"], []]


def test_a_history_that_cannot_be_read_is_no_one_s_problem(
    sinks: Sinks, train: Any, caplog: Any
) -> None:
    """One warning, no baseline, and training goes on."""

    def baseline() -> dict[str, float]:
        raise OSError("the share is gone")

    relative = {"val/acc": LimitConfig(max_decrease_percent=10)}
    evaluation = sinks.evaluation(relative, OnViolation.fail, baseline=baseline)
    with caplog.at_level(logging.WARNING):
        assert train(evaluation, Model(BAD)).current_epoch == 3
    assert caplog.text.count("the share is gone") == 1


def test_batch_percentiles_when_asked_for(sinks: Sinks, train: Any) -> None:
    """Three of four batches count, after one of warm-up."""
    config = EvaluationConfig(batch_latency=True, warmup_batches=1)
    train(sinks.evaluation(config=config), batches=True)
    for line in sinks.lines:
        p50, p95, p99 = (line["performance"][f"batch_latency_ms_p{q}"] for q in (50, 95, 99))
        assert 0 < p50 <= p95 <= p99 <= line["performance"]["latency_ms"]


def test_nothing_is_measured_when_not_wanted(sinks: Sinks, train: Any) -> None:
    """Without performance the line has none, and nothing of ours is logged."""
    train(sinks.evaluation(config=EvaluationConfig(performance=False)))
    assert [line["performance"] for line in sinks.lines] == [{}, {}, {}]
    assert sinks.logged == []


def test_the_configuration_reaches_the_trackers_once(sinks: Sinks, train: Any) -> None:
    """The strategy and its parameters are there under ``evaluation/…``."""
    config = EvaluationConfig(strategy="random opponent", parameters={"games": 20})
    train(sinks.evaluation(config=config))
    (found,) = sinks.config
    assert found["evaluation/strategy"] == "random opponent"
    assert found["evaluation/parameters/games"] == 20
    assert all(name.startswith("evaluation/") for name in found)


def test_a_sink_that_fails_keeps_nothing_else_from_happening(sinks: Sinks, train: Any) -> None:
    """A logger that raises skips neither the line nor the verdict nor what follows from it."""

    def broken(metrics: Any, step: Any) -> None:
        raise OSError("the logger is gone")

    evaluation = sinks.evaluation(ACC, OnViolation.fail, log=broken)
    with pytest.raises(SlaViolationError):
        train(evaluation, Model((0.5,)))
    assert sinks.lines[0]["sla"]["passed"] is False
    assert sinks.verdicts[0].passed is False


def test_a_training_is_not_kept_alive(sinks: Sinks, tmp_path: Path) -> None:
    """The evaluation outlives many trainers and holds on to none of them."""
    import gc
    import weakref

    evaluation = sinks.evaluation()
    trainer = trainer_for(evaluation, tmp_path, max_epochs=1)
    trainer.fit(Model(), points(), points())
    gone = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert gone() is None
    evaluation.log_evaluation({"elo": 1.0})
    assert sinks.lines[-1]["stage"] == "evaluation"
