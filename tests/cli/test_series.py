"""Reading ``metrics.jsonl``, and drawing it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.cli import series
from keisei_lightning.cli.chart import chart, sparkline
from keisei_lightning.cli.series import Point


def journal(folder: Path, *lines: object) -> Path:
    """Write a journal; strings go in as they are."""
    path = folder / "metrics.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    path.write_text("".join(texts))
    return path


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    """A run killed while writing leaves half a line; the others are read."""
    path = journal(tmp_path, {"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}, '{"step": 2, "lo')
    assert series.read(path) == {"loss": [Point(0, None, 1.0), Point(1, None, 0.5)]}


def test_what_is_no_number_is_no_metric(tmp_path: Path) -> None:
    """NaN and infinities count as values, however they are written; texts and lists do not."""
    row = {"step": 3, "epoch": 1, "time": "t", "a": "NaN", "b": "Infinity", "c": "text", "d": [1]}
    path = journal(tmp_path, row, '{"step": 4, "a": NaN, "f": true, "g": 1' + "0" * 400 + "}\n")
    found = series.read(path)
    assert sorted(found) == ["a", "b", "f", "g"]
    assert [math.isnan(point.value) for point in found["a"]] == [True, True]
    assert (found["b"][0].value, found["b"][0].epoch, found["f"][0].value) == (math.inf, 1, 1.0)


def test_a_resumed_run_has_its_later_values(tmp_path: Path) -> None:
    """Steps that were done twice count once; the order is that of the steps."""
    path = journal(
        tmp_path, {"step": 5, "x": 1}, {"step": 9, "x": 2}, {"step": 5, "x": 3}, {"step": 7, "x": 4}
    )
    assert [(p.step, p.value) for p in series.read(path)["x"]] == [(5, 3.0), (7, 4.0), (9, 2.0)]


def test_patterns_choose_and_what_chose_nothing_is_told(tmp_path: Path) -> None:
    """``val/*`` is all of val; a name with brackets is itself."""
    found = series.read(journal(tmp_path, {"step": 0, "val/a": 1, "val/b": 2, "acc[0]": 3}))
    picked, missing = series.chosen(found, ["acc[0]", "val/*", "nothing"])
    assert list(picked) == ["acc[0]", "val/a", "val/b"]
    assert missing == ["nothing"]
    assert list(series.chosen(found, [])[0]) == ["val/a", "val/b", "acc[0]"]


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_a_summary_is_of_the_finite_values(values: list[float]) -> None:
    """Least and greatest leave out NaN and infinities, which are counted."""
    points = [Point(i, None, value) for i, value in enumerate(values)]
    summary = series.summarize(points)
    finite = [value for value in values if math.isfinite(value)]
    assert summary.min == (min(finite) if finite else None)
    assert summary.max == (max(finite) if finite else None)
    assert summary.nonfinite == len(values) - len(finite)
    assert summary.step == len(values) - 1


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats()), max_size=30),
    st.integers(20, 120),
    st.integers(3, 20),
    st.booleans(),
)
def test_a_chart_fits_its_box(
    points: list[tuple[int, float]], width: int, height: int, braille: bool
) -> None:
    """Whatever the values, huge ones and NaN included, a chart keeps to its width and height."""
    lines = chart(points, width=width, height=height, braille=braille)
    assert all(len(line) <= width for line in lines)
    assert len(lines) in (1, height + 2)
    assert braille or "".join(lines).isascii()


def test_a_falling_line_falls() -> None:
    """The first value is top left, the last bottom right."""
    lines = chart([(0, 3.0), (10, 0.0)], width=30, height=5, braille=False)
    assert lines[0].startswith("  3 |*")
    assert lines[4].startswith("  0 |")
    assert lines[4].endswith("*")
    assert lines[-1].split() == ["0", "10"]


@given(st.lists(st.floats(), max_size=100), st.integers(0, 30))
def test_a_sparkline_fits(values: list[float], width: int) -> None:
    """The course of a series takes at most the width given."""
    assert len(sparkline(values, width)) <= width


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2, 3], "▁▄█"), ([5, 5], "▄▄"), ([math.nan], ""), ([], "")]
)
def test_a_sparkline_shows_the_course(values: list[float], expected: str) -> None:
    """Low is low and high is high; a constant is in the middle."""
    assert sparkline(values, 10).replace("▅", "▄") == expected
