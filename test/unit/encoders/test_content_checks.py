"""Content checks: real and simulated good data raises nothing, worthless data is named."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_perception.core.types import AudioBlock, Geometry, ImageFrame, PointCloud
from edge_perception.encoders.audio.content import AudioContentCheck, AudioContentLimits
from edge_perception.encoders.audio.levels import LevelMeter
from edge_perception.encoders.audio.stream import AudioWindow
from edge_perception.encoders.camera import sample
from edge_perception.encoders.camera.content import ImageContentCheck, ImageContentLimits
from edge_perception.encoders.content import Verdict
from edge_perception.encoders.lidar.content import (
    CloudContentCheck,
    CloudContentLimits,
    sectors_numpy,
    sectors_of,
)
from edge_perception.encoders.lidar.encoder import in_raster, in_raster_numpy
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing

RNG = np.random.default_rng(3)


def frame(bgr) -> ImageFrame:
    return ImageFrame(stamp_ns=1, frame_id="camera", bgr=np.asarray(bgr, np.uint8))


def cloud(xyz) -> PointCloud:
    return PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=np.asarray(xyz, np.float32))


def picture(seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:240, 0:320]
    grey = 90 + 50 * np.sin(columns / 30.0) + 40 * (rows > 120) + rng.normal(0, 2, (240, 320))
    return np.repeat(np.clip(grey, 0, 255)[..., None], 3, axis=2).astype(np.uint8)


def sweep(seed=0, points=20_000):
    rng = np.random.default_rng(seed)
    azimuth, distance = rng.uniform(-np.pi, np.pi, points), rng.uniform(3, 50, points)
    return np.stack(
        [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.normal(0, 1, points)], axis=1
    )


def image_check(**limits):
    return ImageContentCheck(ImageContentLimits(**limits))


def test_real_images_and_sweeps_raise_nothing(data_dir):
    images, clouds = image_check(), CloudContentCheck(CloudContentLimits())
    paths = sorted((data_dir / "pandaset").glob("*/*.jpg"))
    assert paths
    for path in paths * 3:
        found = images.check(frame(cv2.imread(str(path))))
        assert found.verdict is Verdict.GOOD, f"{path}: {found.text}"
        xyz = np.load(path.with_suffix(".npz"))["xyz_cm"] / 100.0
        found = clouds.check(cloud(xyz))
        assert found.verdict is Verdict.GOOD, f"{path}: {found.text}"


BAD_IMAGES = {
    "black": RNG.integers(0, 4, (240, 320, 3)),
    "saturated": np.full((240, 320, 3), 255),
    "noise": RNG.integers(0, 256, (240, 320, 3)),
    "blocked": RNG.normal(80, 1.5, (240, 320, 3)),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_worthless_image_is_named_with_its_limit(name):
    found = image_check().check(frame(BAD_IMAGES[name]))
    assert found.verdict is Verdict.WORTHLESS
    assert found.text.startswith(name)
    assert "<" in found.text or ">" in found.text


def test_a_doubtful_image_is_used_and_named():
    over = np.clip(picture().astype(int) * 2, 0, 255)
    assert image_check().check(frame(over)).verdict is Verdict.DOUBTFUL
    covered = picture()
    covered[:, :260] = 70
    found = image_check().check(frame(covered))
    assert found.verdict is Verdict.DOUBTFUL
    assert "without contrast" in found.text


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (lambda seed: frame(picture(seed)), image_check()),
        (lambda seed: cloud(sweep(seed)), CloudContentCheck(CloudContentLimits())),
    ],
    ids=["image", "sweep"],
)
def test_frozen_at_the_second_repeat_and_alive_at_the_first_change(make, check):
    verdicts = [check.check(make(seed)).verdict for seed in (1, 1, 1, 1, 2, 2, 3)]
    assert [verdict is Verdict.WORTHLESS for verdict in verdicts] == [
        False,
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_repeated_image_is_fine_where_the_check_is_off():
    check = image_check(frozen_frames=0)
    assert all(check.check(frame(picture(1))).verdict is Verdict.GOOD for _ in range(5))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 5), (2000, 3)])
def test_images_of_any_size_are_judged(size):
    image_check().check(frame(RNG.integers(0, 256, (*size, 3))))


def test_a_lost_sector_is_named_and_more_than_half_of_them_refuse_the_sweep():
    check = CloudContentCheck(CloudContentLimits())
    for seed in range(8):
        assert check.check(cloud(sweep(seed))).verdict is Verdict.GOOD
    xyz = sweep(9)
    azimuth = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))
    found = check.check(cloud(xyz[(azimuth < 0) | (azimuth > 60)]))
    assert found.verdict is Verdict.DOUBTFUL
    assert "2 of 12 sectors" in found.text
    assert check.check(cloud(xyz[azimuth > 60])).verdict is Verdict.WORTHLESS
    assert check.check(cloud(sweep(10))).verdict is Verdict.GOOD


@pytest.mark.parametrize("parts", [2, 3, 4, 10])
def test_parts_of_a_rotation_in_turn_are_called_that(parts):
    """Clouds of packets, or of every so many milliseconds (Cartographer's bags, Isaac Sim)."""
    check = CloudContentCheck(CloudContentLimits())
    texts = []
    for index in range(8 * parts):
        xyz = sweep(index)
        azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
        mine = ((azimuth + np.pi) * parts / (2 * np.pi)).astype(int) == index % parts
        texts.append(check.check(cloud(xyz[mine])).text)
    assert texts[-1].startswith("messages hold about ")
    assert "in turn: let the driver publish whole sweeps" in texts[-1]
    assert any("sectors lost" in text for text in texts[: parts + 5])


def test_a_sector_that_comes_and_goes_is_no_part_of_a_rotation():
    check = CloudContentCheck(CloudContentLimits())
    for seed in range(60):
        xyz = sweep(seed)
        azimuth = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))
        found = check.check(cloud(xyz[(azimuth < 0) | (azimuth > 150)] if seed % 2 else xyz))
        assert "in turn" not in found.text
    assert "sectors lost" in found.text


