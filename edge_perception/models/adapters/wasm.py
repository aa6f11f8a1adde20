"""Adapters that are WebAssembly modules inside the bundle: a new family without new code here.

The module turns the tensors of a frame into rows of boxes; thresholds, suppression, classes and
the way back into the image are the host's, as for every detector (docs/adapters.md). It runs in a
sandbox by wasmtime (extra `wasm`) with limits of fuel, memory and time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.models.adapters import AdapterSpec
from edge_perception.models.adapters._boxes import (
    BoxDecoder,
    BoxOptions,
    Candidates,
    declared,
    input_size,
    output_of,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._wasm_host import Limits, WasmModule
from edge_perception.models.manifest import Manifest

_COLUMNS = 6  # x_min, y_min, x_max, y_max, score, label


@dataclass(frozen=True, kw_only=True)
class WasmOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    module: str = "adapter.wasm"  # file of the bundle
    outputs: tuple[str, ...]  # graph outputs that the module gets, in this order
    options: Mapping[str, float] = field(default_factory=dict)  # numbers, in the order of names
    fuel: int = parameter(50_000_000, "instructions a frame, roughly", low=1000, high=10**12)
    memory_mb: int = parameter(16, "memory of the module", unit="MB", low=1, high=1024)
    time_ms: float = parameter(50.0, "time a frame", unit="ms", low=1.0, high=10_000.0)
    rows: int = parameter(4096, "boxes that the module may give", low=1, high=100_000)


class WasmDecoder(BoxDecoder):
    """Decodes one model's outputs by its module."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(WasmOptions, manifest.postprocessing, where, error=ManifestError)
        super().__init__(manifest, options, self._boxes, where)
        self._wasm = options
        self._shapes = {
            name: declared(manifest, name, f"{where}.outputs") for name in options.outputs
        }
        self._module = WasmModule(
            f"{manifest.name}: {options.module}",
            manifest.read(options.module),
            limits=Limits(
                fuel=options.fuel,
                memory_bytes=options.memory_mb << 20,
                time_s=options.time_ms / 1e3,
            ),
            shapes=tuple(self._shapes.values()),
            header=(*input_size(manifest, where), len(manifest.labels)),
            options=[value for _, value in sorted(options.options.items())],
            rows=options.rows,
            columns=_COLUMNS,
        )

    def _boxes(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        tensors = [output_of("wasm", outputs, name, shape) for name, shape in self._shapes.items()]
        rows = self._module(tensors, least)
        if not np.isfinite(rows).all():
            raise InvalidOutputError(f"wasm: {self._wasm.module}: a box holds NaN or Inf")
        return Candidates(
            boxes=rows[:, :4].astype(np.float64),
            scores=rows[:, 4].astype(np.float64),
            labels=np.rint(np.clip(rows[:, 5], -1, 1e9)).astype(np.int64),
        )


SPEC = AdapterSpec(name="wasm", roles=("camera",), make_decoder=WasmDecoder, spelling=coco_spelling)
