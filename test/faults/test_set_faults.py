"""Whole sets through real nodes: a good one passes, a blind one is stopped, a burn goes back."""

from __future__ import annotations

import time

import pytest
from releases import Maker, installed
from set_robot import SetRobot

from edge_perception import srv
from edge_perception.bench._bad_models import bad_bundle

ROLES = ("camera", "lidar", "audio", "fusion")
OLD, NEW = "0.5.0", "90.0.0"
# Few samples, so that a trial takes seconds; frames may come late on a busy machine.
QUICK = {
    "error_rate": 0.05,
    "error_rate_bad": 0.6,
    "min_samples": 4,
    "max_samples": 2000,
    "latency_increase": 20.0,
    "stage_timeout_s": 60.0,
    "behaviour": {"min_frames": 20, "max_frames": 40, "min_objects": 20, "min_paired": 0.1},
}
EVENTS = {"window_s": 5.0, "min_events": 15}


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    maker = Maker(tmp_path)
    maker.asks(
        trial=QUICK,
        watch={"soak_s": 5.0},
        objectives=[{"name": "drift", "indicator": "drift", "at_most": 0.5, **EVENTS}],
    )
    return maker


def install_bad(maker, kind, version, release):
    """Install a set of a space of its own, all of whose heads are wrong in one way."""
    for role in ROLES:
        source = installed(role)
        space = f"bev_lite-{version}"
        changes = {"version": version, "release": release, "gates": {}}
        if role == "fusion":
            changes["compatible_with"] = [space]
        else:
            changes["feature_space"] = space
        bundle = bad_bundle(source, maker.folder / f"{kind}-{role}", kind, changes=changes)
        maker.store.install(maker.signed(bundle), maker.trust, now_ns=time.time_ns())


@pytest.mark.parametrize("composed", [False, True], ids=["separate", "composed"])
def test_a_whole_set_passes_every_stage_is_watched_and_rolls_back(harness, maker, composed):
    maker.install_set(NEW, 10)
    with SetRobot(harness, maker, composed=composed) as robot:
        answer = robot.swap()
        assert answer.success, answer.reason
        assert {model.role for model in answer.models} == set(ROLES)
        robot.serves(dict.fromkeys(ROLES, NEW))
        id_ = answer.transaction_id
        robot.events.wait(lambda e: e.event == "watched" and e.transaction_id == id_, timeout_s=60)
        assert robot.roll_back().success
        robot.serves(dict.fromkeys(ROLES, installed("lidar").manifest.version))
    assert robot.steps(id_) == [
        "begin", "admitted", "prepared", "shadow 100%", "canary 10%", "canary 25%", "canary 100%",
        "commit", "committed", "watch", "done", "watched",
    ]  # fmt: skip
    assert robot.mixed() == []
    sequences = [view.sequence for view in robot.views.messages]
    assert sequences == sorted(set(sequences))


def test_a_blind_set_and_a_mirrored_one_are_stopped_in_the_shadow(harness, maker):
    install_bad(maker, "blind", "91.0.0", 10)
    install_bad(maker, "mirrored", "92.0.0", 10)
    with SetRobot(harness, maker) as robot:
        for version, text in (("91.0.0", "empty 1.00"), ("92.0.0", "")):
            answer = robot.swap(version=version)
            assert not answer.success
            assert "rolled back in shadow" in answer.reason
            assert "decides otherwise than what serves" in answer.reason
            assert text in answer.reason
            robot.serves(dict.fromkeys(ROLES, installed("lidar").manifest.version))
    served = {model.version for view in robot.views.messages for model in view.models}
    assert served == {installed("lidar").manifest.version}


def test_a_watch_goes_back_by_itself_and_the_breaker_opens(harness, maker):
    install_bad(maker, "blind", "91.0.0", 10)
    install_bad(maker, "everywhere", "92.0.0", 10)
    maker.install_set(NEW, 10)
    maker.asks(
        trial=QUICK,
        watch={"soak_s": 60.0},
        objectives=[{"name": "drift", "indicator": "drift", "at_most": 0.5, **EVENTS}],
    )
    old = installed("lidar").manifest.version
    with SetRobot(harness, maker) as robot:
        for version in ("91.0.0", "92.0.0"):
            first = robot.views.messages[-1].sequence
            robot.views.wait(lambda view, first=first: view.sequence > first + 25, timeout_s=30)
            answer = robot.swap(version=version, skip_trial=True)
            assert answer.success, answer.reason
            id_ = answer.transaction_id
            back = robot.events.wait(
                lambda e, id_=id_: e.event == "rolled back" and e.transaction_id == id_,
                timeout_s=60,
            )
            assert back.error
            assert "drift: " in back.reason
            robot.serves(dict.fromkeys(ROLES, old))
            lidar = next(m for m in answer.models if m.role == "lidar")
            assert "drift" in maker.store.notes.quarantined(lidar.sha256)
        robot.events.wait(lambda e: e.event == "breaker open")
        refused = robot.swap(version=NEW, skip_trial=True)
        assert not refused.success
        assert "the breaker is open: 2 rollbacks within" in refused.reason
        name = "/model_manager/reset_breaker"
        nobody = harness.call(srv.ResetBreaker, name, srv.ResetBreaker.Request())
        assert not nobody.success
        somebody = srv.ResetBreaker.Request(reason="test: looked at both")
        assert harness.call(srv.ResetBreaker, name, somebody).success
        answer = robot.swap(version=NEW, skip_trial=True)
        assert answer.success, answer.reason
        robot.serves(dict.fromkeys(ROLES, NEW))
