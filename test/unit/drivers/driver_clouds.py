"""Point clouds with the layouts of the drivers' own sources: names, offsets, steps, no-returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from driver_case import PERIOD_NS, REFUSED, STAMP_NS, Case, header

CLOUD = "sensor_msgs/msg/PointCloud2"
RINGS, COLUMNS = 16, 600
MOUNTED_M = 1.8  # above the road
CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
Field = tuple[str, int, str]  # name, offset, dtype
XYZ: tuple[Field, ...] = (("x", 0, "f4"), ("y", 4, "f4"), ("z", 8, "f4"))


def sweep(index: int) -> dict[str, np.ndarray]:
    """A sweep of a spinning LiDAR at 1.8 m, ring by ring, x ahead; a tenth met nothing."""
    rng = np.random.default_rng(index)
    azimuth = np.tile(np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False), RINGS)
    ring = np.repeat(np.arange(RINGS), COLUMNS)
    elevation = np.radians(-15.0 + 2.0 * ring)
    with np.errstate(divide="ignore"):
        ground = np.where(elevation < -0.02, 1.8 / np.tan(-elevation), np.inf)
    wall = 12.0 + 6.0 * np.sin(3 * azimuth)
    flat = np.minimum(ground, wall) + rng.normal(0, 0.01, len(ring))
    met = rng.random(len(ring)) > 0.1
    xyz = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), flat * np.tan(elevation)], 1)
    return {
        "xyz": xyz.astype(np.float32),
        "met": met,
        "ring": ring,
        "bright": rng.integers(1, 256, len(ring)),
        "time_s": (azimuth + np.pi) / (2 * np.pi) * 0.1,
    }


def cloud(
    columns: Mapping[str, Any],
    fields: Sequence[Field],
    step: int,
    *,
    stamp_ns: int,
    frame_id: str,
    height: int = 1,
    is_dense: bool = True,
    row_step: int | None = None,
    big_endian: bool = False,
) -> SimpleNamespace:
    """A message of columns by field name; bytes between the fields are rubbish."""
    count = len(columns["x"])
    data = np.random.default_rng(1).integers(0, 256, count * step, dtype=np.uint8)
    for name, offset, kind in fields:
        order = ">" if big_endian else "<"
        view = np.ndarray((count,), order + kind, data, offset, (step,))
        view[:] = columns[name]
    return SimpleNamespace(
        header=header(stamp_ns, frame_id),
        height=height,
        width=count // height,
        fields=[
            SimpleNamespace(name=name, offset=offset, datatype=CODES[kind], count=1)
            for name, offset, kind in fields
        ],
        is_bigendian=big_endian,
        point_step=step,
        row_step=count // height * step if row_step is None else row_step,
        data=data.tobytes(),
        is_dense=is_dense,
    )


def columns_of(index: int, *, nothing: float | None, order: np.ndarray | None = None) -> dict:
    """Columns of the sweep; beams without a return left out (None), or all three at `nothing`."""
    found = sweep(index)
    if order is not None:
        found = {name: values[order] for name, values in found.items()}
    if nothing is None:
        found = {name: values[found["met"]] for name, values in found.items()}
    else:
        found["xyz"][~found["met"]] = nothing
    x, y, z = found["xyz"].T
    return {**found, "x": x, "y": y, "z": z, "intensity": found["bright"]}


def is_the_sweep(
    *, turned: bool = False, bright: bool = True, order: np.ndarray | None = None
) -> Callable[[Any], None]:
    """Assert that a PointCloud has the returns of sweep 0 at their places."""

    def check(frame: Any) -> None:
        found = columns_of(0, nothing=None, order=order)
        expected = found["xyz"] if not turned else ahead_is_y(found["xyz"])
        np.testing.assert_allclose(frame.xyz_m, expected, rtol=0, atol=1e-5)
        if bright:
            np.testing.assert_allclose(frame.intensity, found["bright"] / 255, atol=1e-5)

    return check


def ahead_is_y(xyz: np.ndarray) -> np.ndarray:
    """The same points in a sensor frame with x to the right and y ahead."""
    return np.stack([-xyz[:, 1], xyz[:, 0], xyz[:, 2]], axis=1)


def turned(columns: dict) -> dict:
    x, y, z = ahead_is_y(columns["xyz"]).T
    return {**columns, "x": x, "y": y, "z": z}


def _velodyne(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=None)
    return cloud(
        {**columns, "time": columns["time_s"] - 0.1},
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("time", 18, "f4")),
        22, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="velodyne",
    )  # fmt: skip


COLUMN_BY_COLUMN = np.arange(RINGS * COLUMNS).reshape(RINGS, COLUMNS).T.ravel()


def _velodyne_organized(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=np.nan, order=COLUMN_BY_COLUMN)
    return cloud(
        {**columns, "time": columns["time_s"] - 0.1},
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("time", 18, "f4")),
        22, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="velodyne",
        height=COLUMNS, is_dense=False,  # width counts lasers, height firings
    )  # fmt: skip


def _ouster(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=0.0)
    photons = np.random.default_rng(index).integers(1, 3000, len(columns["x"]))
    return cloud(
        {**columns, "intensity": photons, "t": columns["time_s"] * 1e9,
         "reflectivity": columns["bright"], "ambient": photons, "range": 0},
        (*XYZ, ("intensity", 16, "f4"), ("t", 20, "u4"), ("reflectivity", 24, "u2"),
         ("ring", 26, "u2"), ("ambient", 28, "u2"), ("range", 32, "u4")),
        48, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="os_lidar", height=RINGS,
    )  # fmt: skip


def _ouster_native(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=0.0)
    photons = np.random.default_rng(index).integers(1, 3000, len(columns["x"]))
    return cloud(
        {**columns, "t": columns["time_s"] * 1e9, "range": 0, "signal": photons,
         "reflectivity": columns["bright"], "near_ir": photons},
        (*XYZ, ("t", 16, "u4"), ("ring", 20, "u2"), ("range", 24, "u4"), ("signal", 28, "u2"),
         ("reflectivity", 30, "u2"), ("near_ir", 32, "u2")),
        48, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="os_lidar", height=RINGS,
    )  # fmt: skip


def _timed_26(columns: dict, index: int, frame_id: str, **changes: Any) -> SimpleNamespace:
    """x, y, z, intensity, ring and absolute time without a gap, as Hesai's and RoboSense's."""
    stamp_ns = STAMP_NS + index * PERIOD_NS
    return cloud(
        {**columns, "timestamp": stamp_ns * 1e-9 + columns["time_s"]},
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("timestamp", 18, "f8")),
        26, stamp_ns=stamp_ns, frame_id=frame_id, is_dense=False, **changes,
    )  # fmt: skip


def _hesai(index: int) -> SimpleNamespace:
    return _timed_26(turned(columns_of(index, nothing=None)), index, "hesai_lidar", row_step=0)


def _robosense(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=np.nan, order=COLUMN_BY_COLUMN)
    # width and height exchanged, as send_by_rows is false by default
    return _timed_26(columns, index, "rslidar", height=COLUMNS)


def _nebula(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=None)
    return cloud(
        {**columns, "return_type": 1, "channel": columns["ring"], "azimuth": 0, "elevation": 0,
         "distance": 0, "time_stamp": columns["time_s"] * 1e9},
        (*XYZ, ("intensity", 12, "u1"), ("return_type", 13, "u1"), ("channel", 14, "u2"),
         ("azimuth", 16, "f4"), ("elevation", 20, "f4"), ("distance", 24, "f4"),
         ("time_stamp", 28, "u4")),
        32, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="lidar_top",
    )  # fmt: skip


BOOT_NS = 612_000_000_000


def _livox(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=0.0)
    stamp_ns = BOOT_NS + index * PERIOD_NS  # without PTP: since the sensor's start
    return cloud(
        {**columns, "tag": 0, "line": 1, "timestamp": stamp_ns + columns["time_s"] * 1e9},
        (*XYZ, ("intensity", 12, "f4"), ("tag", 16, "u1"), ("line", 17, "u1"),
         ("timestamp", 18, "f8")),
        26, stamp_ns=stamp_ns, frame_id="livox_frame",
    )  # fmt: skip


def _gazebo(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=np.inf)
    return cloud(
        {**columns, "intensity": 0},
        (*XYZ, ("intensity", 16, "f4"), ("ring", 24, "u2")),
        32, stamp_ns=5_000_000_000 + index * PERIOD_NS, frame_id="vehicle/lidar_link/lidar",
        height=RINGS,
    )  # fmt: skip


def _isaac(index: int) -> SimpleNamespace:
    stamp_ns = 5_000_000_000 + index * PERIOD_NS
    return cloud(columns_of(index, nothing=None), XYZ, 12, stamp_ns=stamp_ns, frame_id="sim_lidar")


def _carla(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=None)
    return cloud(
        {**columns, "intensity": columns["bright"] / 255},
        (*XYZ, ("intensity", 12, "f4")),
        16, stamp_ns=5_000_000_000 + index * PERIOD_NS, frame_id="ego_vehicle/lidar",
    )  # fmt: skip


def _kitti2bag(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=None)
    return cloud(
        {**columns, "i": columns["bright"] / 255},
        (*XYZ, ("i", 12, "f4")),
        16, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="velo_link",
    )  # fmt: skip


def _nuscenes2bag(index: int) -> SimpleNamespace:
    return cloud(
        turned(columns_of(index, nothing=None)),
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "f4")),
        20, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="lidar_top",
    )  # fmt: skip


def _moved_to_base(index: int) -> SimpleNamespace:
    """A filter moved everything to the vehicle's frame, beams without a return too."""
    columns = columns_of(index, nothing=0.0)
    return cloud(
        {**columns, "z": columns["z"] + MOUNTED_M}, (*XYZ, ("intensity", 16, "f4")), 32,
        stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="base_link",
    )  # fmt: skip


