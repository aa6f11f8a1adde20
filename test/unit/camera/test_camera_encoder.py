"""The camera encoder on small real models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from camera_messages import camera_info, image_msg
from onnx_models import bundle_of, manifest_of

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import InvalidFrameError, InvalidOutputError
from edge_perception.core.types import Geometry, ImageFrame
from edge_perception.encoders import EncoderOutput, encoders
from edge_perception.encoders.camera.calibration import undistort_boxes
from edge_perception.encoders.camera.camera_info import geometry_from_camera_info
from edge_perception.encoders.camera.lift import LiftConfig, lift_grid

SIZE = (64, 32)
CELLS = 8 * 4 + 4 * 2 + 2 * 1
LIFT = {"x_range_m": [2.0, 10.0], "y_range_m": [-4.0, 4.0], "cell_m": 2.0, "heights_m": [0.0, 1.0]}


def yolox_head() -> np.ndarray:
    """One car of 16 x 8 px at the centre of cell (3, 2) of stride 8: 20 to 36 and 16 to 24 px."""
    head = np.zeros((1, CELLS, 7), np.float32)
    head[0, 2 * 8 + 3] = [0.5, 0.5, np.log(2), 0.0, 0.9, 0.1, 0.8]
    return head


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    def build(inputs: dict[str, tuple[int, ...]], **preprocessing: Any) -> Any:
        neck = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
        heads = {"output": yolox_head(), "neck_raw": neck}
        manifest = manifest_of(
            "camera",
            "yolox",
            inputs,
            {name: head.shape for name, head in heads.items()},
            preprocessing={"size": list(SIZE), "pad_value": 114.0, **preprocessing},
            labels=["person", "car"],
            features={"neck": "neck_raw"},
        )
        bundle = bundle_of(tmp_path / "tiny", manifest, heads)
        backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
        return encoders()["camera"].make_encoder(bundle.manifest, backend)

    return build


@pytest.fixture
def encoder(make: Callable[..., Any]) -> Any:
    return make({"images": (1, 3, 32, 64)})


def frame_of(width: int, height: int, **fields: Any) -> ImageFrame:
    bgr = np.full((height, width, 3), 77, np.uint8)
    return ImageFrame(stamp_ns=1, frame_id="camera", bgr=bgr, **fields)


def run(encoder: Any, frame: ImageFrame, geometry: Geometry) -> EncoderOutput:
    inputs = encoder.preprocess(frame, geometry)
    return encoder.postprocess(encoder.infer(inputs), frame, geometry)


def box(output: EncoderOutput) -> list[float]:
    (item,) = output.image_objects
    assert item.class_name == "car"
    assert item.score == pytest.approx(0.72)
    return [item.x_min, item.y_min, item.x_max, item.y_max]


def test_features_and_box_in_pixels_of_the_image(encoder: Any) -> None:
    output = run(encoder, frame_of(640, 320), Geometry())
    np.testing.assert_array_equal(output.tensors["neck"].ravel(), np.arange(8))
    assert set(output.tensors) == {"neck"}
    # Ten times larger; edges at 200 to 360 and 160 to 240 of pixels that begin at -0.5.
    assert box(output) == pytest.approx([199.5, 159.5, 359.5, 239.5], abs=1e-3)


def test_box_is_in_pixels_of_the_calibration(encoder: Any) -> None:
    geometry = geometry_from_camera_info(camera_info(width=1280, height=640))
    output = run(encoder, frame_of(640, 320), geometry)
    assert box(output) == pytest.approx([399.5, 319.5, 719.5, 479.5], abs=1e-3)


def test_box_of_a_lens_is_undistorted(encoder: Any) -> None:
    geometry = geometry_from_camera_info(
        camera_info(width=640, height=320, d=[-0.28, 0.09, 0.001, -0.0008, -0.01])
    )
    output = run(encoder, frame_of(640, 320), geometry)
    bent = np.array([[199.5, 159.5, 359.5, 239.5]])
    expected = undistort_boxes(bent, geometry)[0]
    assert not np.allclose(expected, bent, atol=0.5)
    assert box(output) == pytest.approx(expected, abs=1e-3)


def test_box_cut_at_the_border_of_a_letterbox(encoder: Any) -> None:
    """A square image fills the left 32 px only; the box starts in it and ends in the padding."""
    output = run(encoder, frame_of(320, 320), Geometry())
    assert box(output) == pytest.approx([199.5, 159.5, 319.5, 239.5], abs=1e-3)


def test_nan_in_the_outputs_is_refused(encoder: Any) -> None:
    with pytest.raises(InvalidOutputError, match=r"output 'output' has \d+ of \d+ values"):
        encoder.infer({"images": np.full((1, 3, 32, 64), np.nan, np.float32)})


def test_intake_gives_the_frame_of_a_message(encoder: Any) -> None:
    intake = encoders()["camera"].make_intake(None)
    bgr = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    item = intake.accept(image_msg(bgr[..., ::-1], "rgb8"))
    np.testing.assert_array_equal(intake.frame(item).bgr, bgr)


@pytest.fixture
def lifting(make: Callable[..., Any]) -> Any:
    inputs = {"images": (1, 3, 32, 64), "grid": (1, 8, 4, 2)}
    return make(inputs, lift_input="grid", lift=LIFT)


@pytest.fixture
def mounted() -> Geometry:
    """Looking along +x from 1.5 m above the road; optical axes x right, y down, z forward."""
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[2, 3] = 1.5
    return geometry_from_camera_info(camera_info(width=640, height=320), T)


def test_lift_grid_is_fed_and_kept(lifting: Any, mounted: Geometry) -> None:
    frame = frame_of(640, 320)
    grid = lifting.preprocess(frame, mounted)["grid"]
    config = LiftConfig(
        x_range_m=(2.0, 10.0), y_range_m=(-4.0, 4.0), cell_m=2.0, heights_m=(0.0, 1.0)
    )
    letterbox = lifting._preprocessor.letterbox((640, 320))
    np.testing.assert_array_equal(grid, lift_grid(mounted, config, letterbox))
    assert (grid > -1).any()
    same = replace(mounted, T_base_sensor=mounted.T_base_sensor.copy())
    assert lifting.preprocess(frame, same)["grid"] is grid
    moved = mounted.T_base_sensor.copy()
    moved[2, 3] = 2.0
    other = lifting.preprocess(frame, replace(mounted, T_base_sensor=moved))["grid"]
    assert not np.array_equal(other, grid)


def test_lift_grid_of_a_smaller_image_is_the_same(lifting: Any, mounted: Geometry) -> None:
    full = lifting.preprocess(frame_of(640, 320), mounted)["grid"].copy()
    half = lifting.preprocess(frame_of(320, 160), mounted)["grid"]
    np.testing.assert_allclose(half, full, atol=1e-5)


def test_lift_grid_of_a_lens_is_bent(lifting: Any, mounted: Geometry) -> None:
    frame = frame_of(640, 320)
    straight = lifting.preprocess(frame, mounted)["grid"].copy()
    lens = replace(
        mounted, distortion_model="plumb_bob", distortion=np.array([-0.2, 0.05, 0, 0, 0])
    )
    bent = lifting.preprocess(frame, lens)["grid"]
    seen = (straight > -1.5).all(axis=-1) & (bent > -1.5).all(axis=-1)
    assert seen.any()
    assert np.abs(bent - straight)[seen].max() > 1e-3


def test_lifting_without_calibration_is_refused(lifting: Any) -> None:
    with pytest.raises(InvalidFrameError, match="expects intrinsics"):
        lifting.preprocess(frame_of(640, 320), Geometry())


def test_calibration_that_comes_with_the_frame(lifting: Any, mounted: Geometry) -> None:
    expected = lifting.preprocess(frame_of(640, 320), mounted)["grid"].copy()
    bare = replace(mounted, intrinsics=None, image_size=None)
    frame = frame_of(640, 320, intrinsics=mounted.intrinsics)
    np.testing.assert_array_equal(lifting.preprocess(frame, bare)["grid"], expected)
