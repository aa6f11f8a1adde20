"""Real nodes: a robot takes a release from a registry, tries it, and gives it back when told to."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
import sensors
from fleet_rig import TEAM, Owner
from harness import wait_until
from releases import Maker

from edge_perception.fleet.documents import STOPPED, Rollout, RolloutsDocument, Stage
from edge_perception.fleet.registry import utc_now
from edge_perception.fleet.schedule import QuietHours


@pytest.fixture
def fleet(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "maker").mkdir()
    maker = Maker(tmp_path / "maker")
    maker.asks(
        trial={
            "error_rate": 0.05,
            "error_rate_bad": 0.6,
            "min_samples": 2,
            "latency_increase": 9.0,
            "behaviour": {"min_frames": 10, "max_frames": 20},
        },
        watch={"soak_s": 0.0},
    )
    owner = Owner(tmp_path, now=utc_now())
    owner.release_key = maker.key
    (tmp_path / "root.json").write_bytes(owner.root)
    return owner, maker


def test_a_robot_takes_a_release_and_gives_it_back_in_quiet_hours_too(
    harness, fleet, tmp_path, monkeypatch
):
    from test_model_services import Robot

    quiet: list[str] = []
    monkeypatch.setattr(QuietHours, "holds", lambda *_: bool(quiet))

    owner, maker = fleet
    bundle = maker.signed_bundle(name="second", scale=1.0)
    owner.add(bundle, "stable")
    options = {
        "fleet_registry": str(owner.place.folder),
        "fleet_root_file": str(tmp_path / "root.json"),
        "fleet_poll_period_s": 1.0,
        "fleet_device_id": "robot-1",
        "fleet_keep_free_mb": 0,
        "fleet_quiet_hours": "22:00-06:00",
    }
    robot = Robot(harness, maker, parameters=options)
    seeds = itertools.count()

    def model():  # sweeps that differ: a sensor that repeats itself is frozen
        since = len(robot.features.messages)
        robot.publisher.publish(sensors.cloud(time.time_ns(), points=400, seed=next(seeds)))
        return robot.features.wait(since=since).model

    first = model()
    digest = bundle.sha256

    def current():
        return maker.store.slots.get("current").get("lidar", "")

    wait_until(lambda: model().version == "9.9.9" and current() == digest, "it serves", 60.0)
    # The operator stops the rollout: it goes back by itself, whatever the hour.
    quiet.append("from now on")
    rollout = Rollout(
        id="x",
        name="second",
        version="9.9.9",
        salt="s",
        stages=(Stage(share=1.0),),
        manifests=(digest,),
    )
    with owner.change() as registry:
        stopped = replace(rollout, state=STOPPED, reason="burns elsewhere")
        registry.put_rollouts(TEAM, RolloutsDocument(rollouts=(stopped,)))
    wait_until(lambda: model() == first, "the first release serves again")
    wait_until(lambda: "burns elsewhere" in maker.store.notes.quarantined(digest), "the quarantine")
    log = maker.root / "events.jsonl"
    wait_until(lambda: "burns elsewhere" in log.read_text(), "the event")
    assert robot.manager.health().values["device"] == "robot-1"