def _is_moved(frame: Any) -> None:
    found = columns_of(0, nothing=None)
    np.testing.assert_allclose(frame.xyz_m, found["xyz"] + [0, 0, MOUNTED_M], rtol=0, atol=1e-5)


def _millimetres(index: int) -> SimpleNamespace:
    columns = columns_of(index, nothing=None)
    whole = {axis: np.rint(columns[axis] * 1000) for axis in "xyz"}
    fields = tuple((axis, 2 * place, "i2") for place, axis in enumerate("xyz"))
    return cloud(whole, fields, 6, stamp_ns=STAMP_NS + index * PERIOD_NS, frame_id="tof")


ZEROS = "points at exactly (0, 0, 0) are beams without a return"
NAN = "points that are NaN or Inf are beams without a return"
PHOTONS = "'intensity' is a count of photons: 'reflectivity' is read instead"


def _case(
    row: str, make: Callable[[int], Any], *, order: np.ndarray | None = None, **fields: Any
) -> Case:
    stamp = make(0).header.stamp
    placed = columns_of(0, nothing=None, order=order)["xyz"] + [0.0, 0.0, MOUNTED_M]
    return Case(
        row=row, modality="lidar", kind=CLOUD, make=make, placed=placed,
        stamp_ns=stamp.sec * 10**9 + stamp.nanosec, **fields,
    )  # fmt: skip


