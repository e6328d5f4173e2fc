"""The record: allowed status changes, and JSON there and back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.errors import SessionError, SessionStateError
from keisei_lightning.record import (
    TRANSITIONS,
    Ending,
    ExceptionFacts,
    Progress,
    SessionRecord,
    SlaVerdict,
    Status,
    Tracker,
    Violation,
    damaged,
    from_json,
    to_json,
)

numbers = st.floats(allow_nan=True, allow_infinity=True)
records = st.builds(
    SessionRecord,
    id=st.text(min_size=1),
    name=st.text(),
    status=st.sampled_from(Status),
    tags=st.lists(st.text()).map(tuple),
    metrics=st.dictionaries(st.text(), numbers),
    progress=st.none() | st.builds(Progress, step=st.integers(0), percent=numbers),
    trackers=st.lists(st.builds(Tracker, kind=st.text())).map(tuple),
    sla=st.none()
    | st.builds(
        SlaVerdict,
        passed=st.booleans(),
        violations=st.lists(st.builds(Violation, metric=st.text(), value=numbers)).map(tuple),
    ),
    ending=st.none()
    | st.builds(
        Ending,
        status=st.sampled_from(Status),
        reason=st.just("exception"),
        exception=st.none() | st.builds(ExceptionFacts, type=st.text(), message=st.text()),
    ),
)


@given(records)
def test_record_survives_json(record: SessionRecord) -> None:
    """What is written is strict JSON, and reads back to the same facts, NaN included."""
    text = json.dumps(to_json(record), allow_nan=False)
    back = from_json(json.loads(text))
    assert json.dumps(to_json(back)) == text
    assert {k for k, v in back.metrics.items() if math.isnan(v)} == {
        k for k, v in record.metrics.items() if math.isnan(v)
    }


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_allowed_changes_are_made(before: Status, after: Status) -> None:
    """The first final status wins; everything else is refused by name."""
    record = SessionRecord(id="a", name="a", status=before)
    if after is before or after in TRANSITIONS[before]:
        assert record.update(status=after).status is after
    else:
        with pytest.raises(SessionStateError, match=before.value):
            record.update(status=after)
    assert before.is_final == (not TRANSITIONS[before])


def test_unknown_field_is_named() -> None:
    """A change of a field that does not exist is an error that names it."""
    with pytest.raises(SessionError, match="colour"):
        SessionRecord(id="a", name="a").update(colour="red")


def test_newer_schema_is_read() -> None:
    """Keys that a later version added are passed over."""
    assert from_json({"id": "a", "name": "a", "invented": 1}).id == "a"


@pytest.mark.parametrize(
    "data", [None, [], {}, {"id": 1, "name": "a"}, {"id": "a", "name": "a", "heartbeat": 3}]
)
def test_what_is_no_record_is_an_error(data: object) -> None:
    """Damaged data is an error of ours, never a crash somewhere else."""
    with pytest.raises(SessionError):
        from_json(data)


def test_damaged_record_stands_as_failed() -> None:
    """What could not be read stays visible, with the reason."""
    record = damaged("a", "cut off at byte 7", directory="/runs/a")
    assert (record.status, record.directory) == (Status.FAILED, "/runs/a")
    assert record.ending is not None
    assert record.ending.exception is not None
    assert record.ending.exception.message == "cut off at byte 7"
