"""Tables that always fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from keisei_lightning.cli.sheet import Column, Sheet, fit, shorten

COLUMNS = st.lists(
    st.builds(
        Column,
        st.text(alphabet="AB", min_size=1, max_size=6),
        rank=st.integers(0, 9),
        right=st.booleans(),
        least=st.none() | st.integers(1, 12),
        keep=st.sampled_from(["start", "end"]),
    ),
    min_size=1,
    max_size=8,
)


@given(COLUMNS, st.data(), st.integers(20, 200))
def test_no_line_is_wider_than_the_screen(
    columns: list[Column], data: st.DataObject, w: int
) -> None:
    """Whatever the cells, wide characters included, each row is one line that fits."""
    sheet = Sheet(columns, width=w)
    cell = st.text(alphabet="ab 日🦊", max_size=40)
    for _ in range(data.draw(st.integers(0, 3))):
        sheet.add(*(data.draw(cell) for _ in columns))
    for line in sheet.lines():
        assert line.cell_len <= w
        assert "\n" not in line.plain


@given(COLUMNS, st.data(), st.integers(1, 300))
def test_columns_go_by_rank(columns: list[Column], data: st.DataObject, width: int) -> None:
    """A column only goes when all of a higher rank have gone; rank 0 stays while it can."""
    wanted = [data.draw(st.integers(1, 40)) for _ in columns]
    widths = fit(columns, wanted, width)
    gone = [c.rank for i, c in enumerate(columns) if i not in widths]
    stay = [columns[i].rank for i in widths]
    if gone and max(stay) > 0:
        assert max(stay) <= min(rank for rank in gone if rank > 0)
    if sum(wanted) + 2 * (len(wanted) - 1) <= width:
        assert widths == dict(enumerate(wanted))


def test_a_flexible_column_gives_way_before_any_goes() -> None:
    """A long name is shortened, with an ellipsis, rather than a column dropped."""
    sheet = Sheet([Column("NAME", least=5), Column("STATUS", rank=1)], width=16)
    sheet.add("a-very-long-name", "running")
    assert [line.plain for line in sheet.lines()] == ["NAME     STATUS", "a-very…  running"]


def test_the_end_of_a_path_is_what_stays() -> None:
    """A path keeps its last part."""
    assert shorten(Text("/a/b/c/run-7"), 6, "end").plain == "…run-7"
    assert shorten(Text("日本語"), 4, "end").plain == "…語"


def test_without_a_terminal_every_cell_is_whole() -> None:
    """No width: no cut, no dropped column, and ``-`` where there is nothing, for awk."""
    sheet = Sheet([Column("A"), Column("B", rank=5), Column("C", rank=1)], sparse=False)
    sheet.add("x" * 300, "", "z")
    assert [line.plain.split() for line in sheet.lines()] == [
        ["A", "B", "C"],
        ["x" * 300, "-", "z"],
    ]


def test_a_column_that_says_nothing_is_left_out() -> None:
    """On a terminal an empty column takes no room."""
    sheet = Sheet([Column("A"), Column("B", rank=1)], width=80)
    sheet.add("x", "")
    assert [line.plain for line in sheet.lines()] == ["A", "x"]
