"""What an evaluation costs is measured, and what cannot be known is absent."""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.evaluation import gpu
from keisei_lightning.evaluation.monitor import Monitor, percentile, training_impact

CPU = torch.device("cpu")
NO_CUDA = not torch.cuda.is_available()


class Clock:
    """A clock that goes when told to."""

    now = 100.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def test_the_figures_of_an_evaluation_on_a_cpu() -> None:
    """Latency, memory and CPU are there; GPU and training impact are unknown, so absent."""
    monitor = Monitor(CPU)
    monitor.begin()
    kept = bytearray(64 << 20)
    for place in range(0, len(kept), 4096):
        kept[place] = 1
    time.sleep(0.05)
    found = monitor.end()
    assert set(found) == {"latency_ms", "memory_overhead_mb", "cpu_utilization_percent"}
    assert found["latency_ms"] >= 50
    assert found["memory_overhead_mb"] > 32
    assert found["cpu_utilization_percent"] > 0


def test_an_idle_evaluation_uses_little_cpu() -> None:
    """CPU is that of this process over the evaluation: sleeping is not computing."""
    monitor = Monitor(CPU)
    monitor.begin()
    time.sleep(0.3)
    assert monitor.end()["cpu_utilization_percent"] < 60


def test_memory_that_was_given_back_is_no_negative_overhead() -> None:
    """An evaluation that shrinks the process has no overhead."""
    kept = [bytearray(64 << 20)]
    for place in range(0, len(kept[0]), 4096):
        kept[0][place] = 1
    monitor = Monitor(CPU)
    monitor.begin()
    kept.clear()
    assert monitor.end()["memory_overhead_mb"] >= 0


def test_training_impact_is_the_share_since_the_last_evaluation() -> None:
    """Each window starts where the last evaluation ended."""
    clock = Clock()
    monitor = Monitor(CPU, clock=clock)
    monitor.training_began()
    clock.now += 9
    monitor.begin()
    clock.now += 1
    assert monitor.end()["training_impact_percent"] == pytest.approx(10)
    clock.now += 1
    monitor.begin()
    clock.now += 3
    assert monitor.end()["training_impact_percent"] == pytest.approx(75)
    monitor.training_ended()
    monitor.begin()
    assert "training_impact_percent" not in monitor.end()


def test_an_end_without_a_start_has_no_figures() -> None:
    """Nothing was measured, nothing is said."""
    assert Monitor(CPU).end() == {}


def test_batch_percentiles_leave_the_first_batches_out() -> None:
    """The slow first batch of every evaluation does not count."""
    clock = Clock()
    monitor = Monitor(CPU, clock=clock, warmup_batches=1)
    for _ in range(2):
        monitor.begin()
        for seconds in (9.0, 0.01, 0.02, 0.03):
            monitor.batch_begin()
            clock.now += seconds
            monitor.batch_end()
        found = monitor.end()
        assert found["batch_latency_ms_p50"] == pytest.approx(20)
        assert found["batch_latency_ms_p95"] == pytest.approx(29)
        assert found["batch_latency_ms_p99"] == pytest.approx(29.8)
    monitor.begin()
    assert "batch_latency_ms_p50" not in monitor.end()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50))
def test_percentiles_agree_with_the_standard_library(values: list[float]) -> None:
    """Linear interpolation between the values that were seen."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    for q in (1, 50, 95, 99):
        assert percentile(sorted(values), q) == pytest.approx(cuts[q - 1], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e6), st.floats(-1.0, 1e6))
def test_training_impact_is_a_percentage(evaluation_s: float, training_s: float) -> None:
    """Whatever the clocks say, it lies between 0 and 100."""
    assert 0 <= training_impact(evaluation_s, training_s) <= 100


def test_a_cpu_knows_nothing_of_a_gpu() -> None:
    """No GPU figure is zero: it is absent."""
    gpu.synchronize(CPU)
    gpu.reset_peak_memory(CPU)
    assert gpu.allocated_memory(CPU) is None
    assert gpu.peak_memory(CPU) is None
    assert gpu.utilization_percent(CPU, since_us=0) is None


@pytest.mark.skipif(not NO_CUDA, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_no_error() -> None:
    """Where the driver's library is missing, utilization is unknown."""
    assert gpu.utilization_percent(torch.device("cuda", 0), since_us=0) is None


@pytest.mark.skipif(NO_CUDA, reason="needs a CUDA device")
def test_the_figures_of_an_evaluation_on_a_gpu() -> None:
    """On CUDA memory is the device's peak above the start, and utilization is known."""
    device = torch.device("cuda", 0)
    resident = torch.ones(16 << 20, device=device)
    monitor = Monitor(device)
    monitor.begin()
    began = time.monotonic()
    peak = torch.ones(64 << 18, device=device)
    while time.monotonic() - began < 1.0:
        peak = peak * resident[0]
    del peak
    found = monitor.end()
    assert found["latency_ms"] >= 1000
    assert 60 <= found["memory_overhead_mb"] <= 300
    assert 0 < found["gpu_utilization_percent"] <= 100
