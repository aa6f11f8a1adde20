"""What FULL means: every source OK, and those that set the pace in one message."""

from dataclasses import replace

import numpy as np
import pytest
from fusion_rig import MS, PLACED, Rig, gaps_ms, make_config, make_feature, times

from edge_perception.core.health import Level
from edge_perception.core.types import Geometry, Mode, SourceState
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import CycleConfig, SourceConfig
from edge_perception.fusion.policy import Action, DegradationPolicy, ModePolicy
from edge_perception.nodes.fusion.health import FusionHealth

DEADLINE_MS = CycleConfig().deadline_s * 1e3


def source(name, **more):
    return SourceConfig(**source_defaults(name, **more))


def health_of(rig):
    """Return what diagnostics say of the newest view."""
    health, now = FusionHealth(), rig.clock.now()
    for output in rig.outputs:
        moment = replace(now, steady_ns=round(output.at_ms * MS))
        health.on_view(output.view, missed=0, now=moment)
    return health.judge(rig.config, rig.fusion.last_arrivals_ns(), now, rig.fusion.counters)


def check_full(outputs):
    """Hold every view against the definition."""
    for output in outputs:
        if output.view.mode is Mode.FULL:
            assert {status.state for status in output.view.sources} == {SourceState.OK}
            assert not output.view.reason
        else:
            assert output.view.reason


@pytest.mark.parametrize("rate_hz", [30.0, 25.0])
def test_a_rate_set_to_a_multiple_of_the_truth_is_never_full(rate_hz):
    rig = Rig(make_config("camera", source("lidar", rate_hz=rate_hz)))
    rig.driver("camera", times(0, 100, 4000))
    rig.driver("lidar", times(40, 100, 4000))
    outputs = [output for output in rig.run(4000) if output.at_ms > 500]
    assert len(outputs) > 25
    assert {output.state("lidar") for output in outputs} == {SourceState.LATE}
    assert {output.view.mode for output in outputs} == {Mode.DEGRADED}
    assert all("lidar: LATE" in output.view.reason for output in outputs)
    assert any("lidar" in output.contributors for output in outputs), "its evidence is used"
    check_full(rig.outputs)


def test_bad_features_between_good_ones_are_never_full():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 4000))
    nan = {"bev": np.full((2, 2), np.nan, np.float32)}
    for index, ms in enumerate(times(20, 50, 4000)):
        more = {"tensors": nan} if index % 2 else {}
        rig.driver("lidar", [ms], **more)
    outputs = [output for output in rig.run(4000) if output.at_ms > 500]
    assert {output.state("lidar") for output in outputs} == {SourceState.INVALID}
    assert {output.view.mode for output in outputs} == {Mode.DEGRADED}
    assert all(output.view.confidence < 0.8 for output in outputs)
    check_full(rig.outputs)


NEVER_MEET = {
    "four a second, 125 ms apart": (source("lidar", rate_hz=4.0), times(125, 250, 8000), 0, "125"),
    "LiDAR 400 ms late": (source("lidar"), times(0, 100, 8000), 400, None),
}


@pytest.mark.parametrize("kind", NEVER_MEET)
def test_sources_that_never_meet_are_not_full_and_it_is_said(kind):
    lidar, moments, latency_ms, spread_ms = NEVER_MEET[kind]
    rate_hz = lidar.rate_hz
    rig = Rig(make_config(source("camera", rate_hz=rate_hz), lidar))
    rig.driver("camera", times(0, 1000 / rate_hz, 8000))
    rig.driver("lidar", moments, latency_ms=latency_ms)
    outputs = rig.run(8000)
    assert Mode.FULL not in {output.view.mode for output in outputs}
    later = [output for output in outputs if output.at_ms > 3000]
    for name in ("camera", "lidar"):
        assert {output.state(name) for output in later} == {SourceState.OK}
        assert all(
            "camera and lidar never align" in output.status(name).warning for output in later
        )
    assert all("> 100 ms" in output.view.reason for output in later)
    if spread_ms:
        assert all(f"spread {spread_ms} ms > 100 ms" in output.view.reason for output in later)
    assert max(gaps_ms(outputs, 1000, 8000)) <= DEADLINE_MS
    health = health_of(rig)
    assert health.level is Level.WARN
    assert health.message.count("never align") == 1, "said once, though it is of two sources"
    assert all("never align" in part.message for part in health.parts.values())


def test_only_the_pair_that_does_not_meet_is_blamed_and_meeting_ends_it():
    rig = Rig(make_config(*(source(n, rate_hz=4.0) for n in ("camera", "camera_rear", "lidar"))))
    rig.driver("camera", times(0, 250, 12000))
    rig.driver("lidar", times(0, 250, 12000))
    rig.driver("camera_rear", [*times(125, 250, 6000), *times(6250, 250, 12000)])
    rig.run(12000)
    apart = [output for output in rig.outputs if 3000 < output.at_ms < 6000]
    assert {output.view.mode for output in apart} == {Mode.DEGRADED}
    assert all("camera_rear and lidar never align" in output.view.reason for output in apart)
    assert not any("camera and lidar never" in output.view.reason for output in apart)
    after = [output for output in rig.outputs if output.at_ms > 7000]
    assert {output.view.mode for output in after} == {Mode.FULL}
    assert not any(status.warning for output in after for status in output.view.sources)


