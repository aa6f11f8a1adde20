"""Late features are fused where their objects are now: against simulated truth."""

import dataclasses
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fusion_rig import MS, Rig, make_config, make_feature, times

from edge_perception.core.clock import FakeClock
from edge_perception.core.types import DetectedObject, Feature, Geometry, SourceState
from edge_perception.encoders import encoders
from edge_perception.fusion.motion import EgoMotion, displaced
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.loading import load_model
from edge_perception.simulation.generate import generate_frame
from edge_perception.simulation.scenario import Actors, Scenario
from edge_perception.simulation.world import World

MODELS = Path(__file__).parents[2] / "models"
SPEED_MPS, TURN_RADPS = 12.0, 0.4
PARKED = [(30.0, 6.0), (45.0, -3.0), (25.0, -8.0)]


def pose(ms):
    yaw, radius_m = TURN_RADPS * ms / 1e3, SPEED_MPS / TURN_RADPS
    return Pose(
        stamp_ns=round(ms * MS),
        position_m=(radius_m * math.sin(yaw), radius_m * (1.0 - math.cos(yaw)), 0.0),
        orientation=(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
    )


def truth(ms):
    """Where the parked cars are in the base frame of a moment."""
    x, y, _ = pose(ms).position_m
    c, s = math.cos(TURN_RADPS * ms / 1e3), math.sin(TURN_RADPS * ms / 1e3)
    return [(c * (a - x) + s * (b - y), -s * (a - x) + c * (b - y)) for a, b in PARKED]


def boxes(ms):
    return tuple(
        DetectedObject(
            class_name="car", score=0.9, center_m=(x, y, 0.7), size_m=(4, 2, 1.5), yaw_rad=0.0
        )
        for x, y in truth(ms)
    )


def errors_m(outputs):
    """How far the camera's objects are from where they were at the stamp of the message."""
    return [
        min(math.dist(item.center_m[:2], real) for item in output.view.objects)
        for output in outputs
        for real in truth(output.view.stamp_ns / MS)
    ]


def drive(*, odometry, camera_late_ms=240):
    """A LiDAR that sees nothing, and a camera whose encoder takes long."""
    rig = Rig(make_config("camera", "lidar", deadline_s=0.1), clock=FakeClock(node_ns=0))
    for ms in times(100, 100, 3000):
        rig.at(ms + 10, lambda ms=ms: rig.offer(make_feature("lidar", round(ms * MS))))
        feature = make_feature("camera", round(ms * MS), objects=boxes(ms))
        rig.at(ms + camera_late_ms, lambda feature=feature: rig.offer(feature))
    if odometry:
        for ms in times(5, 20, 3000):
            rig.at(ms + 1, lambda ms=ms: rig.fusion.add_odometry(pose(ms)))
    return [output for output in rig.run(3000) if output.at_ms > 1000]


def test_a_late_camera_joins_and_its_objects_are_where_they_are_now():
    joined = [o for o in drive(odometry=True) if o.contributors == {"camera", "lidar"}]
    assert len(joined) >= 15, "200 ms of spread joins"
    assert max(errors_m(joined)) < 0.05
    spreads = [(o.view.stamp_ns - o.view.oldest_stamp_ns) / MS for o in joined]
    assert max(spreads) > 150


def test_without_odometry_what_is_late_is_left_out_or_off():
    outputs = drive(odometry=False)
    joined = [o for o in outputs if o.contributors == {"camera", "lidar"}]
    assert not [o for o in joined if o.view.stamp_ns - o.view.oldest_stamp_ns > 100 * MS]
    near = [o for o in drive(odometry=False, camera_late_ms=95) if "camera" in o.contributors]
    moved = [o for o in drive(odometry=True, camera_late_ms=95) if "camera" in o.contributors]
    assert np.mean(errors_m(moved)) < 0.05
    assert np.mean(errors_m(moved)) <= np.mean(errors_m(near))


def test_what_is_reused_is_moved_from_where_it_was_inferred():
    """A camera that reuses the output of a frame 200 ms before, in a vehicle that drives."""
    rig = Rig(make_config("camera", "lidar", deadline_s=0.1), clock=FakeClock(node_ns=0))
    for ms in times(5, 20, 3000):
        rig.at(ms + 1, lambda ms=ms: rig.fusion.add_odometry(pose(ms)))
    for ms in times(300, 100, 3000):
        rig.at(ms + 10, lambda ms=ms: rig.offer(make_feature("lidar", round(ms * MS))))
        reused = make_feature(
            "camera", round(ms * MS), objects=boxes(ms - 200),
            inferred_stamp_ns=round((ms - 200) * MS), warning="camera: reused", skipped=3,
            given_up="unchanged frames reused",
        )  # fmt: skip
        rig.at(ms + 12, lambda reused=reused: rig.offer(reused))
    outputs = [output for output in rig.run(3000) if output.at_ms > 1000]
    assert all(output.contributors == {"camera", "lidar"} for output in outputs)
    assert max(errors_m(outputs)) < 0.05
    for output in outputs:
        status = output.status("camera")
        assert output.view.stamp_ns - output.view.oldest_stamp_ns == 200 * MS
        assert status.stamp_ns - status.inferred_stamp_ns == 200 * MS
        assert (status.skipped, status.given_up) == (3, "unchanged frames reused")
        assert status.warning


@pytest.mark.parametrize("reused_ms", [100, 900])
def test_evidence_that_is_reused_for_too_long_is_not_used(reused_ms):
    """The age that counts is that of the frame a model ran on, whatever the encoder allows."""
    rig = Rig(make_config("camera", "lidar"), clock=FakeClock(node_ns=0))
    assert 150 * MS < rig.config.sources[0].max_age_ns < 900 * MS
    for ms in times(1000, 100, 3000):
        rig.driver("lidar", [ms])
        stamp_ns = round(ms * MS)
        reused = make_feature("camera", stamp_ns, inferred_stamp_ns=stamp_ns - reused_ms * MS)
        rig.at(ms + 5, lambda reused=reused: rig.offer(reused))
    last = rig.run(3000)[-1]
    if reused_ms == 100:
        assert last.contributors == {"camera", "lidar"}
        return
    assert last.contributors == {"lidar"}
    assert last.status("camera").state is SourceState.STALE
    assert "age of the frame reused" in last.status("camera").reason


def test_a_clock_jump_forgets_the_odometry():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 2000))
    for ms in times(0, 20, 900):
        rig.at(ms, lambda ms=ms: rig.fusion.add_odometry(pose(ms)))
    rig.at(1000, lambda: rig.clock.jump_node_clock(-50.0))
    rig.run(2000)
    assert rig.fusion.odometry.newest_ns == 0


