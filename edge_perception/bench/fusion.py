"""What the logic of fusion costs without any model: one offer with everything it causes.

Sources deliver at 10 Hz, evenly spread over
the period, each view carries all states; objects are none, so what is timed is alignment, states
and bookkeeping. For scale, the same process times the conversion of one small dictionary to JSON.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from typing import Any

import numpy as np

from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, median, plot_quantiles, quantiles
from edge_perception.core.types import Feature, Instant, ModelVersion
from edge_perception.fusion.config import FusionConfig, SourceConfig
from edge_perception.fusion.fusion import Fusion

NAME = "fusion"
HELP = "the logic of fusion without any model: one offered feature with all it causes"
START_NS = 10**18
PERIOD_NS = 10**8
VERSION = ModelVersion(role="camera", name="net", version="1.0.0", sha256="0" * 64)


def offers_us(sources: int, cycles: int) -> tuple[np.ndarray, float]:
    """Return the wall time of each offer with the polling after it, and the mean CPU time, us.

    The CPU time is that of this thread: it does not see what else the machine was busy with.
    """
    names = [f"lidar_{index}" for index in range(sources)]
    configs = tuple(SourceConfig(source=name, modality="lidar") for name in names)
    fusion = Fusion(
        config=FusionConfig(sources=configs), now=Instant(node_ns=START_NS, steady_ns=0)
    )
    moments, features = [], []
    for index in range(cycles * sources):
        at_ns = index * PERIOD_NS // sources + 1
        now = Instant(node_ns=START_NS + at_ns, steady_ns=at_ns)
        moments.append(now)
        features.append(
            Feature(
                stamp_ns=now.node_ns,
                frame_id="base_link",
                source=names[index % sources],
                modality="lidar",
                model=VERSION,
                sequence=index,
            )
        )
    took = []
    cpu_begin_s = time.thread_time()
    for feature, now in zip(features, moments, strict=True):
        begin = time.perf_counter_ns()
        fusion.offer(feature, now)
        cycle = fusion.close(now)
        if cycle is None:
            fusion.next_deadline_ns()
        else:
            fusion.fuse(cycle)
        took.append(time.perf_counter_ns() - begin)
    cpu_us = (time.thread_time() - cpu_begin_s) / len(took) * 1e6
    return np.array(took) / 1e3, cpu_us


def yardstick_us(count: int = 2000) -> float:
    """Return the median time of encoding a small dictionary as JSON, microseconds."""
    sample = {f"key {index}": index * 1.5 for index in range(20)}
    took = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        json.dumps(sample)
        took.append(time.perf_counter_ns() - begin)
    return float(np.median(took)) / 1e3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    cycles, rounds = (500, 5) if args.quick else (2000, 7)
    found: dict[int, dict[str, Any]] = {}
    for sources in (1, 3, 8):
        offers_us(sources, 100)
        turns = [offers_us(sources, cycles // sources) for _ in range(rounds)]
        found[sources] = {
            "us": quantiles(np.concatenate([took for took, _ in turns])),
            "cpu_us": median(cpu for _, cpu in turns),
            "allocated_bytes": _allocated(sources),
        }
    summary = {
        "sources_3_cpu_us": found[3]["cpu_us"],
        "sources_8_cpu_us": found[8]["cpu_us"],
        "sources_3_p50_us": found[3]["us"]["p50"],
        "sources_8_p50_us": found[8]["us"]["p50"],
        "yardstick_json_20_us": round(yardstick_us(), 2),
    }
    result = {"benchmark": NAME, "machine": machine(), "summary": summary, "sources": found}
    groups = {f"{sources} sources": {"logic": of["us"]} for sources, of in found.items()}
    plot_quantiles(deliver(result, args), groups, "an offered feature, us")
    return 0


def _allocated(sources: int) -> int:
    """Return by how many bytes the memory in use grows over a thousand cycles."""
    tracemalloc.start()
    try:
        offers_us(sources, 50)
        before = tracemalloc.get_traced_memory()[0]
        offers_us(sources, 1000 // sources)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
