"""INT8 variants by static quantisation: `python -m training.quantize --into training_out/int8`.

Calibration frames are simulated ones that were trained on. The quantised set keeps the feature
space: its encoders can stand beside the FP32 fusion model.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.encoders.lidar.preprocess import rasterize
from edge_perception.models.graph import graph_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import load_bundle
from edge_perception.models.writing import write_bundle
from edge_perception.optimize.methods import METHODS, Quantiser, prepared
from training import camera, lidar
from training.bundle import SET, plain
from training.camera import training_picture
from training.export import session
from training.simulated import cached_sweep

# How ranges are found, by role; audio and fusion take 1 to 3 ms: nothing to win.
RANGES = {"camera": "mse", "lidar": "minmax"}
_NOTE = """
## INT8

This is the INT8 variant of the model above: convolutions quantised statically with simulated
training frames, weights by channel with seven bits, activations by tensor. The metrics above are
those of FP32; what INT8 changes is in docs/models.md.
"""


def _frames(role: str, count: int) -> Iterator[dict[str, NDArray]]:
    for seed in range(camera.FIRST_SEED, camera.FIRST_SEED + count):
        if role == "camera":
            picture = training_picture(seed - camera.FIRST_SEED, ahead=seed % 2 == 0)
            grid = lift_grid(picture.geometry, camera.LIFT, camera.PLACEMENT)
            yield {"images": camera.image_tensor(picture.bgr)[None], "grid": grid}
        else:
            sweep = cached_sweep(seed)
            yield {"raster": rasterize(sweep.xyz_m, sweep.intensity, lidar.CONFIG)[None]}


def quantized(role: str, count: int) -> bytes:
    """Return the INT8 model of a bundle: weights by channel, activations by tensor."""
    graph = prepared(whole_model(load_bundle(SET / role)))
    quantiser = Quantiser(graph, list(_frames(role, count)))
    return quantiser.static(METHODS[RANGES[role]], exclude=first_and_last(graph_of(role, graph)))


def first_and_last(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolution at the input and of those whose results are outputs.

    They are a small part of the time, and the most sensitive one.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    found = {next(node.name for node in model.graph.node if node.op_type == "Conv")}
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            found.add(node.name)
        else:
            waiting += node.input
    return sorted(found)


def speed(role: str, model: bytes, runs: int = 30) -> dict[str, float]:
    """Return the median times of FP32 and INT8 on one thread, run in turns, ms."""
    bundle = load_bundle(SET / role)
    inputs = next(_frames(role, 1))
    sessions = {"fp32": session(str(bundle.model_path)), "int8": session(model)}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(runs):
        for name, loaded in sessions.items():
            start = time.perf_counter()
            loaded.run(None, inputs)
            times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    return {**medians, "ratio": medians["int8"] / medians["fp32"]}


def calibration_set(role: str, count: int) -> dict[str, Any]:
    """Say on which frames the ranges were measured."""
    digest = hashlib.sha256()
    for arrays in _frames(role, count):
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "name": f"simulated {role} frames",
        "sha256": digest.hexdigest(),
        "samples": count,
        "source": f"training/quantize.py, seeds {camera.FIRST_SEED} and on",
    }


def write(role: str, model: bytes, into: Path, count: int) -> None:
    """Write the quantised bundle with golden data of its own."""
    bundle = load_bundle(SET / role)
    manifest = plain(asdict(bundle.manifest))
    for name in ("files", "golden"):
        del manifest[name]
    manifest["name"] = f"{manifest['name']}_int8"
    manifest["runtime"]["precision"] = "int8"
    manifest["calibration_set"] = calibration_set(role, count)
    # Rounding may fall to the other side on another processor; the map as a whole must not change.
    gate = {"absolute_tolerance": 10.0, "cosine": 0.99}
    manifest["gates"]["outputs"] = {spec["name"]: gate for spec in manifest["outputs"]}
    card = (bundle.path / "MODEL_CARD.md").read_text() + _NOTE
    assert bundle.manifest.golden is not None
    with np.load(bundle.path / bundle.manifest.golden.inputs) as inputs:
        write_bundle(
            into / role, manifest=manifest, model=model, golden_inputs=dict(inputs),
            files={"MODEL_CARD.md": card.encode()}, replace=True,
        )  # fmt: skip


def main() -> None:
    """Quantise, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("training_out/int8"))
    parser.add_argument("--calibration-frames", type=int, default=120)
    parser.add_argument("--whole-set", action="store_true", help="copy audio and fusion too")
    arguments = parser.parse_args()
    for role in RANGES:
        model = quantized(role, arguments.calibration_frames)
        times = speed(role, model)
        write(role, model, arguments.into, arguments.calibration_frames)
        print(f"{role}: {len(model)} bytes, {times}", flush=True)
    for role in ("audio", "fusion"):  # as they are, for `edge-perception evaluate --int8`
        if arguments.whole_set:
            shutil.copytree(SET / role, arguments.into / role, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
