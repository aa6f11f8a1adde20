"""What values the tensors of a graph take, as each way of calibration counts them."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("MatMul", "Gemm")
ACTIVATIONS = ("Relu", "Clip")
_HISTOGRAM_CHUNK = 4  # frames whose tensors are held at a time
_CLIPS = np.linspace(1.0, 0.1, 46)  # of the whole range, tried as its end
Frames = Sequence[Mapping[str, NDArray]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way."""

    name: str
    kind: str  # static, dynamic, fp16, int4, nncf
    ranges: str = ""  # of static: minmax, percentile, entropy or mse
    corrected: bool = False  # of static: what the layers lose in the mean is given back
    symmetric: bool = False  # activations; weights always are
    per_channel: bool = True
    text: str = ""

    @property
    def precision(self) -> str:
        """As the manifest of a bundle says it."""
        return {"fp16": "fp16"}.get(self.kind, "int8")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the libraries print about themselves off the terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


class _Reader:
    """Frames one after the other, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, frames: Frames) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray] | None:
        frame = next(self._frames, None)
        return None if frame is None else {name: np.asarray(a) for name, a in frame.items()}

    def __iter__(self) -> Iterator[dict[str, NDArray]]:
        while (frame := self.get_next()) is not None:
            yield frame


def measure_ranges(data: bytes, frames: Frames, method: Method) -> Any:
    """Return what values the tensors take on frames, as the method counts them."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    options: dict[str, Any] = {"symmetric": method.symmetric}
    kinds = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
        "mse": CalibrationMethod.Percentile,  # for its histograms
    }
    if method.ranges == "minmax":
        # The mean of the frames' ranges: one frame with an outlier does not make all coarse.
        options["moving_average"] = True
    if method.ranges == "percentile":
        options["percentile"] = 99.99
    if method.ranges == "mse":
        options["percentile"] = 100.0
    chunk = len(frames) if method.ranges == "minmax" else _HISTOGRAM_CHUNK
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        calibrator = create_calibrator(
            path, [*CONVOLUTIONS, *PRODUCTS, *ACTIVATIONS],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=kinds[method.ranges], extra_options=options,
        )  # fmt: skip
        for start in range(0, len(frames), chunk):
            calibrator.collect_data(_Reader(frames[start : start + chunk]))
        found = calibrator.compute_data()
    if method.ranges == "mse":
        for name, (counts, edges, least, most) in (
            (name, values[:4]) for name, values in calibrator.collector.histogram_dict.items()
        ):
            low, high = least_squares(counts, edges, (float(least), float(most)))
            tensor = found.data[name]
            tensor.lowest, tensor.highest = np.array(low, np.float32), np.array(high, np.float32)
    return found


def least_squares(
    counts: NDArray, edges: NDArray, seen: tuple[float, float]
) -> tuple[float, float]:
    """Return the range of 255 steps with the least squared error: rounding inside, clipping out.

    Zero costs nothing, as it is always a step of its own.

    Args:
        counts: of a histogram.
        edges: one more; they may lie far outside of what was seen.
        seen: the least and the greatest value.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    weights = np.where((edges[:-1] <= 0) & (edges[1:] >= 0), 0, counts).astype(np.float64)
    lowest, highest = min(seen[0], 0.0), max(seen[1], 0.0)
    best, found = np.inf, (lowest, highest)
    for low in lowest * _CLIPS if lowest < 0 else [0.0]:
        for high in highest * _CLIPS if highest > 0 else [0.0]:
            step = (high - low) / 255
            beyond = np.maximum(centres - high, 0) + np.maximum(low - centres, 0)
            error = float((weights * (beyond**2 + (beyond == 0) * step**2 / 12)).sum())
            if error < best:
                best, found = error, (float(low), float(high))
    return found