@pytest.mark.parametrize("scale", [1000.0, 100.0])
def test_a_sweep_in_another_unit_says_how_far_it_reaches(scale):
    encoder = SimpleNamespace(in_range=lambda xyz, _geometry: np.abs(xyz).max(axis=1) < 70.0)
    check = CloudContentCheck(CloudContentLimits())
    found = check.check(cloud(sweep() * scale), encoder, Geometry())
    assert found.verdict is Verdict.WORTHLESS
    assert re.search(r"half of them are beyond 2\d+ m: not in metres", found.text)
    near = check.check(cloud(sweep()[:20]), encoder, Geometry())
    assert "not in metres" not in near.text


def test_a_lidar_that_looks_ahead_only_is_not_blamed():
    check = CloudContentCheck(CloudContentLimits())
    for seed in range(20):
        xyz = sweep(seed)
        assert check.check(cloud(xyz[xyz[:, 0] > np.abs(xyz[:, 1])])).verdict is Verdict.GOOD


def listen(blocks):
    """Judge consecutive blocks of 100 ms, (N, C)."""
    meter, check = LevelMeter(), AudioContentCheck(AudioContentLimits())
    window = AudioWindow(
        stamp_ns=1,
        frame_id="",
        window_start_ns=0,
        window_end_ns=1,
        samples=np.zeros(1, np.float32),
        segment=1,
        first_sample=0,
    )
    found = []
    for samples in blocks:
        block = AudioBlock(
            stamp_ns=1,
            frame_id="",
            samples=np.asarray(samples, np.float32),
            sample_rate_hz=16000,
            first_sample_index=0,
        )
        found.append(check.check(replace(window, levels=meter.measure(block))))
    return found


