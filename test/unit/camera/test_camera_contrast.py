"""Thermal cameras: 16 bits of which a narrow band far from black is used."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from camera_messages import compressed_msg, encoded, image_msg

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera.content import ImageContentCheck, ImageContentLimits
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.camera.sixteen_bits import SixteenBits
from edge_perception.encoders.content import Verdict

STRETCHED = "stretched to the whole range"


def scene() -> np.ndarray:
    """A grey street, (240, 320), 0 to 255."""
    y, x = np.mgrid[0:240, 0:320]
    grey = (60 + y // 4 + (x // 5) % 40).astype(np.float32)
    for at in (20, 110, 200):
        cv2.rectangle(grey, (at, 100), (at + 60, 190), int(at), -1)
    noise = np.random.default_rng(1).normal(0, 1.5, grey.shape)
    return np.clip(grey + noise, 0, 255)


def counts(low: int, high: int) -> np.ndarray:
    grey = scene()
    share = (grey - grey.min()) / np.ptp(grey)
    return np.rint(low + share * (high - low)).astype(np.uint16)


@pytest.mark.parametrize(
    ("low", "high"),
    [(7600, 8300), (8000, 8150), (29_000, 31_500)],
    ids=["14 bits", "a cool day", "centikelvin"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_band_of_temperatures_is_a_picture(low, high, packed):
    thermal = counts(low, high)
    message = image_msg(thermal, "mono16")
    if packed:
        message = compressed_msg(encoded(thermal, ".png"), "mono16; png compressed ")
    frame = image_from_msg(message)
    assert any(STRETCHED in note for note in frame.notes)
    want = (scene() - scene().min()) / np.ptp(scene()) * 255
    got = frame.bgr[..., 0].astype(float)
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.999
    assert np.ptp(got) == 255
    check = ImageContentCheck(ImageContentLimits())
    assert check.check(frame).verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("low", "high"), [(0, 4095), (200, 4000), (0, 65_535), (0, 600), (9000, 16_000)]
)
def test_pictures_by_light_stay_as_they_are(low, high):
    frame = image_from_msg(image_msg(counts(low, high), "mono16"))
    assert not any(STRETCHED in note for note in frame.notes)


def test_a_closed_shutter_is_no_scene():
    rng = np.random.default_rng(2)
    shutter = (8000 + rng.normal(0, 40, (240, 320))).astype(np.uint16)
    frame = image_from_msg(image_msg(shutter, "mono16"))
    assert not any(STRETCHED in note for note in frame.notes)
    found = ImageContentCheck(ImageContentLimits()).check(frame)
    assert found.verdict is Verdict.WORTHLESS
    even = image_from_msg(image_msg(np.full((240, 320), 8000, np.uint16), "mono16"))
    assert np.ptp(even.bgr) == 0


def is_stretched(image: np.ndarray, seen: SixteenBits, encoding: str = "mono16") -> bool:
    frame = image_from_msg(image_msg(image, encoding), bits=seen)
    return any(STRETCHED in note for note in frame.notes)


def test_a_source_at_the_limit_does_not_flip_from_frame_to_frame():
    below, above, wide = (counts(low, 16_000) for low in (11_500, 10_700, 8500))
    for first in (below, above):
        seen = SixteenBits()
        decided = [is_stretched(image, seen) for image in (first, *[above, below] * 3)]
        # It begins with the first that is a narrow band, and holds from there on.
        assert decided == [first is below, first is below, *[True] * 5]
        assert not is_stretched(wide, seen)
        assert not is_stretched(above, seen)


def test_a_shutter_that_closes_does_not_change_what_was_decided():
    below, above = (counts(low, 16_000) for low in (11_500, 10_700))
    shutter = (8000 + np.random.default_rng(2).normal(0, 40, (240, 320))).astype(np.uint16)
    seen = SixteenBits()
    assert is_stretched(below, seen)
    assert not is_stretched(shutter, seen)
    assert is_stretched(above, seen)


@pytest.mark.parametrize("other", ["another size", "another encoding"])
def test_another_size_or_encoding_is_judged_anew(other):
    below, above = (counts(low, 16_000) for low in (11_500, 10_700))
    seen = SixteenBits()
    assert is_stretched(below, seen)
    if other == "another size":
        assert not is_stretched(above[:200], seen)
    else:
        assert not is_stretched(above, seen, "bayer_rggb16")
    assert not is_stretched(above, seen)


def test_counts_that_are_said_to_be_depth_are_told_what_to_do():
    with pytest.raises(InvalidFrameError, match=r"got depth .*thermal camera.*mono16"):
        image_from_msg(image_msg(counts(7600, 8300), "16UC1"))
