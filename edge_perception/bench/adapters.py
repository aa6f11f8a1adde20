"""Outputs of a detector to boxes: the adapter in WebAssembly against its twin in Python.

Outputs of the size of YOLOX-nano at 416, of which 60 cells are above the threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import edge_perception.models.adapters as room
from edge_perception.bench._report import (
    add_arguments as add_common,
)
from edge_perception.bench._report import deliver, machine, plot_quantiles
from edge_perception.bench._timing import compare, ratio
from edge_perception.core.schema import decode
from edge_perception.encoders.camera.letterbox import fit
from edge_perception.models.adapters import adapters
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.manifest import Manifest

NAME = "adapters"
HELP = "outputs of a detector to boxes: an adapter in WebAssembly against its twin in Python"
WASM, PYTHON = "wasm", "python"
_SIDE, _CELLS, _STRONG = 416, 3549, 60
_MODULE = Path(room.__file__).parent / "_wasm" / "yolox.wasm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    rounds, calls = (5, 20) if args.quick else (20, 100)
    found = compare(_ways(), rounds=rounds, calls=calls)
    summary = {
        "wasm_ratio": ratio(found, WASM, PYTHON),
        "wasm_us": found[WASM]["us"]["p50"],
        "python_us": found[PYTHON]["us"]["p50"],
    }
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summary,
        "cases": {"YOLOX": found},
    }
    groups = {"YOLOX": {way: of["us"] for way, of in found.items()}}
    plot_quantiles(deliver(result, args), groups, "a frame, us")
    return 0


def _ways() -> dict[str, Callable[[], Any]]:
    strides = {"stride0": 8.0, "stride1": 16.0, "stride2": 32.0, "decoded": 0.0}
    module = {"module": _MODULE.name, "outputs": ["output"], "options": strides}
    twin = adapters()["yolox"].make_decoder(_manifest("yolox", {}))
    ours = adapters()["wasm"].make_decoder(_manifest("wasm", module))
    outputs = {"output": _head()}
    letterbox = fit((1920, 1080), (_SIDE, _SIDE))
    assert len(ours(outputs, letterbox).image_objects) == len(
        twin(outputs, letterbox).image_objects
    )
    return {
        WASM: lambda: ours(outputs, letterbox),
        PYTHON: lambda: twin(outputs, letterbox),
    }


def _head() -> np.ndarray:
    rng = np.random.default_rng(7)
    head = rng.uniform(0.0, 0.05, (1, _CELLS, 85)).astype(np.float32)
    head[..., :4] = rng.uniform(-0.5, 1.5, (1, _CELLS, 4))
    strong = rng.choice(_CELLS, _STRONG, replace=False)
    head[0, strong, 4] = 0.95
    head[0, strong, 5 + rng.integers(0, 80, _STRONG)] = 0.9
    return head


def _manifest(adapter: str, postprocessing: dict[str, Any]) -> Manifest:
    tensors = {"inputs": ("images", (1, 3, _SIDE, _SIDE)), "outputs": ("output", (1, _CELLS, 85))}
    fields = {
        "schema_version": 1,
        "name": "bench",
        "role": "camera",
        "version": "1.0.0",
        "adapter": adapter,
        "files": {"model.onnx": {"sha256": "", "size": 0}},
        "labels": list(COCO_LABELS),
        "runtime": {"opset": 17},
        "provenance": {"licence": "Apache-2.0"},
        "postprocessing": postprocessing,
        **{
            key: [{"name": name, "dtype": "float32", "shape": list(shape)}]
            for key, (name, shape) in tensors.items()
        },
    }
    manifest = decode(Manifest, fields, "bench")
    return manifest.with_reader(lambda _: _MODULE.read_bytes())