def test_silence_clipping_and_dead_channels():
    good = RNG.normal(0, 0.05, (1600, 2))
    silent, loud = np.zeros((1600, 2)), np.clip(good * 100, -1, 1)
    dead = good * [1.0, 0.0]
    found = listen([good, silent, silent, good, *[loud] * 50, dead, good])
    assert [item.verdict for item in found] == [
        Verdict.GOOD,
        Verdict.GOOD,
        Verdict.WORTHLESS,
        Verdict.GOOD,
        *[Verdict.DOUBTFUL] * 49,
        Verdict.WORTHLESS,
        Verdict.DOUBTFUL,
        Verdict.GOOD,
    ]
    assert "0.20 s" in found[2].text
    assert "content.clipped_s" in found[53].text
    assert "channel 1 dead" in found[54].text


def test_channels_that_cancel_one_another_are_told():
    sound = RNG.normal(0, 0.05, (1600, 1))
    inverted = np.hstack([sound + 0.2, -0.97 * sound])
    found = listen([inverted] * 8)
    assert [item.verdict for item in found[:4]] == [Verdict.GOOD] * 4
    assert found[-1].verdict is Verdict.DOUBTFUL
    assert "channels cancel one another" in found[-1].text
    # Right microphones half a wavelength apart do so too, as long as the tone lasts.
    tone = 0.05 * np.sin(2 * np.pi * 500.0 * np.arange(1600)[:, None] / 16_000)
    told = listen([np.hstack([tone, np.roll(tone, 16, axis=0)])] * 8)[-1].text
    assert "inverted, or is it one tone" in told
    assert "half a period apart" in told
    apart, array = ([RNG.normal(0, 0.05, (1600, n)) for _ in range(8)] for n in (8, 64))
    for blocks in ([sound] * 8, [np.hstack([sound, sound])] * 8, apart, array, [inverted] * 3):
        assert all(item.verdict is Verdict.GOOD for item in listen(blocks))


@pytest.mark.parametrize("size", [(720, 1280), (47, 63), (5, 9), (2, 2), (1, 1), (300, 1)])
@pytest.mark.parametrize("kind", ["noise", "picture", "flat", "bright"])
def test_the_compiled_sample_of_an_image_is_that_of_numpy(size, kind):
    rng = np.random.default_rng(3)
    bgr = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    if kind == "picture":
        bgr = np.ascontiguousarray(np.sort(bgr, axis=1))
    if kind in ("flat", "bright"):
        bgr[...] = 77 if kind == "flat" else 255
    got, wanted = sample.sample_of(bgr), sample.sample_numpy(bgr)
    for field in dataclasses.fields(wanted):
        mine, theirs = getattr(got, field.name), getattr(wanted, field.name)
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=2e-3, err_msg=field.name)
    np.testing.assert_array_equal(got.grey, wanted.grey)


def test_an_image_of_turned_colours_is_sampled_too():
    bgr = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    got, wanted = sample.sample_of(bgr[..., ::-1]), sample.sample_of(bgr)
    np.testing.assert_array_equal(got.grey, wanted.grey)


def test_the_compiled_figures_of_a_sweep_are_those_of_numpy():
    rng = np.random.default_rng(4)
    xyz = rng.normal(0, 30, (2048, 3)).astype(np.float32)
    geometry = Geometry(T_base_sensor=np.array(
        [[0.8, -0.6, 0, 1.0], [0.6, 0.8, 0, 2.0], [0, 0, 1, 1.8], [0, 0, 0, 1]]
    ))  # fmt: skip
    config = LidarPreprocessing()
    inside = in_raster(xyz, geometry, config)
    np.testing.assert_array_equal(inside, in_raster_numpy(xyz, geometry, config))
    assert 0 < inside.sum() < len(xyz)
    counts = sectors_of(xyz, inside)
    np.testing.assert_array_equal(counts, sectors_numpy(xyz, inside))
    assert counts.sum() == inside.sum()
