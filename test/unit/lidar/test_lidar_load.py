"""Load control in the pipeline of a real model: skipped, reused, stood in for, and taken back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from lidar_messages import cloud_msg

from edge_perception.core.clock import FakeClock
from edge_perception.core.errors import ConfigurationError, InvalidOutputError, ManifestError
from edge_perception.core.health import Level
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.load import SAME, EncoderLoad, StandIns, unfit
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.options import SourceOptions
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import ModelOptions
from edge_perception.models.model_cache import ModelCache
from edge_perception.releases.loading import load_model

MB = 2**20
SMALL = "bev_lite_int8/lidar"
SPEC = encoders()["lidar"]
PLACE = Geometry(pose_source="parameter")


def _scene():
    """Return a flat road about the sensor, 1.8 m below it, x, y, z, intensity."""
    azimuth = np.repeat(np.linspace(-np.pi, np.pi, 900, endpoint=False), 16)
    reach = np.tile(np.geomspace(4.0, 40.0, 16), 900)
    columns = (reach * np.cos(azimuth), reach * np.sin(azimuth))
    return np.stack([*columns, np.full(reach.shape, -1.8), np.full(reach.shape, 0.3)], -1)


SCENE = _scene()


def load(name):
    return load_model(ModelOptions(model=name), role="lidar", name=name)


class Slow:
    """An encoder whose inference takes what the test says, on the clock of the test."""

    def __init__(self, encoder, rig):
        self._encoder, self._rig = encoder, rig

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def infer(self, inputs):
        self._rig.clock.advance(self._rig.seconds)
        return self._encoder.infer(inputs)


class Rig:
    """A 10 Hz LiDAR that looks at a scene which stands still."""

    def __init__(self, *, limit_mb=512, pose=None, **options):
        self.clock, self.events, self.seconds = FakeClock(steady_ns=10**9), [], 0.0
        self.next_ns = self.clock.now().steady_ns
        spec = replace(
            SPEC,
            make_encoder=lambda manifest, backend: Slow(SPEC.make_encoder(manifest, backend), self),
        )
        self.cache = ModelCache(
            limit_bytes=limit_mb * MB,
            size_bytes=lambda _: 40 * MB,
            load=load,
            release=lambda model: model.backend.close(),
            beside_bytes=lambda: 30 * MB,
        )
        served = ServedModel.build(spec, load(SPEC.default_model))
        self.pipeline = EncoderPipeline(
            source="lidar", spec=spec, model=served, geometry=PLACE, clock=self.clock, pose=pose
        )
        stand_ins = StandIns(spec, self.cache)
        self.load = EncoderLoad(
            LoadOptions(**{"budget_ms": 50.0, **options}), spec, stand_ins, self.events.append
        )
        self.pipeline.load = self.load
        self.rng = np.random.default_rng(3)

    def frame(self, seconds):
        """Return the feature of the next frame, whose inference takes so long; None: left out."""
        self.seconds = seconds
        self.next_ns += 10**8
        now = self.clock.advance(max(self.next_ns - self.clock.now().steady_ns, 0) / 1e9)
        noise = self.rng.normal(0.0, 0.002, SCENE.shape)
        cloud = cloud_msg(dict(zip(("x", "y", "z", "intensity"), (SCENE + noise).T, strict=True)))
        job = self.pipeline.accept(cloud, now.node_ns, "lidar", now)
        return None if job is None else self.pipeline.process(job)

    def close(self):
        self.load.stand_ins.close()
        self.pipeline.model.loaded.backend.close()


@pytest.fixture
def rig():
    rigs = []

    def make(**options):
        rigs.append(Rig(**options))
        return rigs[-1]

    yield make
    for each in rigs:
        each.close()


def test_frames_that_the_source_does_not_get_to_are_told_and_skipped_by_plan_instead(rig):
    lidar, lost = rig(most_skipped=2), [0]
    lidar.pipeline.dropped = lambda: lost[0]
    for _ in range(40):  # each within the budget, at work for 40 % of the time, one of five served
        lidar.frame(0.04)
        lost[0] += 4
    assert lidar.load.skipped > 5
    assert "of the frames overwritten" in lidar.events[0].reason


def test_frames_are_skipped_counted_and_come_back(rig):
    lidar = rig(most_skipped=1)
    features = [lidar.frame(0.09) for _ in range(40)]
    assert lidar.load.skipped > 5
    assert sum(feature is None for feature in features) == lidar.load.skipped
    last = next(f for f in reversed(features) if f is not None)
    assert lidar.load.skipped - 1 <= last.skipped <= lidar.load.skipped
    assert last.dropped == 0, "left out by plan, and not overwritten"
    assert last.given_up == "1 of 2 frames skipped"
    assert features[0].given_up == ""
    finding = lidar.load.finding()
    assert finding.level is Level.WARN
    assert "1 of 2 frames skipped, nothing is left to give up" in finding.message
    for _ in range(600):
        lidar.frame(0.01)
        if not lidar.load.control.number:
            break
    assert lidar.load.finding().level is Level.OK
    assert [event.back for event in lidar.events] == [False, True]


def test_a_still_scene_is_reused_and_every_reused_feature_says_so(rig):
    lidar = rig(reuse_max_age_s=0.35)
    for _ in range(12):
        assert lidar.frame(0.09).warning == ""
    features = [lidar.frame(0.09) for _ in range(24)]
    reused = [feature for feature in features if "reused" in feature.warning]
    fresh = [feature for feature in features if "reused" not in feature.warning]
    assert len(reused) >= 12, lidar.load.describe()["load_not_reused"]
    assert len(fresh) >= 6  # the age is bounded
    assert all(np.isnan(feature.latency.inference_s) for feature in reused)
    assert all(0 < f.stamp_ns - f.inferred_stamp_ns <= 0.35e9 for f in reused)
    inferred = {feature.stamp_ns for feature in fresh}
    assert {feature.inferred_stamp_ns for feature in reused} <= inferred
    assert all(feature.inferred_stamp_ns == 0 for feature in fresh)
    assert {feature.given_up for feature in features} == {"unchanged frames reused"}
    assert len({feature.stamp_ns for feature in features}) == 24
    assert reused[0].tensors.keys() == fresh[0].tensors.keys()
    assert int(lidar.load.describe()["load_reused"]) >= len(reused)


def test_nothing_doubtful_is_reused_and_the_reason_is_said(rig):
    lidar = rig(reuse_max_age_s=0.35, pose=pose_of(SPEC, SourceOptions(source="lidar")))
    features = [lidar.frame(0.09) for _ in range(24)]
    assert features[-1].given_up == "unchanged frames reused"
    said = lidar.load.describe()
    assert said["load_reused"] == "0"
    assert "the last output is doubtful: lidar: no pose of the sensor" in said["load_not_reused"]


def test_a_variant_stands_in_and_the_model_comes_back(rig):
    lidar = rig(variants=(SMALL,))
    whole = lidar.frame(0.09).model
    assert lidar.cache.figures().misses == 0  # lazily: nothing is loaded before it is needed
    until(lidar, 0.09, lambda: lidar.load.control.number == 1)
    until(lidar, 0.01, lambda: lidar.frame(0.01).model != whole)
    stands_in = lidar.frame(0.01)
    assert stands_in.model.name == "bev_lite_lidar_int8"
    assert stands_in.given_up == f"variant {SMALL}"
    assert lidar.load.describe()["load_stands_in"] == SMALL
    assert lidar.frame(0.01).model.feature_space == whole.feature_space
    until(lidar, 0.01, lambda: lidar.load.control.number == 0)
    assert lidar.frame(0.01).model == whole
    assert lidar.frame(0.01).given_up == ""
    assert lidar.load.describe()["load_stands_in"] == "nobody"
    assert lidar.cache.figures().loaded == (SMALL,)  # kept for the next time, while there is room


def test_a_variant_without_room_is_left_out_and_said(rig):
    lidar = rig(variants=(SMALL,), limit_mb=60, most_skipped=1)
    until(lidar, 0.09, lambda: lidar.load.control.unusable)
    (reason,) = lidar.load.control.unusable
    assert "needs 40 MB, the limit is 60 MB of which 30 MB serve" in reason
    assert lidar.load.control.step.skipped == 1
    assert lidar.frame(0.01) is None or lidar.frame(0.01) is None


def test_a_variant_that_cannot_serve_is_asked_for_once(rig):
    lidar = rig(variants=(SMALL,), limit_mb=60, most_skipped=1)
    until(lidar, 0.09, lambda: lidar.load.control.step.skipped)
    asked = lidar.cache.figures().misses
    for _ in range(20):
        lidar.frame(0.09)
    assert lidar.cache.figures().misses == asked
    assert not lidar.load.stand_ins.loading
    assert lidar.load.control.step.variant == ""


def test_overload_for_which_nothing_can_be_given_up_is_said(rig):
    lidar = rig(variants=(SMALL,), limit_mb=60)
    until(lidar, 0.09, lambda: lidar.load.control.unusable)
    found = lidar.load.finding()
    assert found.level == Level.WARN
    assert "nothing can be given up" in found.message
    assert "needs 40 MB" in found.message


def test_a_variant_by_condition_serves_without_a_budget_and_leaves_when_nobody_asks(rig):
    lidar = rig(budget_ms=0.0, condition_variants=True)
    whole = lidar.frame(0.01).model
    steady = lambda: lidar.clock.now().steady_ns  # noqa: E731
    lidar.load.advise(SMALL, "rain", steady())
    until(lidar, 0.01, lambda: lidar.frame(0.01).model != whole)
    assert lidar.load.describe()["load_condition"] == f"{SMALL} in rain"
    lidar.load.advise("", "", steady())
    until(lidar, 0.01, lambda: lidar.frame(0.01).model == whole)
    assert lidar.load.finding().level is Level.OK
    # Who advised has died: what is not repeated for five seconds is over.
    lidar.load.advise(SMALL, "rain", steady())
    until(lidar, 0.01, lambda: lidar.frame(0.01).model != whole)
    for _ in range(52):
        lidar.frame(0.01)
    until(lidar, 0.01, lambda: lidar.frame(0.01).model == whole)


def test_a_variant_by_condition_that_cannot_serve_is_named_and_the_model_goes_on(rig):
    lidar = rig(budget_ms=0.0, condition_variants=True, limit_mb=60)
    whole = lidar.frame(0.01).model
    lidar.load.advise(SMALL, "rain", lidar.clock.now().steady_ns)
    until(lidar, 0.01, lambda: lidar.load.finding().level is Level.WARN)
    assert f"variant {SMALL} for rain cannot serve: " in lidar.load.finding().message
    assert lidar.frame(0.01).model == whole


def test_a_variant_that_fails_on_a_frame_is_given_up_and_the_frame_is_served(rig):
    lidar = rig(variants=(SMALL,), most_skipped=1)
    whole = lidar.frame(0.09).model
    until(lidar, 0.01, lambda: lidar.frame(0.09).model != whole)
    _, stands_in, _ = lidar.load.stand_ins._held

    def fails(_inputs):
        raise InvalidOutputError("output 'heatmap' has NaN")

    stands_in.encoder.infer = fails
    feature = lidar.frame(0.09)
    assert feature.valid, feature.invalid_reason
    assert feature.model == whole
    assert feature.given_up == ""
    assert lidar.load.stand_ins.name == ""
    served = [lidar.frame(0.09) for _ in range(20)]
    assert all(feature is None or feature.model == whole for feature in served)
    (reason,) = lidar.load.control.unusable
    assert f"{SMALL}: output 'heatmap' has NaN" in reason
    assert lidar.cache.figures().loaded == (SMALL,)
    lidar.cache.make_room(512 * MB)  # nobody uses it
    assert lidar.cache.figures().loaded == ()


def test_a_variant_of_which_no_encoder_can_be_made_is_left_out_once(rig, monkeypatch):
    lidar = rig(variants=(SMALL,), most_skipped=1)
    lidar.frame(0.09)
    made = []

    def fails(_spec, loaded, _intake):
        made.append(loaded)
        raise ManifestError("postprocessing.boxes: expected an output of the graph")

    monkeypatch.setattr(ServedModel, "with_intake", fails)
    until(lidar, 0.09, lambda: lidar.load.control.unusable)
    for _ in range(10):
        lidar.frame(0.09)
    assert len(made) == 1
    (reason,) = lidar.load.control.unusable
    assert "expected an output of the graph" in reason
    lidar.cache.make_room(512 * MB)  # nobody uses it
    assert lidar.cache.figures().loaded == ()


def until(lidar, seconds, condition):
    """Give frames until something is so: loading goes on in the background."""
    for _ in range(3000):
        thread = lidar.load.stand_ins._thread
        if thread is not None:
            thread.join()
        if condition():
            return
        lidar.frame(seconds)
    raise AssertionError(lidar.load.describe())


def test_only_a_model_of_the_same_kind_stands_in():
    served = load(SPEC.default_model).bundle.manifest
    assert unfit(load(SMALL).bundle.manifest, served) == ""
    other = SimpleNamespace(
        **{**{name: getattr(served, name) for name in SAME}, "feature_space": "x", "name": "other"}
    )
    assert "other: expected the feature_space of bev_lite_lidar" in unfit(other, served)


def test_reuse_is_refused_where_frames_cannot_be_compared():
    audio = encoders()["audio"]
    with pytest.raises(ConfigurationError, match="expected 0 for audio"):
        EncoderLoad(LoadOptions(budget_ms=1.0, reuse_max_age_s=0.2), audio, None, print)
