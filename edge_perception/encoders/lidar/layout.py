"""sensor_msgs/PointCloud2 as one structured view over its bytes, whatever its metadata say.

The data decides where the metadata contradict it and only one reading is left; that reading is
noted. Where several are left the cloud is refused by the name of the field that is wrong.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError

# sensor_msgs/PointField.datatype -> NumPy type without byte order
_DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_PCL = (9, 10, 11)  # pcl::PCLPointField: int64, uint64, bool
INTENSITY = (
    "intensity", "intensities", "i", "reflectivity", "reflectance", "remission", "signal",
)  # fmt: skip
RING = ("ring", "channel", "line", "laser_id")
TIME = ("time", "t", "timestamp", "time_offset", "time_stamp", "offset_time")
# Of radars (smartmicro, TI, Continental, Arbe, CARLA, nuScenes): no LiDAR has them, but for those
# that measure speed by frequency, whose clouds are as dense as any.
_RADAR = frozenset(
    ("rcs", "snr", "doppler", "radial_speed", "radial_velocity", "v_doppler_mps", "dyn_prop",
     "dynprop")
)  # fmt: skip
_RADAR_MOST = 4096  # points
_COORDINATES = tuple("xyz")
_KNOWN = frozenset((*_COORDINATES, *INTENSITY, *RING, *TIME))
MAX_POINTS = 2**24
MAX_POINT_STEP = 4096  # bytes; the largest drivers use below 100
_MOST_PADDING = 64  # bytes of a row; more of it, as much for each point, is of the points
_ORDER_SAMPLE = 64  # points whose bytes are read in both orders
_PLAUSIBLE_M = (1e-4, 1e4)  # coordinates of a sensor; of bytes read backwards 1 in 10 is


def cloud_view(message: Any, notes: list[str] | None = None) -> NDArray[np.void]:
    """View the message as one structured array, (N,); copied only where rows are padded.

    Args:
        message: of rclpy or of a bag reader.
        notes: takes what was read otherwise than the metadata say.

    Raises:
        InvalidFrameError: no x, y, z, no point, or layout and length of the data do not fit.
    """
    notes = [] if notes is None else notes
    width, height = int(message.width), int(message.height)
    point_step = int(message.point_step)
    if width * height == 0:
        raise InvalidFrameError(f"point cloud: expected points, got {width} x {height}")
    if width * height > MAX_POINTS:
        raise InvalidFrameError(
            f"point cloud: expected at most {MAX_POINTS} points, got {width} x {height}"
        )
    if point_step > MAX_POINT_STEP:
        raise InvalidFrameError(
            f"point cloud: point_step expects at most {MAX_POINT_STEP} bytes, got {point_step}"
        )
    dtype = _dtype(message, point_step, notes)
    try:
        data = np.frombuffer(message.data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise InvalidFrameError(
            f"point cloud: data expects a buffer of bytes, got {type(message.data).__name__}"
        ) from error
    row_step = _row_step(message, data.size, notes)
    _check_whole_points(message, data)
    view: NDArray[np.void] = np.ndarray(
        (height, width), dtype, data, strides=(row_step, point_step)
    )
    return _in_right_order(view.reshape(-1), notes)


def radar_told(message: Any) -> str:
    """Say that a cloud is a radar's by its fields and how few points it has; empty: it is not."""
    if int(message.width) * int(message.height) > _RADAR_MOST:
        return ""
    found = [field.name for field in message.fields if field.name.lower() in _RADAR]
    if not found:
        return ""
    return (
        f"the cloud is a radar's by its fields ({', '.join(found)}): the model is made for sweeps "
        "of a LiDAR"
    )


def _check_whole_points(message: Any, data: NDArray[np.uint8]) -> None:
    """Refuse data that has more bytes for every point than point_step says, all of them in use.

    Either a point is larger (drivers that declare x, y, z and copy their own structure) or there
    are more points: read by the wrong one of the two, every point but the first is somewhere else.

    Raises:
        InvalidFrameError: the length of the data can mean both.
    """
    width, height, point_step = int(message.width), int(message.height), int(message.point_step)
    row_step, points = int(message.row_step), width * height
    held, rest = divmod(data.size, points)
    if rest or not point_step < held <= MAX_POINT_STEP:
        return
    if height > 1 and row_step > width * point_step and row_step * height == data.size:
        return  # rows say where they end
    if data[points * point_step :].any():
        raise InvalidFrameError(
            f"point cloud: data has {held} bytes for each of {message.width} x {message.height} "
            f"points, point_step says {point_step}: one of width, height and point_step is wrong"
        )


def _row_step(message: Any, size: int, notes: list[str]) -> int:
    """Return the bytes from one row to the next.

    One row has no next one, and of rows without a gap the length of the data is exact: in both
    cases row_step decides nothing. So width and height of such a cloud may even be swapped.
    """
    width, height, point_step = int(message.width), int(message.height), int(message.point_step)
    row_bytes, row_step = width * point_step, int(message.row_step)
    packed = row_bytes * height
    if size < packed:
        raise InvalidFrameError(
            f"point cloud: data expects at least {packed} bytes for {width} x {height} points of "
            f"{point_step} bytes, got {size}"
        )
    padding = row_step - row_bytes
    if padding > _MOST_PADDING and row_step * height == size and row_step % width == 0:
        raise InvalidFrameError(
            f"point cloud: point_step expects {row_step // width} bytes, as row_step and the "
            f"{size} bytes of data have it, got {point_step}"
        )
    behind = size - row_step * height
    if height > 1 and 0 < behind < row_bytes and behind % height == 0:
        raise InvalidFrameError(
            f"point cloud: row_step expects {size // height} bytes, as {height} rows fill the "
            f"{size} bytes of data, got {row_step}"
        )
    if row_step >= row_bytes and row_step * (height - 1) + row_bytes <= size:
        if size >= row_step * height + row_bytes:
            rest = "the data behind the last row is left out: width, height or the data is stale"
            notes.append(rest)
        return row_step
    if height == 1 or size == packed:
        why = "of one row" if height == 1 else "of rows without a gap"
        notes.append(f"row_step is no length of a row: a cloud {why} needs none")
        return row_bytes
    raise InvalidFrameError(
        f"point cloud: row_step expects {row_bytes} bytes or more, and {height} rows of it in the "
        f"{size} bytes of data, got {row_step}"
    )


