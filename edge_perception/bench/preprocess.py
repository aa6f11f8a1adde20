"""Sensor frames to graph inputs: ours against the usual NumPy and OpenCV lines.

The usual lines give the same values; they are what tutorials and model cards show.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, plot_quantiles
from edge_perception.bench._timing import compare, ratio

NAME = "preprocess"
HELP = "image, cloud and sound to graph inputs: ours against the usual lines"
OURS, USUAL = "ours", "usual"
POINTS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    rounds, calls = (5, 10) if args.quick else (10, 50)
    cases = {
        name: compare(make(), rounds=rounds, calls=calls)
        for name, make in (
            ("720p image", _camera),
            ("raster cells", _cells),
            ("100k points", _lidar),
            ("log-mel window", _audio),
        )
    }
    cases["raster of 100k points, processor time"] = compare(
        _raster(), rounds=rounds, calls=calls, clock=time.thread_time_ns
    )
    summary = {}
    for name, found in cases.items():
        key = name.replace(",", "").replace("-", "_").replace(" ", "_")
        if USUAL in found:
            summary[f"{key}_ratio"] = ratio(found, OURS, USUAL)
        summary[f"{key}_us"] = found[OURS]["us"]["p50"]
        summary[f"{key}_bytes"] = found[OURS]["bytes"]
    result = {"benchmark": NAME, "machine": machine(), "summary": summary, "cases": cases}
    groups = {name: {way: of["us"] for way, of in found.items()} for name, found in cases.items()}
    plot_quantiles(deliver(result, args), groups, "a frame, us")
    return 0


def _camera() -> dict[str, Callable[[], Any]]:
    """Resize, letterbox, scale and layout of a 720p image for the bundled camera model."""
    import cv2

    from edge_perception.encoders.camera.preprocess import CameraPreprocessing, ImagePreprocessor

    bgr = np.random.default_rng(5).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    config = CameraPreprocessing(
        size=(512, 288), scale=1 / 64, mean=(2.0, 2.0, 2.0), pad_value=128.0
    )
    ours = ImagePreprocessor(config)

    def usual() -> NDArray[np.float32]:
        canvas = np.full((288, 512, 3), 128, np.uint8)
        canvas[:, :512] = cv2.resize(bgr, (512, 288), interpolation=cv2.INTER_LINEAR)
        values = (canvas.astype(np.float32) / 64 - 2.0) / 1.0
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    np.testing.assert_allclose(ours(bgr), usual(), atol=1e-5)
    return {OURS: lambda: ours(bgr), USUAL: usual}


def _cells() -> dict[str, Callable[[], Any]]:
    """Highest point of each raster cell: `np.maximum.at` against sorting by cell and height."""
    noise = np.random.default_rng(6)
    cell = noise.integers(0, 384 * 256, POINTS)
    height = noise.random(POINTS, np.float32)
    out = np.zeros(384 * 256, np.float32)

    def at() -> NDArray[np.float32]:
        out.fill(0.0)
        np.maximum.at(out, cell, height)
        return out

    def usual() -> NDArray[np.float32]:
        raster = np.zeros(384 * 256, np.float32)
        order = np.lexsort((height, cell))
        raster[cell[order]] = height[order]  # the last of equal cells wins
        return raster

    np.testing.assert_array_equal(at(), usual())
    return {OURS: at, USUAL: usual}


def _lidar() -> dict[str, Callable[[], Any]]:
    """The whole of a sweep for the bundled LiDAR model."""
    from edge_perception.core.types import Geometry, PointCloud
    from edge_perception.encoders import encoders
    from edge_perception.models.loading import ModelOptions
    from edge_perception.releases.loading import load_model

    noise = np.random.default_rng(7)
    angle, distance = noise.uniform(-np.pi, np.pi, POINTS), noise.uniform(2, 50, POINTS)
    height = 0.1 * noise.exponential(3.0, POINTS)
    xyz = np.stack([distance * np.cos(angle), distance * np.sin(angle), height], axis=1)
    xyz_m, intensity = xyz.astype(np.float32), noise.random(POINTS, np.float32)
    spec, geometry = encoders()["lidar"], Geometry()
    loaded = load_model(ModelOptions(model=spec.default_model), role="lidar")
    encoder = spec.make_encoder(loaded.bundle.manifest, loaded.backend)

    def whole() -> Any:
        # A new frame each time: the encoder keeps what it made of the frame before.
        cloud = PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=xyz_m, intensity=intensity)
        return encoder.preprocess(cloud, geometry)

    return {OURS: whole}


def _raster() -> dict[str, Callable[[], Any]]:
    """The raster and the raised points of a sweep as a sensor orders it, against NumPy."""
    from edge_perception.encoders.lidar.native import native
    from edge_perception.encoders.lidar.preprocess import (
        LidarPreprocessing,
        bin_points,
        raised_points,
        rasterize,
        sweep_plan,
    )
    from edge_perception.simulation.generate import generate_frame
    from edge_perception.simulation.scenario import Scenario

    cloud = generate_frame(Scenario(name="bench", sensors=("lidar",)), 4, 0.0).cloud
    assert cloud is not None
    assert cloud.intensity is not None
    order = np.arange(POINTS) * len(cloud.xyz_m) // POINTS  # where there are fewer, some twice
    xyz_m, intensity = cloud.xyz_m[order].astype(np.float32), cloud.intensity[order]
    config, T = LidarPreprocessing(), np.eye(4, dtype=np.float32)[:3].copy()
    xyz_m[:, 2] += np.float32(1.86)  # level, above the base frame

    def usual() -> tuple[NDArray, NDArray]:
        binned = bin_points(xyz_m, config)
        return raised_points(binned, config), rasterize(xyz_m, intensity, config, binned=binned)

    compiled = native()
    if compiled is None:
        return {OURS: usual}
    sweeper = compiled.sweeper(sweep_plan(config))
    for mine, wanted in zip((sweeper(xyz_m, T, intensity), sweeper.raster), usual(), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    return {OURS: lambda: sweeper(xyz_m, T, intensity), USUAL: usual}


def _audio() -> dict[str, Callable[[], Any]]:
    """One hop of 100 ms: only the new frames against the whole window."""
    from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig
    from edge_perception.encoders.audio.stream import AudioWindow

    config = LogMelConfig(
        sample_rate_hz=16_000,
        window_s=0.025,
        hop_s=0.01,
        fft_size=512,
        mel_bins=64,
        mel_min_hz=125.0,
        mel_max_hz=7500.0,
        log_offset=0.001,
        patch_frames=96,
        patch_hop_frames=10,
    )
    samples = np.random.default_rng(8).normal(size=config.patch_samples).astype(np.float32)
    ours, whole = LogMel(config), LogMel(config)
    position = [0]

    def next_window() -> NDArray[np.float32]:
        position[0] += config.patch_hop_samples
        return ours.patch(
            AudioWindow(
                stamp_ns=1,
                frame_id="microphone",
                window_start_ns=0,
                window_end_ns=1,
                samples=samples,
                segment=0,
                first_sample=position[0],
            )
        )

    return {OURS: next_window, USUAL: lambda: whole.frames(samples)}