@pytest.fixture(scope="module")
def models():
    options = {
        role: ModelOptions(model=f"bev_lite/{role}", model_folders=(str(MODELS),))
        for role in ("lidar", "fusion")
    }
    return {role: load_model(option, role=role) for role, option in options.items()}


def lidar_feature(loaded, frame) -> Feature:
    encoder = encoders()["lidar"].make_encoder(loaded.bundle.manifest, loaded.backend)
    geometry = Geometry(T_base_sensor=frame.T_base_lidar)
    outputs = encoder.infer(encoder.preprocess(frame.cloud, geometry))
    output = encoder.postprocess(outputs, frame.cloud, geometry)
    return replace(make_feature("lidar", frame.stamp_ns), geometry=geometry, tensors=output.tensors)


def test_the_model_finds_what_an_old_sweep_saw_nearer_to_where_it_is(models):
    """The bird's-eye features of a sweep that is 0.3 s old, at 12 m/s, real models."""
    fusion = BundleFusionModel(models["fusion"])
    scenario = Scenario(
        name="parked", layout="road", ego_speed_mps=SPEED_MPS, sensors=("lidar",),
        actors=Actors(car=(6, 9), truck=(0, 0), bus=(0, 0), pedestrian=(4, 8), cyclist=(0, 2)),
    )  # fmt: skip
    as_it_was, moved_m = [], []
    for seed in (3, 4, 5, 6):
        world = World(scenario, seed)
        old, new = (generate_frame(scenario, seed, t, world=world) for t in (1.0, 1.3))
        motion = EgoMotion()
        for t in (0.9, 1.4):
            x, y, yaw = world.ego_position(t)
            turn = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
            stamp_ns = old.stamp_ns + round((t - 1.0) * 1e9)
            motion.add(Pose(stamp_ns=stamp_ns, position_m=(x, y, 0.0), orientation=turn))
        features = {"lidar": lidar_feature(models["lidar"], old)}
        T = motion.between(old.stamp_ns, new.stamp_ns)
        compensated = displaced(features, {"lidar": (T, 0.3)})
        for item in new.objects:
            x, y = item.box.center_m[:2]
            standing = math.hypot(*item.box.velocity_mps[:2]) < 1.5
            if standing and item.lidar_hits >= 30 and -10 < x < 40 and abs(y) < 20:
                for given, errors in ((features, as_it_was), (compensated, moved_m)):
                    found = [
                        math.dist(box.center_m[:2], (x, y)) for box in fusion.run(given).objects
                    ]
                    errors.append(min([5.0, *found]))
    print(
        len(moved_m), np.median(as_it_was), np.median(moved_m), np.mean(as_it_was), np.mean(moved_m)
    )
    assert len(moved_m) >= 8
    assert np.median(as_it_was) > 2.0, "3.6 m of driving"
    assert np.median(moved_m) < 1.0
    assert np.mean(moved_m) < 0.6 * np.mean(as_it_was)


