"""What the logic of fusion costs without any model: one offer with everything it causes.

Run ``python test/bench/fusion_logic.py [OUT.json]``. Sources deliver at 10 Hz, evenly spread over
the period, each view carries all states; objects are none, so what is timed is alignment, states
and bookkeeping. For scale, the same process times the conversion of one small dictionary to JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from edge_perception.core.types import Feature, Instant, ModelVersion
from edge_perception.fusion.config import FusionConfig, SourceConfig
from edge_perception.fusion.fusion import Fusion

START_NS = 10**18
PERIOD_NS = 10**8
VERSION = ModelVersion(role="camera", name="net", version="1.0.0", sha256="0" * 64)


def offers_us(sources: int, cycles: int) -> tuple[np.ndarray, float]:
    """Return the wall time of each offer with the polling after it, and the mean CPU time, us.

    The CPU time is that of this thread: it does not see what else the machine was busy with.
    """
    names = [f"lidar_{index}" for index in range(sources)]
    configs = tuple(SourceConfig.for_modality(name, "lidar") for name in names)
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


def main() -> None:
    """Measure, print and save."""
    result: dict[str, object] = {"yardstick_json_20_us": round(yardstick_us(), 2)}
    for sources in (1, 3, 8):
        offers_us(sources, 100)
        took, cpu_us = offers_us(sources, 2000)
        p50, p95, p99 = np.percentile(took, [50, 95, 99])
        result[f"sources_{sources}"] = {
            "cpu_us_mean": round(cpu_us, 2),
            "p50": round(float(p50), 2),
            "p95": round(float(p95), 2),
            "p99": round(float(p99), 2),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
