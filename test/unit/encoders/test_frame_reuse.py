"""Outputs are reused only where nothing can have happened, and for a bounded time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_perception.core.types import DetectedObject, Geometry, ImageFrame, ImageObject, PointCloud
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.camera.likeness import LIKENESS as IMAGES
from edge_perception.encoders.frame_reuse import FrameReuse, Inferred, ReuseLimits
from edge_perception.encoders.lidar.likeness import LIKENESS as SWEEPS

PLACE, MODEL = Geometry(), object()
LIMITS = ReuseLimits(max_age_s=0.3, change=1.0, near_m=20.0)
MS = 10**6
RNG = np.random.default_rng(5)
SCENE = RNG.integers(40, 200, (12, 16)).repeat(40, 0).repeat(40, 1).astype(np.float64)


def image(noise=3.0, pedestrian_at=None):
    grey = SCENE + RNG.normal(0.0, noise, SCENE.shape)
    if pedestrian_at is not None:
        grey[200:260, pedestrian_at : pedestrian_at + 22] = 20.0
    bgr = np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    return ImageFrame(stamp_ns=1, frame_id="camera", bgr=bgr)


def sweep(pedestrian_at=None, noise_m=0.02):
    azimuth = np.repeat(np.linspace(-np.pi, np.pi, 1800, endpoint=False), 32)
    down = np.tile(np.deg2rad(np.linspace(-25, 3, 32)), 1800)
    reach = np.minimum(1.8 / np.tan(np.maximum(-down, 1e-3)), 30.0)
    if pedestrian_at is not None:
        hit = (np.abs(azimuth - pedestrian_at) < 0.03) & (reach > 9.0)
        reach = np.where(hit, 9.0, reach)
    reach = reach + RNG.normal(0.0, noise_m, reach.shape)
    xyz = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), 0 * reach], -1)
    return PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=xyz.astype(np.float32))


def car(x_m):
    return DetectedObject(
        class_name="car", score=0.9, center_m=(x_m, 0.0, 0.8), size_m=(4, 2, 1.5), yaw_rad=0.0
    )


def box(x):
    return ImageObject(class_name="car", score=0.9, x_min=x, y_min=50, x_max=x + 100, y_max=120)


def reuse_after(*outputs, likeness=IMAGES, frame=None, period_ms=100):
    """Return what has inferred frames with these outputs, the last at stamp 0."""
    reuse = FrameReuse(likeness)
    for index, output in enumerate(outputs):
        reuse.inferred(
            Inferred(
                stamp_ns=(index - len(outputs) + 1) * period_ms * MS,
                model=MODEL,
                geometry=PLACE,
                sketch=reuse.sketch(frame or image()),
                output=output,
            )
        )
    return reuse


def look(reuse, frame=None, *, at_ms=100, model=MODEL, geometry=PLACE, limits=LIMITS):
    return reuse.look(reuse.sketch(frame or image()), at_ms * MS, model, geometry, limits)


QUIET = EncoderOutput(tensors={"bev": np.ones(3)}, objects=(car(12.0),))


def test_a_frame_that_hardly_changed_reuses_and_says_so():
    reuse = reuse_after(QUIET, QUIET)
    found = look(reuse)
    assert found.output is QUIET
    assert "reused: features of the frame 0.10 s before" in found.text
    assert (reuse.why_not, reuse.count) == ("", 1)


@pytest.mark.parametrize("at_ms", [0, -100, 301, 10_000])
def test_the_age_is_bounded_and_goes_forward(at_ms):
    reuse = reuse_after(QUIET, QUIET)
    assert look(reuse, at_ms=at_ms) is None
    assert "old > 0.3 s" in reuse.why_not


def test_a_change_in_one_place_is_a_change():
    reuse = reuse_after(QUIET, QUIET)
    assert look(reuse, image(pedestrian_at=300)) is None
    assert "grey values" in reuse.why_not
    dark = image()
    assert look(reuse, replace(dark, bgr=dark.bgr // 2)) is None
    assert look(reuse, replace(dark, bgr=dark.bgr[:30, :30])) is None


def test_sweeps_are_compared_by_their_points():
    reuse = reuse_after(QUIET, QUIET, likeness=SWEEPS, frame=sweep())
    assert look(reuse, sweep()) is not None, reuse.why_not
    assert look(reuse, sweep(pedestrian_at=1.0)) is None
    assert "deviations" in reuse.why_not
    half = sweep()
    assert look(reuse, replace(half, xyz_m=half.xyz_m[::2])) is None


@pytest.mark.parametrize(
    ("before", "last", "said"),
    [
        (QUIET, EncoderOutput(objects=(car(11.0),)), "car at 11, 0 m moves"),
        (QUIET, EncoderOutput(), "car at 12, 0 m moves"),  # it left
        (EncoderOutput(), QUIET, "is new"),
        (EncoderOutput(image_objects=(box(10),)), EncoderOutput(image_objects=(box(30),)), "image"),
        (EncoderOutput(image_objects=(box(10),)), EncoderOutput(), "image"),
    ],
)
def test_nothing_is_reused_while_something_near_moves(before, last, said):
    reuse = reuse_after(before, last)
    assert look(reuse) is None
    assert said in reuse.why_not


def test_what_may_come_near_before_the_age_is_over_counts():
    outputs = EncoderOutput(objects=(car(28.0),)), EncoderOutput(objects=(car(25.0),))
    reuse = reuse_after(*outputs)
    assert look(reuse) is None
    assert "car at 25, 0 m moves" in reuse.why_not
    soon = replace(LIMITS, max_age_s=0.15)
    assert look(reuse_after(*outputs), limits=soon) is not None


def test_inferences_far_apart_do_not_tell_what_moves():
    """A minute ago it was there too: it may have come back, and all may have changed since."""
    assert look(reuse_after(QUIET, QUIET, period_ms=1200)) is not None
    reuse = reuse_after(QUIET, QUIET, period_ms=60_000)
    assert look(reuse) is None
    assert reuse.why_not == "inferences 60.0 s apart do not tell what moves"


def test_a_box_in_the_image_that_has_no_place_counts_beside_those_that_have():
    moved = [replace(QUIET, image_objects=(box(x),)) for x in (10, 30)]
    reuse = reuse_after(*moved)
    assert look(reuse) is None
    assert "car in the image moves" in reuse.why_not


def test_what_moves_far_away_may():
    reuse = reuse_after(EncoderOutput(objects=(car(35.0),)), EncoderOutput(objects=(car(33.0),)))
    assert look(reuse) is not None


def test_one_inference_another_model_or_another_pose_is_not_enough():
    assert look(reuse_after(QUIET)) is None
    assert look(FrameReuse(IMAGES)) is None
    reuse = reuse_after(QUIET, QUIET)
    assert look(reuse, model=object()) is None
    assert look(reuse, geometry=Geometry()) is None
    reuse.forget("the last output is doubtful: no pose")
    assert look(reuse) is None
    assert reuse.why_not == "the last output is doubtful: no pose"
    assert look(reuse, model=object()) is None, "whoever asks, it is for this reason"
    assert "no pose" in reuse.why_not