def test_the_short_wait_of_a_worse_mode_does_not_keep_sources_apart():
    modes = (
        ModePolicy(mode=Mode.FULL, all_of=("all",), any_of=("locating",)),
        ModePolicy(mode=Mode.DEGRADED, any_of=("locating",), deadline_s=0.06),
        ModePolicy(mode=Mode.NONE, action=Action.INVALID),
    )
    policy = DegradationPolicy(schema_version=1, modes=modes)
    rig = Rig(make_config("camera", "lidar"), policy=policy)
    rig.driver("camera", times(0, 100, 4000))
    rig.driver("lidar", times(0, 100, 4000), latency_ms=90)
    assert {o.view.mode for o in rig.run(4000) if o.at_ms > 1500} == {Mode.FULL}


def test_a_mode_asks_for_its_own_sources_only():
    modes = (
        ModePolicy(mode=Mode.FULL, all_of=("camera",), any_of=("camera",)),
        ModePolicy(mode=Mode.NONE, action=Action.INVALID),
    )
    policy = DegradationPolicy(schema_version=1, modes=modes)
    rig = Rig(make_config("camera", "lidar"), policy=policy)
    rig.driver("camera", times(0, 100, 3000))
    assert {o.view.mode for o in rig.run(3000) if o.at_ms > 500} == {Mode.FULL}


@pytest.mark.parametrize("rate_hz", [0.05, 0.2, 0.4, 2.0])
@pytest.mark.parametrize("recovery_frames", [1, 3])
def test_a_source_that_is_ok_has_a_rate(rate_hz, recovery_frames):
    end_ms = 12_000 / rate_hz
    rig = Rig(make_config(source("lidar", rate_hz=rate_hz), recovery_frames=recovery_frames))
    rig.driver("lidar", times(10, 1000 / rate_hz, end_ms), latency_ms=5)
    outputs = rig.run(end_ms)
    fine = [output.status("lidar") for output in outputs if output.state("lidar") is SourceState.OK]
    assert len(fine) >= 5
    assert all(status.rate_hz > 0.0 for status in fine)
    assert fine[-1].rate_hz == pytest.approx(rate_hz, rel=0.25)
    health = health_of(rig)
    assert float(health.parts["lidar"].values["rate_hz"]) > 0.0
    assert float(health.values["rate_hz"]) > 0.0


@pytest.mark.parametrize(
    ("geometry", "placed"),
    [
        (Geometry(), False),
        (PLACED, True),
        (Geometry(pose_source="tf"), True),
        (Geometry(T_base_sensor=np.diag([1.0, -1.0, -1.0, 1.0])), True),
    ],
)
def test_a_source_without_a_pose_is_doubted(geometry, placed):
    rig = Rig(make_config("camera", "lidar", "audio"))
    rig.driver("camera", times(0, 100, 3000))
    rig.driver("lidar", times(10, 100, 3000), geometry=geometry)
    rig.driver("audio", times(20, 100, 3000), geometry=Geometry())  # places nothing in space
    outputs = [output for output in rig.run(3000) if output.at_ms > 1000]
    assert {output.view.mode for output in outputs} == {Mode.FULL}
    assert {not output.status("lidar").warning for output in outputs} == {placed}
    assert not any(output.status("audio").warning for output in outputs)
    assert all((output.view.confidence > 0.95) is placed for output in outputs)
    health = health_of(rig)
    assert health.level is (Level.OK if placed else Level.WARN)
    assert ("lidar: no pose" in health.message) is not placed


def test_what_an_encoder_says_of_its_pose_is_not_said_again():
    rig = Rig(make_config("lidar"))
    told = "no pose of the sensor: T_base_sensor is not set"
    rig.driver("lidar", times(0, 100, 1000), geometry=Geometry(), warning=told)
    assert rig.run(1000)[-1].status("lidar").warning == told


def test_counters_reach_diagnostics():
    rig = Rig(make_config(source("camera", rate_hz=20.0), "lidar"))
    rig.driver("camera", times(0, 50, 3000))
    rig.driver("lidar", times(30, 100, 3000))
    rig.at(2000, lambda: rig.clock.jump_node_clock(-1.0))
    rig.at(2500, lambda: rig.offer(make_feature("radar", rig.clock.now().node_ns)))
    rig.run(3000)
    health = health_of(rig)
    assert int(health.values["superseded"].split()[0].removeprefix("camera:")) > 20
    assert health.values["clock_jumps"] == "1"
    assert health.values["unknown_sources"] == "1"
    assert "features of 'radar', which is not one of the sources (1 so far)" in health.message
    assert health.level is Level.WARN
