"""Brightness of returns, scaled to 0..1 whatever a driver means by it.

`intensity` is a reflectivity of 0 to 1 or 0 to 255 with most drivers, but a count of photons with
others (Ouster's `intensity` and `signal`, SICK's RSSI), and a reflectivity of 0 to 255 may lie in
16 bits (Ouster). Only its size tells them apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.scratch import Scratch
from edge_perception.encoders.lidar.layout import INTENSITY
from edge_perception.encoders.lidar.native import native

EIGHT_BITS = 256.0  # a value above it is of no scale of 8 bits
_BRIGHTEST_OF_ONE = 4.0  # as in `ep_intensity`
_SAMPLE = 4096  # values that tell the brightest, or the median
_AS_TRAINED = 2.0  # a median so many times that of training, or a part of it, is as good
_BRIGHTEST = 0.999  # quantile of them that becomes 1: a single reflector must not darken the rest


def unit_intensity(
    points: NDArray[np.void],
    index: NDArray[np.integer] | None,
    scratch: Scratch,
    notes: list[str],
) -> NDArray[np.float32] | None:
    """Return the brightness of points, (K,), 0 to 1; None: the cloud has none.

    The first of the fields in `INTENSITY` with a known scale counts. Where none has one, counts are
    scaled by the brightest of their own sweep, which is noted.

    Args:
        points: structured view of a cloud.
        index: points that are used; None: all.
        scratch: holds what is returned.
        notes: takes how it was read, where it is no reflectivity.
    """
    present = []
    for name in INTENSITY:
        if name not in (points.dtype.names or ()):
            continue
        if _is_negative(points[name]):
            notes.append(
                f"'{name}' is negative, as a level in dB is: it is no brightness, left out"
            )
        else:
            present.append(name)
    for name in present:
        values, largest = _read(points[name], index, scratch)
        if _is_scaled(points[name].dtype, largest):
            if name != present[0]:
                notes.append(f"'{present[0]}' is a count of photons: '{name}' is read instead")
            return values
    if not present:
        return None
    notes.append(
        f"'{present[0]}' is above 255, so it counts photons: scaled by the brightest of the sweep"
    )
    values, _ = _read(points[present[0]], index, scratch)
    sample = values[:: max(1, len(values) // _SAMPLE)]
    finite = sample[np.isfinite(sample)]
    top = float(np.quantile(finite, _BRIGHTEST)) if len(finite) else 0.0
    _scale(values, 1.0 / max(top, EIGHT_BITS))
    return values


def comparable(
    intensity: NDArray[np.float32], median: float, scratch: Scratch
) -> tuple[NDArray[np.float32] | None, str]:
    """Return brightness as the sensors of training have it, and how it was brought there.

    The same road has 0.03 of the full scale with one sensor and 0.3 with another. Where the median
    of a sweep is far from that of training, the sweep is scaled to it.

    Args:
        intensity: (N,), 0 to 1.
        median: of training, of what is above 0.
        scratch: holds what is returned, where that is another array.

    Returns:
        The brightness, None where all returns have the same; and a note, empty where it stays.
    """
    sample = intensity[:: max(1, len(intensity) // _SAMPLE)]
    if len(sample) and sample.min() == sample.max():
        return None, f"intensity is {sample[0]:.3g} everywhere: it tells nothing, left out"
    bright = sample[sample > 0]
    own = float(np.median(bright)) if len(bright) else 0.0
    if not own or 1 / _AS_TRAINED <= own / median <= _AS_TRAINED:
        return intensity, ""
    values = scratch.empty("comparable", intensity.shape, np.float32)
    np.copyto(values, intensity)
    _scale(values, median / own)
    how = "darker" if own > median else "brighter"
    return values, f"intensity made {how} to be as in training: it is of another scale"


def as_told(
    intensity: NDArray[np.float32] | None, factor: float, scratch: Scratch
) -> tuple[NDArray[np.float32] | None, str]:
    """Return brightness as a parameter wants it, and what that did; always said.

    Args:
        intensity: (N,), 0 to 1; None: the sweep has none.
        factor: on it; 0: left out.
        scratch: holds what is returned.
    """
    if not factor:
        return None, "intensity left out, as the parameter intensity says"
    if intensity is None:
        return None, "the sweep has no intensity, which the parameter intensity would scale"
    values = scratch.empty("comparable", intensity.shape, np.float32)
    np.copyto(values, intensity)
    _scale(values, factor)
    sample = values[:: max(1, len(values) // _SAMPLE)]
    full = float((sample >= 1.0).mean()) if len(sample) else 0.0
    note = f"intensity times {factor:g}, as the parameter intensity_scale says"
    return values, note + ("; most of it is now as bright as can be" if full > 0.5 else "")


def model_intensity(
    intensity: NDArray[np.float32] | None,
    factor: float | None,
    median: float,
    scratch: Scratch,
    *,
    limit: float = 0.0,
) -> tuple[NDArray[np.float32] | None, str]:
    """Return what a model is given of the brightness, and a note, empty where it stays as read.

    A network that has rarely seen a person in a coat with reflectors does not know one: what is
    above `limit` says no more than that.

    Args:
        intensity: (N,), 0 to 1; None: the sweep has none.
        factor: that parameters give; None: none do, and each sweep is made comparable.
        median: of training; 0: the model asks for nothing.
        scratch: holds what is returned, where that is another array.
        limit: what is brighter counts as so bright; 0: none.
    """
    if factor is not None:
        values, note = as_told(intensity, factor, scratch)
    elif intensity is None or not median:
        values, note = intensity, ""
    else:
        values, note = comparable(intensity, median, scratch)
    if values is not None and limit:
        limited = scratch.empty("limited", values.shape, np.float32)
        values = np.minimum(values, np.float32(limit), out=limited)
    return values, note


def _is_negative(field: NDArray) -> bool:
    """Whether most of what is not 0 lies below it; a little noise around 0 is no sign."""
    if field.dtype.kind == "u":
        return False
    sample = field[:: max(1, len(field) // _SAMPLE)]
    return bool(np.count_nonzero(sample < 0) > np.count_nonzero(sample > 0))


def _is_scaled(dtype: np.dtype, largest: float) -> bool:
    return dtype.itemsize == 1 or not largest > EIGHT_BITS


def _read(
    field: NDArray, index: NDArray[np.integer] | None, scratch: Scratch
) -> tuple[NDArray[np.float32], float]:
    """Return values and the largest; scaled where `_is_scaled`, else as they are."""
    compiled = native()
    read = None if compiled is None else compiled.intensity(field, index, EIGHT_BITS, scratch)
    if read is not None:
        return read
    chosen = field if index is None else field[index]
    values = scratch.empty("intensity", chosen.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(values, chosen, casting="unsafe")
    largest = float(values.max(where=np.isfinite(values), initial=0.0))
    if _is_scaled(field.dtype, largest):
        top = 255.0
        if field.dtype.itemsize == 1:
            top = float(np.iinfo(field.dtype).max)
        elif field.dtype.kind == "f" and _is_of_one(values, largest):
            top = 1.0
        _scale(values, 1.0 / top)
    return values, largest


def _is_of_one(values: NDArray[np.float32], largest: float) -> bool:
    """Whether a brightness is one of 0 to 1, in which a retroreflector may be a little brighter.

    One of 0 to 255 that stays so dark holds whole numbers.
    """
    if largest <= 1.0 or largest > _BRIGHTEST_OF_ONE:
        return largest <= 1.0
    finite = values[np.isfinite(values)]
    return bool(np.any(finite != np.floor(finite)))


def _scale(values: NDArray[np.float32], scale: float) -> None:
    compiled = native()
    if compiled is not None:
        compiled.scale(values, scale)
        return
    with np.errstate(over="ignore", invalid="ignore"):
        values *= np.float32(scale)
    np.fmax(values, np.float32(0.0), out=values)  # fmax: the one that is no NaN
    np.minimum(values, np.float32(1.0), out=values)