CASES = (
    _case("Velodyne", _velodyne, decoded=is_the_sweep()),
    _case(
        "Velodyne, organised", _velodyne_organized,
        order=COLUMN_BY_COLUMN, decoded=is_the_sweep(order=COLUMN_BY_COLUMN), notes=(NAN,),
    ),
    _case("Ouster", _ouster, decoded=is_the_sweep(), notes=(ZEROS, PHOTONS)),
    _case("Ouster, native points", _ouster_native, decoded=is_the_sweep(), notes=(ZEROS,)),
    _case("Hesai", _hesai, decoded=is_the_sweep(turned=True), notes=("row_step",)),
    _case(
        "RoboSense", _robosense, order=COLUMN_BY_COLUMN,
        decoded=is_the_sweep(order=COLUMN_BY_COLUMN), notes=(NAN,),
    ),
    _case("Nebula (Autoware)", _nebula, decoded=is_the_sweep()),
    _case("Livox, PointCloud2", _livox, decoded=is_the_sweep(), notes=(ZEROS,)),
    _case(
        "Gazebo LiDAR", _gazebo, decoded=is_the_sweep(bright=False),
        notes=(NAN, "intensity is 0 everywhere"),
    ),
    _case("Isaac Sim LiDAR", _isaac, decoded=is_the_sweep(bright=False)),
    _case("CARLA LiDAR", _carla, decoded=is_the_sweep(), notes=("intensity left out",)),
    _case("KITTI by kitti2bag, LiDAR", _kitti2bag, decoded=is_the_sweep()),
    _case("nuScenes by nuscenes2bag, LiDAR", _nuscenes2bag, decoded=is_the_sweep(turned=True)),
    _case(
        "A filter that moved the cloud to base_link", _moved_to_base, decoded=_is_moved,
        notes=("one place that many beams have exactly in common",),
    ),
    _case(
        "Time-of-flight camera in whole millimetres", _millimetres,
        state=REFUSED, says=("'x' expects float32 or float64, in m, got integers",),
    ),
)  # fmt: skip
