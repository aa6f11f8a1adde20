"""How many sensors a number of cores carries: where does it stop?

Encoders with their models in one process, an inference thread for each source, without transport.
Cameras give 720p at 20 Hz, LiDARs 100,000 points at 10 Hz, in the phase in which they were made.
A load is carried when at least 95 % of the frames become features.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, plot_quantiles, quantiles, say

NAME = "scale"
HELP = "1 to 6 cameras, 1 to 3 LiDARs, 1 to 8 cores: where does it stop?"
RATES_HZ = {"camera": 20.0, "lidar": 10.0}
CARRIED = 0.95
LOADS = ((1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (1, 2), (1, 3))  # cameras, LiDARs
QUICK_LOADS = ((1, 1), (2, 1), (6, 1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    from edge_perception.bench._recording import make_clip

    everywhere = sorted(os.sched_getaffinity(0))
    counts = [count for count in (1, 2, 4, 8) if count <= len(everywhere)]
    loads, seconds = (QUICK_LOADS, 1.5) if args.quick else (LOADS, 5.0)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as folder:
        make_clip(Path(folder))
        sensors = _Sensors(Path(folder), cameras=6, lidars=3)
        for cores in counts:
            os.sched_setaffinity(0, everywhere[:cores])  # threads made from now on inherit it
            for cameras, lidars in loads:
                found = sensors.run(cameras, lidars, seconds)
                results.append({"cores": cores, "cameras": cameras, "lidars": lidars, **found})
                say(_line(results[-1]))
    os.sched_setaffinity(0, everywhere)
    summary = {}
    for cores in counts:
        carried = [r for r in results if r["cores"] == cores and r["share"] >= CARRIED]
        for kind, other in (("cameras", "lidars"), ("lidars", "cameras")):
            most = max((r[kind] for r in carried if r[other] == 1), default=0)
            summary[f"{kind}_on_{cores}_cores"] = most
    result = {"benchmark": NAME, "machine": machine(), "summary": summary, "loads": results}
    groups = {
        f"{r['cameras']} C {r['lidars']} L": {f"{r['cores']} cores": r["age_ms"]} for r in results
    }
    for r in results:
        groups[f"{r['cameras']} C {r['lidars']} L"][f"{r['cores']} cores"] = r["age_ms"]
    plot_quantiles(deliver(result, args), groups, "message to feature, ms")
    return 0


class _Sensors:
    """Served models for the most sensors, and the messages to feed them."""

    def __init__(self, folder: Path, *, cameras: int, lidars: int) -> None:
        from edge_perception.bench._recording import load_clip
        from edge_perception.nodes.topics import raw

        clip = load_clip(folder)
        read_image, read_cloud = (
            raw.reader("sensor_msgs/msg/Image"),
            raw.reader("sensor_msgs/msg/PointCloud2"),
        )
        self._messages = {
            "camera": [read_image(data) for data in clip.images],
            "lidar": [read_cloud(data) for data in clip.clouds],
        }
        self._pipelines = {
            "camera": [_pipeline(folder, "camera", index) for index in range(cameras)],
            "lidar": [_pipeline(folder, "lidar", index) for index in range(lidars)],
        }

    def run(self, cameras: int, lidars: int, seconds: float) -> dict[str, Any]:
        """Feed in real time; return the share of frames that became features and their ages."""
        from edge_perception.encoders.worker import EncoderWorker

        lock, ages_ms, valid = threading.Lock(), [], [0]

        def sink(feature: Any) -> None:
            with lock:
                ages_ms.append((time.time_ns() - feature.stamp_ns) / 1e6)
                valid[0] += feature.valid

        workers = [
            (kind, pipeline, EncoderWorker(pipeline=pipeline, sink=sink, on_error=_raise))
            for kind, count in (("camera", cameras), ("lidar", lidars))
            for pipeline in self._pipelines[kind][:count]
        ]
        for _, _, worker in workers:
            worker.start()
        sent = self._feed(workers, seconds)
        time.sleep(0.3)
        for _, _, worker in workers:
            worker.stop()
        return {
            "sent": sent,
            "features": valid[0],
            "share": round(valid[0] / sent, 4),
            "age_ms": quantiles(ages_ms),
        }

    def _feed(self, workers: list[Any], seconds: float) -> int:
        from edge_perception.core.types import Instant

        start, sent = time.monotonic(), 0
        for tick in range(round(seconds * RATES_HZ["camera"])):
            time.sleep(max(0.0, start + tick / RATES_HZ["camera"] - time.monotonic()))
            for kind, pipeline, worker in workers:
                if kind == "lidar" and tick % 2:
                    continue
                message = self._messages[kind][tick % len(self._messages[kind])]
                now = Instant(node_ns=time.time_ns(), steady_ns=time.monotonic_ns())
                job = pipeline.accept(message, now.node_ns, kind, now)
                worker.put(job)
                sent += 1
        return sent


def _pipeline(folder: Path, modality: str, index: int) -> Any:
    from dataclasses import replace

    from edge_perception.bench._recording import load_clip, load_poses
    from edge_perception.core.clock import SystemClock
    from edge_perception.core.types import Geometry
    from edge_perception.encoders import encoders
    from edge_perception.encoders.pipeline import EncoderPipeline
    from edge_perception.encoders.serving import ServedModel
    from edge_perception.models.loading import ModelOptions
    from edge_perception.nodes.topics import raw
    from edge_perception.releases.loading import load_model

    spec = encoders()[modality]
    geometry = Geometry(T_base_sensor=load_poses(folder)[modality])
    if spec.read_calibration is not None:
        info = raw.reader("sensor_msgs/msg/CameraInfo")(load_clip(folder).camera_info)
        geometry = replace(spec.read_calibration(info), T_base_sensor=geometry.T_base_sensor)
    loaded = load_model(ModelOptions(model=spec.default_model), role=modality)
    return EncoderPipeline(
        source=f"{modality}_{index}",
        spec=spec,
        model=ServedModel.build(spec, loaded),
        geometry=geometry,
        clock=SystemClock(time.time_ns),
    )


def _raise(error: BaseException) -> None:
    raise error


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['cores']} cores, {found['cameras']} cameras, {found['lidars']} LiDARs: "
        f"{found['features']} of {found['sent']} frames, p50 {found['age_ms']['p50']:.1f} ms, "
        f"p99 {found['age_ms']['p99']:.1f} ms"
    )