@pytest.mark.parametrize("odometry", [True, False])
def test_what_stands_still_has_no_velocity_once_odometry_says_how_the_vehicle_moves(odometry):
    outputs = drive(odometry=odometry, camera_late_ms=40)
    velocities = [item.velocity_mps for o in outputs for item in o.view.objects]
    assert len(velocities) > 40
    if odometry:
        assert max(math.hypot(x, y) for x, y, _ in velocities) < 0.3
    else:
        assert all(math.isnan(x) for x, _, _ in velocities), "its own motion is not known"


def test_a_jump_of_the_clock_begins_anew():
    rig = Rig(make_config("camera"), clock=FakeClock(node_ns=0))
    for ms in times(100, 100, 2000):
        for shift in (0, 100_000):
            stamp = round((ms + shift) * MS)
            at = ms + 10 + (2000 if shift else 0)
            feature = make_feature("camera", stamp, objects=boxes(ms))
            rig.at(at, lambda feature=feature: rig.offer(feature))
            moved = replace(pose(ms), stamp_ns=stamp)
            rig.at(at - 5, lambda moved=moved: rig.fusion.add_odometry(moved))
    rig.at(2005, lambda: rig.clock.jump_node_clock(98.0))
    views = [output.view for output in rig.run(4000)]
    known = [[not math.isnan(item.velocity_mps[0]) for item in view.objects] for view in views]
    after = [row for view, row in zip(views, known, strict=True) if view.stamp_ns > 50_000 * MS]
    assert any(map(all, filter(None, known)))
    assert not any(after[0])
    assert all(after[-1])


@pytest.mark.parametrize("jump_m", [0.0, 3.8])
def test_tracks_are_not_flung_where_the_vehicle_is_localised_anew(jump_m):
    rig = Rig(make_config("lidar"), clock=FakeClock(node_ns=0))
    for ms in times(100, 100, 5000):
        feature = make_feature("lidar", round(ms * MS), objects=boxes(ms))
        rig.at(ms + 30, lambda feature=feature: rig.offer(feature))
    for ms in times(5, 20, 5000):
        known = pose(ms)
        x, y, z = known.position_m
        if ms > 3000:
            known = dataclasses.replace(known, position_m=(x, y + jump_m, z))
        rig.at(ms + 1, lambda known=known: rig.fusion.add_odometry(known))
    outputs = [output for output in rig.run(5000) if output.at_ms > 2500]
    speeds = [
        math.hypot(*item.velocity_mps[:2]) for output in outputs for item in output.view.objects
    ]
    told = [speed for speed in speeds if not math.isnan(speed)]
    assert len(told) > len(speeds) / 2
    assert max(told) < 0.5, "cars that are parked"
    assert rig.fusion.odometry.jumps == bool(jump_m)
