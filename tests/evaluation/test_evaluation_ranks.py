"""Two ranks come to one verdict, and end the training together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning.evaluation.findings import Findings, agreed, worst

PROGRAM = Path(__file__).with_name("two_ranks.py")


def outcomes(directory: Path, name: str) -> list[dict[str, Any]]:
    """Train in real processes and return what each rank wrote down."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(directory), name],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        json.loads((directory / f"{name}.rank{rank}.json").read_text(encoding="utf-8"))
        for rank in (0, 1)
    ]


def test_stop_stops_both_ranks_at_the_same_step(tmp_path: Path) -> None:
    """A metric that is bad on rank 0 only stops both; only rank 0 writes and logs."""
    first, second = outcomes(tmp_path, "stop")
    assert first["steps"] == second["steps"] == 4
    assert first["stopped"]
    assert second["stopped"]
    assert [line["sla"]["passed"] for line in first["lines"]] == [True, False]
    assert (second["lines"], second["logged"]) == ([], 0)
    for line in first["lines"]:  # rank 1 slept 400 ms longer
        assert line["performance"]["latency_ms"] >= 400


@pytest.mark.long
def test_fail_raises_on_both_ranks(tmp_path: Path) -> None:
    """The same error on both, so that none waits for the other."""
    first, second = outcomes(tmp_path, "fail")
    assert first["error"] == second["error"]
    assert "val/acc=0.5 (min 0.9)" in first["error"]


@pytest.mark.long
@pytest.mark.parametrize("policy", ["stop", "fail"])
def test_what_rank_0_finds_alone_ends_both_at_the_next_evaluation(
    tmp_path: Path, policy: str
) -> None:
    """A broken limit between evaluations waits for the next one, where the ranks can agree."""
    first, second = outcomes(tmp_path, f"arena_{policy}")
    assert first["steps"] == second["steps"] == 4
    assert first["error"] == second["error"]
    assert (first["error"] is not None) == (policy == "fail")
    assert first["stopped"] is second["stopped"] is (policy == "stop")


def test_the_worst_figure_counts_where_it_is_known() -> None:
    """Of each figure the highest; a rank that does not know it has no say."""
    assert worst([{"a": 1.0, "b": 5.0}, {"a": 3.0}, {}]) == {"a": 3.0, "b": 5.0}
    assert worst([]) == {}


def test_rank_0_decides() -> None:
    """Its metrics, words and history are what all judge; a fault of another rank is no fault."""
    first = Findings({"m": 1.0}, performance={"latency_ms": 1.0}, texts=("hot",))
    found = agreed([first, Findings({"m": 9.0}, texts=("cold",), fault="no memory")])
    assert (found.metrics, found.texts, found.fault) == ({"m": 1.0}, ("hot",), "")