def _dtype(message: Any, point_step: int, notes: list[str]) -> np.dtype:
    order = ">" if message.is_bigendian else "<"
    fields: dict[str, tuple[str, int]] = {}
    names = _names(message.fields, notes)
    for field in message.fields:
        name = names.get(field.name, "")
        if not name or _is_left_out(field, name, point_step, notes):
            continue
        kind, offset = _kind(field, name, notes), int(field.offset)
        if offset + int(kind[1]) > point_step:
            raise InvalidFrameError(
                f"point cloud: field '{field.name}' ends at byte {offset + int(kind[1])}, "
                f"a point has {point_step}"
            )
        if fields.get(name, (order + kind, offset)) != (order + kind, offset):
            raise InvalidFrameError(
                f"point cloud: field '{field.name}' expects one place, got bytes "
                f"{fields[name][1]} and {offset}"
            )
        fields[name] = (order + kind, offset)
    missing = [axis for axis in "xyz" if axis not in fields]
    if missing:
        got = ", ".join(field.name for field in message.fields) or "none"
        raise InvalidFrameError(
            f"point cloud: expected fields x, y, z; {', '.join(missing)} missing, got {got}"
        )
    _check_overlap(fields)
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": point_step,
        }
    )


def _names(fields: Any, notes: list[str]) -> dict[str, str]:
    """Return our name of each field that is read, by the message's; capitals are noted."""
    found = {field.name: field.name for field in fields if field.name in _KNOWN}
    for field in fields:
        name = field.name.lower()
        if name not in found.values() and name in (*_COORDINATES, *INTENSITY):
            found[field.name] = name
            notes.append(f"field '{field.name}' is read as {name}")
    return found


def _is_left_out(field: Any, name: str, point_step: int, notes: list[str]) -> bool:
    """Whether a field that places nothing is of a kind that cannot be read here.

    PointField has no integers of 64 bits: times of that size come as two of 32, or with a number
    of PCL's own (9 to 11: int64, uint64, bool). The points are where they are without them.
    """
    if name in _COORDINATES or name in INTENSITY:
        return False
    kind = _DATATYPES.get(int(field.datatype))
    count = int(field.count)
    fits = int(field.offset) + count * (int(kind[1]) if kind else 1) <= point_step
    if (
        not fits
        or (kind is not None and count <= 1)
        or (kind is None and field.datatype not in _PCL)
    ):
        return False
    notes.append(f"field '{field.name}' is of a kind that PointField does not have: not read")
    return True


def _kind(field: Any, name: str, notes: list[str]) -> str:
    kind = _DATATYPES.get(int(field.datatype))
    if kind is None:
        raise InvalidFrameError(
            f"point cloud: field '{field.name}' expects a datatype 1 to 8, got {field.datatype}"
        )
    if kind[0] != "f" and name in _COORDINATES:
        raise InvalidFrameError(
            f"point cloud: field '{field.name}' expects float32 or float64, in m, got integers, "
            "whose unit is not said"
        )
    if int(field.count) == 0:
        note = "fields with count 0 are read as one value"
        if note not in notes:
            notes.append(note)
    elif int(field.count) != 1:
        raise InvalidFrameError(
            f"point cloud: field '{field.name}' expects count 1, got {field.count}"
        )
    return kind


def _check_overlap(fields: dict[str, tuple[str, int]]) -> None:
    """Refuse fields that share bytes: at least one of them is not what its name says."""
    spans = sorted((at, at + int(kind[2]), name) for name, (kind, at) in fields.items())
    for (_, end, name), (start, _, other) in pairwise(spans):
        if start < end:
            raise InvalidFrameError(
                f"point cloud: fields '{name}' and '{other}' overlap at byte {start}"
            )


def _in_right_order(points: NDArray[np.void], notes: list[str]) -> NDArray[np.void]:
    """Return the points in the order of bytes in which their coordinates are of this world.

    A float read backwards has an exponent of chance, so both orders are never plausible.
    """
    sample = points[:: max(1, len(points) // _ORDER_SAMPLE)]
    if sample.dtype["x"].kind != "f" or _plausible(sample) >= 0.1:
        return points
    if _plausible(sample.view(sample.dtype.newbyteorder())) < 0.9:
        return points
    notes.append("is_bigendian is wrong: the coordinates make sense in the other order of bytes")
    return points.view(points.dtype.newbyteorder())


def _plausible(points: NDArray[np.void]) -> float:
    """Return the share of points whose coordinates can be metres, of those that tell; 1: none."""
    with np.errstate(all="ignore"):
        size = np.abs([points[axis].astype(np.float64) for axis in "xyz"])
        tells = np.asarray((np.isfinite(size) & (size != 0)).all(axis=0))
        good = np.asarray(((size > _PLAUSIBLE_M[0]) & (size < _PLAUSIBLE_M[1])).all(axis=0))
    return float(good[tells].mean()) if tells.sum() >= 8 else 1.0
