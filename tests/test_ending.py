"""How an ending is judged from the facts."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.ending import FitFacts, classify, exit_code_of, fit_reason
from keisei_lightning.errors import SessionCapacityError, SlaViolationError
from keisei_lightning.record import ExceptionFacts, LastWords, Place, Status


def raised(error: BaseException, during: BaseException | None = None) -> BaseException:
    """An exception as it is caught, perhaps raised while another was handled."""
    error.__context__ = during
    return error


class TrialPruned(Exception):
    """As Optuna names it."""


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (None, ("completed", "finished", 0)),
        (ValueError("x"), ("failed", "exception", 1)),
        (KeyboardInterrupt(), ("interrupted", "keyboard_interrupt", 130)),
        (SystemExit(), ("completed", "exit", 0)),
        (SystemExit(0), ("completed", "exit", 0)),
        (SystemExit(3), ("failed", "exit", 3)),
        (SystemExit("a message"), ("failed", "exit", 1)),
        (SystemExit(-1), ("failed", "exit", 255)),
        (raised(SystemExit(1), KeyboardInterrupt()), ("interrupted", "keyboard_interrupt", 1)),
        (raised(OSError(), KeyboardInterrupt()), ("interrupted", "keyboard_interrupt", 1)),
        (TrialPruned(), ("pruned", "pruned", 0)),
        (SlaViolationError("val/acc"), ("failed", "sla", 1)),
        (SessionCapacityError("1 of 1"), ("failed", "capacity", 1)),
    ],
)
def test_exception_decides(exception: BaseException | None, expected: tuple[str, str, int]) -> None:
    """Each way out has its status, reason and exit code."""
    ending = classify(exception, closed_by="test")
    assert (ending.status.value, ending.reason, ending.exit_code) == expected


@given(st.sampled_from([None, ValueError("x"), SystemExit(0), RuntimeError("closed by peer")]))
def test_signal_outranks_the_exception(exception: BaseException | None) -> None:
    """After a signal the run is terminated, whatever surfaced because of it."""
    ending = classify(exception, closed_by="test", signal=signal.SIGTERM)
    assert (ending.status, ending.signal, ending.exit_code) == (Status.TERMINATED, "SIGTERM", 143)


def test_exception_of_the_first_rank_is_blamed() -> None:
    """A lost connection is not the cause: what the other rank said is."""
    words = LastWords(1, ExceptionFacts("ValueError", "boom"), Place("train", 2, 30))
    lost = RuntimeError("[gloo] Connection closed by peer")
    ending = classify(lost, closed_by="test", others=[words])
    assert (ending.rank, ending.exception, ending.step) == (1, words.exception, 30)
    own = classify(ValueError("mine"), closed_by="test", others=[words])
    assert (own.rank, own.exception) == (0, ExceptionFacts("ValueError", "mine"))


def test_rank_without_words_is_named_with_its_signal() -> None:
    """A rank that was killed could not speak."""
    lost = RuntimeError("NCCL error: remote process exited")
    ending = classify(lost, closed_by="test", others=[LastWords(3, signal="SIGKILL")])
    assert (ending.rank, ending.signal) == (3, "SIGKILL")
    assert ending.exception is not None
    assert "rank 3 was killed by SIGKILL" in ending.exception.message


def test_message_is_redacted() -> None:
    """A secret in an exception's message does not reach the record."""
    ending = classify(
        ValueError("key=s3cr3t"), closed_by="t", redact=lambda t: t.replace("s3cr3t", "")
    )
    assert ending.exception == ExceptionFacts("ValueError", "key=")


@given(st.integers())
def test_exit_code_is_what_a_shell_sees(code: int) -> None:
    """Exit codes are taken modulo 256."""
    assert exit_code_of(SystemExit(code)) == code % 256


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (FitFacts(epochs=3, max_epochs=3, should_stop=True), "max_epochs"),
        (FitFacts(step=5, max_steps=5, epochs=3, max_epochs=3), "max_steps"),
        (FitFacts(epochs=1, max_epochs=3, should_stop=True, time_is_up=True), "max_time"),
        (FitFacts(epochs=1, max_epochs=3, should_stop=True, stopped_early=True), "early_stopping"),
        (FitFacts(epochs=1, max_epochs=-1, should_stop=True), "stopped"),
        (FitFacts(epochs=3, max_epochs=3, stopped_by_sla=True), "sla"),
        (FitFacts(epochs=1, max_epochs=None), "finished"),
    ],
)
def test_fit_says_why_it_stopped(facts: FitFacts, reason: str) -> None:
    """The limit that ended a fit is told, in Lightning's order."""
    assert fit_reason(facts) == reason
