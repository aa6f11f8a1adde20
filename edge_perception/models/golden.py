"""Golden inputs and outputs of a bundle: recorded when it was made, compared when it is checked."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import BundleError
from edge_perception.models.manifest import Bundle, Gates, TensorSpec

_PART = 16  # of what gates allow is given up for outputs that take half the room
_FINEST = 1024  # of an output's size: wide gates, as of quantised models, go by direction
_DAMAGED = (OSError, ValueError, KeyError, RuntimeError, EOFError)
_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far one output is from its golden one."""

    output: str
    absolute: float  # largest difference; NaN where one has NaN and the other has not
    passed: bool
    reason: str = ""
    cosine: float = float("nan")  # similarity of direction, 1: the same


def read_golden(bundle: Bundle) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Return the golden inputs and outputs of a bundle.

    Raises:
        BundleError: there are none, or they do not fit the manifest.
    """
    golden = bundle.manifest.golden
    if golden is None:
        raise BundleError(f"{bundle.manifest.name}: manifest.golden: expected files, got none")
    inputs = _read(bundle, golden.inputs, bundle.manifest.inputs)
    return inputs, _read(bundle, golden.outputs, bundle.manifest.outputs)


def compare_golden(bundle: Bundle, backend: Backend) -> list[Deviation]:
    """Run the golden inputs and compare with the golden outputs, within the manifest's gates.

    Raises:
        BundleError: the bundle has no golden data.
        BackendError: the run failed.
    """
    inputs, expected = read_golden(bundle)
    got = backend.infer(inputs)
    return [
        compare_arrays(name, got[name], values, bundle.manifest.gates)
        for name, values in expected.items()
    ]


def generated_inputs(specs: tuple[TensorSpec, ...]) -> dict[str, NDArray]:
    """Return arrays of the right shapes: smooth noise from 0 to 1 (integers: 0 and 1).

    The same for ever: PCG64 of one seed, linear interpolation.
    """
    rng = np.random.default_rng(0)
    return {spec.name: _noise(spec, rng) for spec in specs}


def _noise(spec: TensorSpec, rng: np.random.Generator) -> NDArray:
    if len(spec.shape) < 2 or np.dtype(spec.dtype).kind != "f":
        values = rng.random(spec.shape)
        return (values if np.dtype(spec.dtype).kind == "f" else values > 0.5).astype(spec.dtype)
    rows, columns = spec.shape[-2:]
    coarse = rng.random((*spec.shape[:-2], rows // 16 + 2, columns // 16 + 2))
    row, column = np.arange(rows) / 16, np.arange(columns) / 16
    low, left = row.astype(int), column.astype(int)
    down, right = (row - low)[:, None], column - left
    top = coarse[..., low, :] * (1 - down) + coarse[..., low + 1, :] * down
    smooth = top[..., left] * (1 - right) + top[..., left + 1] * right
    return np.ascontiguousarray(np.round(smooth, 3).astype(spec.dtype))


def _read(bundle: Bundle, file: str, specs: tuple[TensorSpec, ...]) -> dict[str, NDArray]:
    data = bundle.read(file)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*_DAMAGED, *_BAD_ARCHIVE) as error:
        raise BundleError(f"{file}: expected a NumPy archive: {error}") from error
    for spec in specs:
        array = arrays.get(spec.name)
        if array is None or array.shape != spec.shape or array.dtype != spec.dtype:
            got = "nothing" if array is None else f"{array.shape} {array.dtype}"
            raise BundleError(f"{file}: '{spec.name}' expects {spec.shape} {spec.dtype}, got {got}")
    return {spec.name: arrays[spec.name] for spec in specs}


def compare_arrays(name: str, got: NDArray, expected: NDArray, gates: Gates) -> Deviation:
    """Compare one output with what it should be, by the gates of that output."""
    if got.shape != expected.shape:
        return Deviation(
            output=name,
            absolute=float("nan"),
            passed=False,
            reason=f"expected shape {expected.shape}, got {got.shape}",
        )
    absolute, relative = _tolerances(name, gates)
    wanted, found = expected.astype(np.float64), got.astype(np.float64)
    difference = np.abs(found - wanted)
    bad = ~(difference <= absolute + relative * np.abs(wanted))  # also NaN
    count = int(np.count_nonzero(bad))
    cosine = _cosine(found, wanted)
    least = gates.outputs[name].cosine if name in gates.outputs else gates.cosine
    reasons = []
    if count:
        reasons.append(
            f"{count} of {bad.size} values differ by more than the gates allow "
            f"({absolute:g} + {relative:g} of the value)"
        )
    if least and not cosine >= least:
        reasons.append(f"cosine {cosine:.6f} < {least:g}")
    return Deviation(
        output=name,
        absolute=float(difference.max(initial=0.0)),
        cosine=cosine,
        passed=not reasons,
        reason="; ".join(reasons),
    )


def _tolerances(name: str, gates: Gates) -> tuple[float, float]:
    gate = gates.outputs.get(name, gates)
    return gate.absolute_tolerance, gate.relative_tolerance


def rounded(name: str, values: NDArray, gates: Gates) -> NDArray:
    """Return an output without digits that its gates are far from seeing.

    They are noise, so that nothing shrinks them: neither a bundle nor the delta of a release, whose
    golden outputs are all new.
    """
    absolute, relative = _tolerances(name, gates)
    if values.dtype.kind != "f" or not absolute > 0.0:
        return values
    wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    size = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    if not size > 0.0:
        return values
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = np.minimum((absolute + relative * np.abs(wide)) / _PART, size / _FINEST)
        step = np.exp2(np.floor(np.log2(allowed)))
        made = (np.round(wide / step) * step).astype(values.dtype)
    return np.where(np.isfinite(made), made, values)


def _cosine(one: NDArray, other: NDArray) -> float:
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norm if norm else float(np.array_equal(one, other))


def save_arrays(path: Path, arrays: Mapping[str, NDArray], *, small: bool = False) -> None:
    """Write arrays as a compressed .npz; the same arrays give the same bytes.

    NumPy's own savez takes names as keyword arguments, which some tensor names cannot be.

    Args:
        path: of the archive.
        arrays: by name.
        small: by LZMA. Not for inputs: those of the next release are the same bytes, which its
            delta does not tell again.
    """
    method = zipfile.ZIP_LZMA if small else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            # A ZipInfo made of a name alone has a fixed date.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = method
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
