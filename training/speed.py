"""Times of the bundles on one thread, in turns with YOLOX-nano: `python -m training.speed`.

On a machine with other work only the ratios mean something.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_perception.encoders.lidar.preprocess import rasterize
from edge_perception.models.manifest import load_bundle
from training import lidar
from training.bundle import GOLDEN_SEED, SET
from training.export import session
from training.simulated import cached_sweep


def calls(int8: Path | None, yolox: Path) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    folders = {role: SET / role for role in ("camera", "lidar", "audio", "fusion")}
    if int8 is not None:
        folders |= {f"{role} INT8": int8 / role for role in ("camera", "lidar")}
    result: dict[str, Callable[[], object]] = {}
    for name, folder in folders.items():
        bundle = load_bundle(folder)
        assert bundle.manifest.golden is not None
        with np.load(folder / bundle.manifest.golden.inputs) as data:
            inputs = dict(data)
        loaded = session(str(bundle.model_path))
        result[name] = lambda loaded=loaded, inputs=inputs: loaded.run(None, inputs)
    sweep = cached_sweep(GOLDEN_SEED)
    result["lidar raster"] = lambda: rasterize(sweep.xyz_m, sweep.intensity, lidar.CONFIG)
    reference = session(str(yolox))
    image = {reference.get_inputs()[0].name: np.zeros((1, 3, 416, 416), np.float32)}
    result["YOLOX-nano 416"] = lambda: reference.run(None, image)
    return result


def main() -> None:
    """Time everything in turns and print medians, quickest runs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yolox", type=Path, required=True, help="YOLOX-nano as ONNX")
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    timed = calls(arguments.int8, arguments.yolox)
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(arguments.rounds):
        for name, call in timed.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    reference = np.array(times["YOLOX-nano 416"])
    for name, values in times.items():
        ratio = float(np.median(np.array(values) / reference))
        print(f"{name:16} median {np.median(values):6.2f} ms, quickest {min(values):6.2f} ms, "
              f"ratio {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
