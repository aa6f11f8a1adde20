"""What doubtful frames to a server cost the frames themselves: the real encoder, in turns.

Frames follow each other without a pause, and the server is another process that answers at once, so
that the route works as hard as it can. Without a server, one frame in twenty doubtful, every frame.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_S = 0.5
_EVERY = {"never": 0, "some": 20, "always": 1}  # which frame is doubtful
_WIDTH, _HEIGHT = 1280, 720
_FOREVER_MB = 1e6
_LEAST_ABOVE = 5  # frames above a percentile, for it to be one


class _Canned:
    """Answers with zeros: a server that costs the machine next to nothing."""

    def __init__(self, info: Any) -> None:
        self._info = info

    def describe(self) -> Any:
        return self._info

    def infer(self, _inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        return {info.name: np.zeros(info.shape, info.dtype) for info in self._info.outputs}


def _serve(pipe: Connection, name: str, info: Any, stated: dict[str, str]) -> None:
    from edge_perception.backends.kserve.server import ModelServer

    server = ModelServer(name, _Canned(info), stated)  # type: ignore[arg-type]
    pipe.send(server.url)
    pipe.recv()
    server.close()


def cloud_cost(seconds: float) -> dict[str, Any]:
    """Return p99 of frames with some and with all of them doubtful, over that without a server."""
    from edge_perception.core.clock import SystemClock
    from edge_perception.core.share import share_file
    from edge_perception.encoders import encoders
    from edge_perception.encoders.options import SourceOptions
    from edge_perception.encoders.pipeline import EncoderPipeline
    from edge_perception.encoders.serving import ServedModel
    from edge_perception.models.loading import ModelOptions, open_bundle
    from edge_perception.models.manifest import load_bundle
    from edge_perception.models.triton_repository import stated_by

    bundle = load_bundle(share_file("models/bev_lite/camera"))
    loaded = open_bundle(bundle, ModelOptions(model="bev_lite/camera"))
    spec, clock = encoders()["camera"], SystemClock()
    pose = (1.5, 0.0, 1.6, -0.5, 0.5, -0.5, 0.5)
    pipeline = EncoderPipeline(
        source="camera",
        spec=spec,
        model=ServedModel.build(spec, loaded),
        geometry=SourceOptions(source="camera", T_base_sensor=pose).geometry(),
        clock=clock,
    )
    pipeline.place.calibrate(_calibration(), ["camera/image_raw"])
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    stated = stated_by(bundle)
    server = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, bundle.manifest.name, loaded.backend.describe(), stated)
    )
    server.start()
    try:
        route, sent = _route(spec, ours.recv(), clock)
        route.start()
        pipeline.seen = route.offer
        try:
            times, offers = _frames(pipeline, route, seconds, clock)
        finally:
            route.stop()
    finally:
        ours.send(None)
        server.join(10.0)
        loaded.backend.close()
    counts = route.counts()
    return {
        "cloud_frame_p99_ratio": _ratio(times["some"], times["never"], 99),
        "cloud_frame_p99_ratio_all_doubtful": _ratio(times["always"], times["never"], 99),
        "cloud_frame_p50_ratio": _ratio(times["some"], times["never"], 50),
        "cloud_frame_p50_ratio_all_doubtful": _ratio(times["always"], times["never"], 50),
        **{
            f"cloud_frame_p{percent}_ms": {
                name: round(float(np.percentile(values, percent)) * 1e3, 2)
                for name, values in times.items()
            }
            for percent in (50, 99)
        },
        "cloud_frames": {name: len(values) for name, values in times.items()},
        "cloud_offer_p99_ms": round(float(np.percentile(offers, 99)) * 1e3, 3),
        "cloud_answers": len(sent),
        "cloud_counts": dict(sorted(counts.items())),
    }


def _ratio(some: list[float], none: list[float], percent: int) -> float | None:
    """Return the ratio of a percentile; None: too few frames to know it, the machine is busy."""
    if min(len(some), len(none)) * (100 - percent) < _LEAST_ABOVE * 100:
        return None
    return round(float(np.percentile(some, percent) / np.percentile(none, percent)), 4)


def _route(spec: Any, url: str, clock: Any) -> tuple[Any, list[Any]]:
    from edge_perception.fleet.cloud.crops import CropCutter
    from edge_perception.fleet.cloud.options import CloudOptions, parsed_tiers
    from edge_perception.fleet.cloud.privacy import PrivacyFilter
    from edge_perception.fleet.cloud.route import CloudRoute
    from edge_perception.fleet.cloud.tier import make_tiers

    options = CloudOptions(
        tiers=(f"site {url} mb_per_hour={_FOREVER_MB:g} deadline_ms=1000",),
        privacy_regions=(0.4, 0.4, 0.6, 0.6),
        cache_s=0.0,
    )

    def no_bundle(name: str) -> Any:
        raise AssertionError(name)

    tiers = make_tiers(parsed_tiers(options.tiers), spec, no_bundle, steady_s=time.monotonic)
    sent: list[Any] = []

    def on_error(error: Exception) -> None:
        raise error

    route = CloudRoute(
        options,
        spec,
        tiers,
        PrivacyFilter(options, has_images=True),
        CropCutter(options, spec),
        clock=clock,
        sink=sent.append,
        on_error=on_error,
    )
    return route, sent


def _frames(
    pipeline: Any, route: Any, seconds: float, clock: Any
) -> tuple[dict[str, list[float]], list[float]]:
    """Return how long each frame took from its arrival to its feature, and what came after it."""
    from dataclasses import replace

    pictures = [_picture(seed) for seed in range(4)]
    times: dict[str, list[float]] = {name: [] for name in _EVERY}
    offers: list[float] = []
    usual = route.options
    end_s, number, turn = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end_s:
        name = tuple(_EVERY)[turn % len(_EVERY)]
        turn += 1
        until_s = time.monotonic() + _BLOCK_S
        while time.monotonic() < until_s:
            number += 1
            every = _EVERY[name]
            doubtful = bool(every) and number % every == 0
            route.options = replace(usual, doubt_bits=0.0 if doubtful else 1.0)
            received = clock.now()
            job = pipeline.accept(
                _image(pictures[number % len(pictures)]), received.node_ns, "camera", received
            )
            begin_s = time.perf_counter()
            feature = pipeline.process(job)
            took_s = time.perf_counter() - begin_s
            pipeline.after()
            pipeline.observe()
            assert feature is not None, "a camera has a feature for each frame"
            assert feature.valid, feature.invalid_reason
            if turn > len(_EVERY):  # the first turn warms up
                times[name].append(took_s)
                if doubtful:
                    offers.append(time.perf_counter() - begin_s - took_s)
    return times, offers


def _picture(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30.0, 220.0, (_HEIGHT // 40, _WIDTH // 40, 3))
    image = np.kron(coarse, np.ones((40, 40, 1))) + rng.normal(0.0, 3.0, (_HEIGHT, _WIDTH, 3))
    return image.clip(0, 255).astype(np.uint8).reshape(-1)


def _image(data: NDArray[np.uint8]) -> Any:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="camera", stamp=SimpleNamespace(sec=1, nanosec=0)),
        width=_WIDTH,
        height=_HEIGHT,
        encoding="bgr8",
        is_bigendian=0,
        step=_WIDTH * 3,
        data=data,
    )


def _calibration() -> Any:
    K = [700.0, 0.0, _WIDTH / 2, 0.0, 700.0, _HEIGHT / 2, 0.0, 0.0, 1.0]
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="camera", stamp=SimpleNamespace(sec=1, nanosec=0)),
        width=_WIDTH,
        height=_HEIGHT,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K,
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0],
        binning_x=0,
        binning_y=0,
        roi=roi,
    )
