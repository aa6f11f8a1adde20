"""Parts of the way to servers: doubt, options, budget, cache, and what fusion holds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.core.doubt import doubt_bits
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import DetectedObject, ImageFrame, LateEvidence, ModelVersion
from edge_perception.encoders.camera.likeness import LIKENESS
from edge_perception.fleet.cloud.budget import HourBudget
from edge_perception.fleet.cloud.cache import AnswerCache, difference_hash, distance_bits
from edge_perception.fleet.cloud.options import CloudOptions, parsed_tiers
from edge_perception.fusion.late import MOST_ITEMS, LateBoard

NS = 1_000_000_000


def decided(*scores, kind="objects"):
    found = {"objects": (), "image_objects": (), "sound_events": ()}
    return SimpleNamespace(**found | {kind: [SimpleNamespace(score=score) for score in scores]})


@pytest.mark.parametrize("kind", ["objects", "image_objects", "sound_events"])
def test_doubt_is_largest_where_scores_are_even(kind):
    assert doubt_bits(decided(0.5, kind=kind)) == pytest.approx(1.0)
    assert doubt_bits(decided(0.5, 0.999999, kind=kind)) == pytest.approx(0.5, abs=1e-4)
    assert doubt_bits(decided(0.97, kind=kind)) < 0.2
    assert doubt_bits(decided()) == 0.0


def test_a_server_is_written_with_its_limits():
    site, cloud = parsed_tiers(
        ("site http://h:1 mb_per_hour=5 deadline_ms=150 bundle=big", "cloud grpc://c:2")
    )
    assert (site.name, site.url, site.bundle) == ("site", "http://h:1", "big")
    assert (site.mb_per_hour, site.deadline_ms) == (5.0, 150.0)
    assert (cloud.mb_per_hour, cloud.failures) == (100.0, 3)


@pytest.mark.parametrize(
    ("tier", "text"),
    [
        ("http://h:1", "NAME URL"),
        ("site h:1", "NAME URL"),
        ("site http://h:1 fast", "NAME URL"),
        ("site http://h:1 deadline=5", "did you mean deadline_ms"),
        ("site http://h:1 name=x", "expected one of bundle"),
        ("site http://h:1 mb_per_hour=much", "expected float"),
        ("site http://h:1 deadline_ms=0", "1 to 60000 ms"),
    ],
)
def test_a_server_that_is_none_is_refused_with_what_is_meant(tier, text):
    with pytest.raises(ConfigurationError, match=text):
        CloudOptions(tiers=(tier,), privacy="none")


def test_two_servers_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="there twice"):
        CloudOptions(tiers=("a http://h:1", "a http://h:2"), privacy="none")


def test_nothing_leaves_without_a_word_on_privacy():
    with pytest.raises(ConfigurationError, match="both are empty"):
        CloudOptions(tiers=("a http://h:1",))
    with pytest.raises(ConfigurationError, match="expected 'regions'"):
        CloudOptions(tiers=("a http://h:1",), privacy="none", privacy_classes=("car",))
    assert not CloudOptions().tiers


def test_a_budget_holds_in_any_hour():
    budget = HourBudget(100)
    for minute in range(60):
        assert budget.fits(1, minute * 60.0)
        budget.spend(1, minute * 60.0)
    assert budget.used(59 * 60.0 + 59.0) == 60
    assert budget.fits(40, 3600.0)
    assert not budget.fits(41, 3600.0)
    # What was spent in a minute counts whole until an hour after its end.
    assert budget.used(3660.0) == 59
    assert budget.used(3600.0 * 3) == 0


def frame(seed=0, *, shift=0.0, patch=None):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 200, (24, 32))
    bgr = np.kron(coarse, np.ones((10, 10)))[..., None].repeat(3, axis=2) + shift
    if patch is not None:
        bgr[100:120, 150:170] = patch
    return ImageFrame(stamp_ns=1, frame_id="", bgr=bgr.clip(0, 255).astype(np.uint8))


def cache(**more):
    return AnswerCache(LIKENESS, **{"entries": 2, "keep_s": 10.0, "most_bits": 6, **more})


def test_the_hash_is_that_of_what_is_seen():
    codes = [difference_hash(LIKENESS.sketch(frame(seed))) for seed in (0, 1)]
    assert distance_bits(*codes) > 30  # of 128: other pictures
    brighter = difference_hash(LIKENESS.sketch(frame(0, shift=3.0)))
    assert distance_bits(codes[0], brighter) == 0
    mirrored = replace(frame(0), bgr=frame(0).bgr[:, ::-1])
    assert distance_bits(codes[0], difference_hash(LIKENESS.sketch(mirrored))) > 30
    assert difference_hash(np.zeros((2, 3))) == 0  # coarser than the hash


def test_an_answer_serves_again_for_a_frame_that_hardly_differs():
    answers = cache()
    answers.put("v1", answers.sketch(frame(0)), "A", 0.0)
    assert answers.find("v1", answers.sketch(frame(0, shift=2.0)), 1.0) == "A"
    assert answers.find("v1", answers.sketch(frame(1)), 1.0) is None
    # The hash hides what changes in one place; the sketch does not.
    stepped_out = answers.sketch(frame(0, patch=250))
    near = distance_bits(difference_hash(stepped_out), difference_hash(answers.sketch(frame(0))))
    assert near <= 6
    assert answers.find("v1", stepped_out, 1.0) is None
    assert (answers.asked, answers.hits) == (3, 1)


def test_an_answer_of_another_model_or_too_old_serves_never():
    answers = cache()
    sketch = answers.sketch(frame(0))
    answers.put("v1", sketch, "A", 0.0)
    assert answers.find("v2", sketch, 1.0) is None
    assert answers.find("v1", sketch, 10.1) is None
    assert answers.size == 0
    off = cache(keep_s=0.0)
    off.put("v1", sketch, "A", 0.0)
    assert off.size == 0


def test_the_answer_not_used_for_longest_leaves():
    answers = cache()
    sketches = [answers.sketch(frame(seed)) for seed in range(3)]
    for name, sketch in zip("AB", sketches, strict=False):
        answers.put("v", sketch, name, 0.0)
    assert answers.find("v", sketches[0], 1.0) == "A"
    answers.put("v", sketches[2], "C", 2.0)
    assert [answers.find("v", sketch, 3.0) for sketch in sketches] == ["A", None, "C"]


CAR = DetectedObject(
    class_name="car", score=0.5, center_m=(9.0, 0.0, 0.0), size_m=(4.0, 2.0, 1.5), yaw_rad=0.0
)
MODEL = ModelVersion(role="camera", name="m", version="1", sha256="0")


def late(stamp_s, **more):
    given = {"asked_stamp_ns": round(stamp_s * NS)} | more
    return LateEvidence(
        source=given.pop("source", "camera"),
        modality="camera",
        tier="site",
        stamp_ns=round(stamp_s * NS),
        round_trip_s=0.1,
        doubt_bits=0.9,
        answer_doubt_bits=0.1,
        model=MODEL,
        **given,
    )


def test_evidence_is_held_for_its_time_and_no_longer():
    board = LateBoard(("camera", "lidar"), 2.0)
    assert board.put(late(10.0), round(10.5 * NS)) == ""
    assert [item.stamp_ns for item in board.held(12 * NS)] == [10 * NS]
    assert board.held(12 * NS + 1) == ()
    # A clock that jumped back began a new time, and what is held is of another one.
    board.put(late(20.0), 20 * NS)
    assert board.held(5 * NS) == ()


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (late(10.0, source="radar"), "of no source"),
        (late(0.0), "stamps out of order"),
        (late(11.0), "stamps out of order"),  # of the future
        (late(9.0, asked_stamp_ns=8 * NS), "stamps out of order"),
        (late(7.9), "too late"),
        (late(9.0), "older than what is held"),
        (late(9.8, objects=(CAR,) * (MOST_ITEMS + 1)), "too much"),
        (late(9.8, objects=(replace(CAR, score=float("nan")),)), "cannot be true"),
        (late(9.8, objects=(replace(CAR, center_m=(1e9, 0.0, 0.0)),)), "cannot be true"),
        (replace(late(9.8), doubt_bits=7.0), "cannot be true"),
    ],
)
def test_evidence_that_is_none_is_refused_and_counted(evidence, reason):
    board = LateBoard(("camera", "lidar"), 2.0)
    board.put(late(9.5), 10 * NS)
    assert board.put(evidence, 10 * NS) == reason
    assert board.refused == {reason: 1}
    assert [item.stamp_ns for item in board.held(10 * NS)] == [round(9.5 * NS)]
