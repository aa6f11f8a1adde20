"""Six cameras and a LiDAR at the feature level, of which any may fail in any way."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from fusion_rig import Rig, make_config, make_feature, times

from edge_perception.core.types import FusionLevel, Geometry, Mode, SourceState
from edge_perception.encoders import source_defaults
from edge_perception.encoders.camera.lift import ImagePlacement, LiftConfig, lift_grid, seen_cells
from edge_perception.fusion.config import SourceConfig
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.loading import load_model
from edge_perception.simulation.camera import pinhole_of
from edge_perception.simulation.rigs import RIGS
from edge_perception.simulation.scenario import Camera

MODELS = Path(__file__).parents[2] / "models"
CAMERAS = {c.name: c for c in (Camera(horizontal_fov_deg=70.0), *RIGS["6 cameras"][0])}
SUBSETS = [
    failed for count in range(7) for failed in itertools.combinations(sorted(CAMERAS), count)
]
RATE_HZ = 4.0
END_MS = 1500


class Remembered:
    """The bundled model; each set of sources is run once, as their features stay the same."""

    def __init__(self, model):
        self._model, self._outputs = model, {}
        self.version, self.compatible = model.version, model.compatible
        self.misfit = model.misfit

    def run(self, features):
        key = frozenset((name, id(f.tensors.get("bev"))) for name, f in features.items())
        if key not in self._outputs:
            self._outputs[key] = self._model.run(features)
        return self._outputs[key]


@pytest.fixture(scope="module")
def loaded():
    options = ModelOptions(model="bev_lite/fusion", model_folders=(str(MODELS),))
    return load_model(options, role="fusion")


@pytest.fixture(scope="module")
def model(loaded):
    return Remembered(BundleFusionModel(loaded))


@pytest.fixture(scope="module")
def said(loaded):
    """What the encoders say: the golden features, each camera with what it sees."""
    with np.load(loaded.bundle.path / loaded.bundle.manifest.golden.inputs) as data:
        golden = dict(data)
    (space,) = loaded.bundle.manifest.compatible_with
    lift = LiftConfig(heights_m=(0.0, 0.8, 1.6))
    found = {"lidar": {"tensors": {"bev": golden["lidar_bev"]}, "space": space}}
    for name, camera in CAMERAS.items():
        pinhole = pinhole_of(camera)
        size = (pinhole.width, pinhole.height)
        geometry = Geometry(
            T_base_sensor=pinhole.T_base_camera, intrinsics=pinhole.intrinsics, image_size=size,
            pose_source="parameter",
        )  # fmt: skip
        seen = seen_cells(lift_grid(geometry, lift, ImagePlacement(size=size)), lift)
        found[name] = {
            "tensors": {"bev": golden["camera_bev"], "seen": seen}, "geometry": geometry,
            "space": space,
        }  # fmt: skip
    return found


def rig_of(model) -> Rig:
    sources = (
        SourceConfig(**source_defaults(name, rate_hz=RATE_HZ)) for name in (*CAMERAS, "lidar")
    )
    return Rig(make_config(*sources), models=(model,))


def deliver(rig, source, *, space, **more):
    stamp_ns = rig.clock.now().node_ns
    made = make_feature(source, stamp_ns, **more)
    version = dataclasses.replace(made.model, feature_space=space)
    rig.offer(dataclasses.replace(made, model=version))


def drive(rig, said, sources):
    for source in sources:
        for time_ms in times(100, 1000 / RATE_HZ, END_MS - 100):
            rig.at(time_ms, lambda source=source: deliver(rig, source, **said[source]))


@pytest.mark.parametrize("failed", SUBSETS, ids=lambda failed: "+".join(failed) or "none")
def test_whichever_cameras_are_silent_the_rest_is_fused_at_the_feature_level(model, said, failed):
    rig = rig_of(model)
    left = {*CAMERAS, "lidar"} - {*failed}
    drive(rig, said, left)
    last = rig.run(END_MS)[-1]
    assert last.view.valid
    assert (last.view.level, last.view.level_reason) == (FusionLevel.FEATURE, "")
    assert last.contributors == left
    assert last.view.mode == (Mode.DEGRADED if failed else Mode.FULL)
    assert {name for name in CAMERAS if last.state(name) is not SourceState.OK} == {*failed}
    named = {source for item in last.view.objects for source in item.sources}
    assert last.view.objects
    assert named <= left


def test_without_the_lidar_the_cameras_are_fused_among_themselves(model, said):
    rig = rig_of(model)
    drive(rig, said, CAMERAS)
    last = rig.run(END_MS)[-1]
    assert last.view.valid
    assert (last.view.level, last.view.level_reason) == (FusionLevel.FEATURE, "")
    assert last.contributors == {*CAMERAS}


def test_a_stranger_among_the_cameras_is_fused_by_its_decisions_and_named(model, said):
    rig = rig_of(model)
    odd = {**said, "camera_left": {**said["camera_left"], "space": "yolox"}}
    drive(rig, odd, odd)
    last = rig.run(END_MS)[-1]
    assert last.view.level is FusionLevel.FEATURE
    assert last.view.level_reason == (
        "camera_left: feature space 'yolox' is not one of the model's"
    )
    assert last.view.mode is Mode.FULL


@pytest.mark.parametrize(
    ("tensors", "words"),
    [({}, "'camera_left', got nothing"),
     ({"bev": np.zeros((1, 24, 9, 9), np.float32)}, r"'camera_left', got (1, 24, 9, 9)"),
     ({"bev": None, "seen": np.ones((1, 1, 9, 9), np.float32)}, "'camera_left', got (1, 1, 9, 9)")],
)  # fmt: skip
def test_a_camera_whose_feature_does_not_fit_falls_out_alone_and_is_named(
    model, said, tensors, words
):
    if "bev" in tensors and tensors["bev"] is None:
        tensors = {**tensors, "bev": said["camera_left"]["tensors"]["bev"]}
    rig = rig_of(model)
    broken = {**said, "camera_left": {**said["camera_left"], "tensors": tensors}}
    drive(rig, broken, broken)
    last = rig.run(END_MS)[-1]
    assert last.view.valid
    assert last.view.level is FusionLevel.FEATURE
    assert last.view.level_reason.startswith("camera_left: ")
    assert words in last.view.level_reason


def test_numbers_that_cannot_be_true_cost_that_camera_alone(model, said):
    rig = rig_of(model)
    nan = np.full_like(said["camera"]["tensors"]["bev"], np.nan)
    tensors = {**said["camera_left"]["tensors"], "bev": nan}
    poisoned = {**said, "camera_left": {**said["camera_left"], "tensors": tensors}}
    drive(rig, poisoned, poisoned)
    last = rig.run(END_MS)[-1]
    assert (last.view.level, last.view.level_reason) == (FusionLevel.FEATURE, "")
    assert last.contributors == {*CAMERAS, "lidar"} - {"camera_left"}
    assert last.state("camera_left") is SourceState.INVALID
