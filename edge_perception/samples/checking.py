"""A log of a data set is held to what it must be before anything is written of it.

Data sets are copied, cut and made anew by others: a rotation of no length, a focal length of zero
or a box without a side is read like any number, and nothing that is seen would ever fit it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.samples.datasets import CameraStream, LabelledMoment, Log
from edge_perception.samples.truth import LabelledBox

_LAST_NS = (2**31 - 1) * 10**9  # seconds of a stamp are int32
_ROTATION = 0.01  # how far from orthonormal; text files round


def check_log(log: Log) -> tuple[str, ...]:
    """Check calibration, stamps, poses and labels of a log.

    Returns:
        What is odd, for people, and costs no result.

    Raises:
        ConfigurationError: a value is none that a sensor, a vehicle or a road user can have.
    """
    where = log.name
    notes: list[str] = []
    for stream in log.streams:
        _check_pose(stream.T_base_sensor, f"{where}: pose of {stream.source}")
        notes += _check_stamps(stream.stamps_ns, f"{where}: {stream.source}")
    for camera in log.cameras:
        _check_camera(camera, where)
    notes += _check_stamps([pose.stamp_ns for pose in log.poses], f"{where}: odometry")
    for index, pose in enumerate(log.poses):
        if not np.isfinite([*pose.position_m, *pose.orientation]).all():
            raise ConfigurationError(f"{where}: pose {index} of the vehicle expects finite numbers")
    for moment in log.labels:
        _check_labels(moment, where)
    return tuple(notes)


def _check_pose(T: NDArray[np.float64], what: str) -> None:
    R = np.asarray(T, np.float64)[:3, :3]
    if not np.isfinite(T).all() or np.abs(R @ R.T - np.eye(3)).max() > _ROTATION:
        raise ConfigurationError(f"{what}: expected a place and a rotation, got {T.tolist()}")


def _check_stamps(stamps_ns: Sequence[int], what: str) -> list[str]:
    odd = next((stamp for stamp in stamps_ns if not 0 <= stamp <= _LAST_NS), None)
    if odd is not None:
        raise ConfigurationError(
            f"{what}: stamps expect 0 to {_LAST_NS / 1e9:.0f} s, got {odd / 1e9:.6g} s: not in the "
            "unit of the data set?"
        )
    held = sum(after <= before for before, after in pairwise(stamps_ns))
    return [f"{what}: {held} of {len(stamps_ns)} stamps do not grow: refused later"] if held else []


def _check_camera(camera: CameraStream, where: str) -> None:
    for K, size in ((camera.K, camera.image_size), *camera.of_each):
        what = f"{where}: calibration of {camera.source}"
        if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
            raise ConfigurationError(f"{what}: expected focal lengths above 0, got {K.tolist()}")
        if min(size) < 1:
            raise ConfigurationError(f"{what}: expected the size of its images, got {size}")


def _check_labels(moment: LabelledMoment, where: str) -> None:
    for index, box in enumerate(moment.boxes):
        fault = box_fault(box)
        if fault:
            raise ConfigurationError(
                f"{where}: labels of {moment.name}: box {index} ({box.label}): {fault}"
            )


def box_fault(box: LabelledBox) -> str:
    """Return why a box is of no road user; empty: it can be of one."""
    if not all(map(math.isfinite, (*box.center_m, box.yaw_rad))):
        return f"expected a finite place, got {box.center_m} and yaw {box.yaw_rad}"
    if not all(0.0 < side < math.inf for side in box.size_m):
        return f"size expects above 0 m, got {box.size_m}"
    return ""
