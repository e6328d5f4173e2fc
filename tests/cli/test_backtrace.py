"""What a traceback says; the tracebacks are real ones, raised here."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from keisei_lightning.cli.backtrace import causes, last_user_frame


def trace_of(function: Callable[[], object]) -> str:
    """Return the traceback that a call ends with."""
    try:
        function()
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("it did not raise")


def chained() -> None:
    """Raise because of something."""
    try:
        {}["x"]
    except KeyError as error:
        raise ValueError("no such thing\nas x") from error


def while_handling() -> None:
    """Raise instead of something."""
    try:
        chained()
    except ValueError:
        raise RuntimeError("gave up") from None


def test_the_chain_of_causes_starts_with_the_first() -> None:
    """Each exception of a chain is named once, in the order they happened."""
    assert causes(trace_of(chained)) == ["KeyError: 'x'", "ValueError: no such thing"]
    assert causes(trace_of(while_handling)) == ["RuntimeError: gave up"]


def test_the_frame_is_the_users_not_the_librarys() -> None:
    """An exception raised deep inside the standard library is blamed on the line that led there."""
    trace = trace_of(lambda: json.loads("{"))
    frame = last_user_frame(trace)
    assert frame is not None
    assert Path(frame.file) == Path(__file__)
    assert "json.loads" in frame.code
    assert causes(trace)[0].startswith("json.decoder.JSONDecodeError: ")


def test_the_frame_of_a_chain_is_of_what_was_raised() -> None:
    """The last exception is the one that ended the run."""
    frame = last_user_frame(trace_of(chained))
    assert frame is not None
    assert (frame.function, frame.code) == (
        "chained",
        'raise ValueError("no such thing\\nas x") from error',
    )


def test_without_a_line_of_the_user_the_last_frame_will_do() -> None:
    """A traceback of nothing but library code still says where."""
    trace = (
        "Traceback (most recent call last):\n"
        '  File "/v/lib/python3.11/site-packages/torch/nn.py", line 5, in check\n'
        "    raise ValueError(x)\n"
        "ValueError: 1\n"
    )
    frame = last_user_frame(trace)
    assert frame is not None
    assert (frame.file[-5:], frame.line) == ("nn.py", 5)


def test_a_group_of_exceptions_names_one_of_them() -> None:
    """The bars of an exception group do not hide what is in it."""

    def group() -> None:
        try:
            chained()
        except ValueError as error:
            raise ExceptionGroup("several", [error, OSError("disk")]) from None

    trace = trace_of(group)
    assert any(
        "ValueError: no such thing" in cause or "OSError" in cause for cause in causes(trace)
    )
    assert last_user_frame(trace) is not None


def test_a_syntax_error_has_a_place() -> None:
    """A frame without a function is one."""
    trace = trace_of(lambda: compile("x = (", "/home/me/train.py", "exec"))
    assert causes(trace) == ["SyntaxError: '(' was never closed"]
    frame = last_user_frame(trace)
    assert frame is not None
    assert (frame.file, frame.line, frame.function) == ("/home/me/train.py", 1, None)


@pytest.mark.parametrize(
    "text", ["", "ValueError: 1", "\n\n", "Traceback (most recent call last):"]
)
def test_no_text_makes_it_fail(text: str) -> None:
    """What is no traceback has no frame."""
    assert last_user_frame(text) is None
    assert causes(text) == ([text] if text.startswith("Value") else [])
