"""Who is named for a siren, judged against the truth; the tables of drives."""

import math
from types import SimpleNamespace

import pytest

from edge_perception.core.types import DetectedObject, SoundEvent
from edge_perception.evaluation.drive_truth import TrueObject
from edge_perception.evaluation.sirens import (
    NO_DIRECTION,
    NO_OBJECT,
    NOT_HEARD,
    RIGHT,
    UNDECIDED,
    WRONG,
    SirenWatch,
    siren_table,
)

NS = 1_000_000_000
TRUTH = (
    TrueObject(actor_id=0, class_name="truck", center_m=(10.0, 3.0), wanted=True, emergency=True),
    TrueObject(actor_id=1, class_name="car", center_m=(20.0, 3.0), wanted=True, emergency=False),
)
HIDDEN = (
    TrueObject(actor_id=0, class_name="truck", center_m=(10.0, 3.0), wanted=False, emergency=True),
    TRUTH[1],
)


def car(x, *, named=False):
    return DetectedObject(
        class_name="car", score=0.9, center_m=(x, 3.0, 0.8), size_m=(4, 2, 1.5), yaw_rad=0.0,
        emergency_evidence="heard" if named else "",
    )  # fmt: skip


def siren(k, bearing_rad=0.1, origin="heard, not seen: bearing 6 deg"):
    end_ns = k * NS // 10
    return SoundEvent(
        class_name="siren", score=0.9, window_start_ns=end_ns - NS, window_end_ns=end_ns,
        source="audio", bearing_rad=bearing_rad, origin=origin,
    )  # fmt: skip


def watched(objects, *, truth=TRUTH, heard=4, **told):
    """Return what is said of the last of ten views."""
    watch = SirenWatch()
    for k in range(100, 110):
        events = (siren(k, **told),) if k < 100 + heard else ()
        view = SimpleNamespace(stamp_ns=k * NS // 10, objects=objects, sound_events=events)
        moment = watch.look(view, truth)
    return moment


@pytest.mark.parametrize(
    ("objects", "told", "outcome"),
    [
        ([car(11.0, named=True), car(20.0)], {}, RIGHT),
        ([car(11.0), car(20.0, named=True)], {}, WRONG),
        ([car(40.0, named=True)], {}, WRONG),
        ([car(11.0), car(20.0)], {}, UNDECIDED),
        ([car(20.0)], {}, NO_OBJECT),
        ([car(11.0)], {"bearing_rad": math.nan}, NO_DIRECTION),
        ([car(11.0)], {"heard": 2}, NO_DIRECTION),
        ([car(11.0)], {"heard": 0}, NOT_HEARD),
    ],
)
def test_the_outcome_says_who_is_named_or_why_nobody_is(objects, told, outcome):
    moment = watched(objects, **told)
    assert moment.outcome == outcome
    assert (moment.sounding, moment.visible) == (True, True)
    assert moment.known == (outcome in (RIGHT, WRONG, UNDECIDED) and objects[0].center_m[0] < 12)


def test_shares_are_of_the_views_that_they_speak_of():
    right, undecided = watched([car(10, named=True)]), watched([car(10)])
    hidden, accused = watched([], truth=HIDDEN), watched([car(20, named=True)], truth=HIDDEN)
    quiet = watched([car(20)], truth=TRUTH[1:], heard=0)
    table = siren_table([right, right, right, undecided, hidden, accused, quiet])
    assert table["visible"]["views"] == 4
    assert table["visible"]["right"] == 0.75
    assert table["visible"]["nobody"][UNDECIDED] == 0.25
    assert table["not_visible"] == {
        "views": 2, "somebody_else_named": 0.5, "vehicle_named": 0.0, "said_heard_not_seen": 1.0,
    }  # fmt: skip
    assert table["named_right"] == 0.75
    assert table["no_siren"] == {"views": 1, "somebody_named": 0.0}
