"""Whether the road lies where a LiDAR's pose says that it is down.

A pose is right in its form and wrong in its meaning when the quaternion is in another order
(w, x, y, z), when it is the inverse one, when the sensor hangs upside down and nobody said so, or
when the cloud is in an optical frame. The sweep itself tells: seen from above, the lowest points of
most places are level, and hardly any is deeper. Real streets have 0.4 to 0.55 of places so, and
0.15 in any other direction, but for a long wall: that counts only where there is no road below.
A ceiling is as level, and a sensor that looks up sees no floor: it is farther away than the pose
says that the sensor is from the road. The few layers of a scanner are level in its own frame,
however it is tilted: they tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.transforms import other_order

# How what is said begins; the doctor knows it by that.
NOT_BELOW = "the road is not below the sensor"
_NEAR_M, _FAR_M = 2.0, 20.0  # from the sensor: not its cover, and not where points are few
_PLACE_M = 2.0  # side of a place
_PLACES = 50  # fewer tell nothing
_LEVEL_M = 0.6  # that the lowest points of a road differ
_DEEPER = 0.1  # of the places may be: echoes, ditches
_HIGHEST_M = 0.5  # above the origin, which may lie on the road: higher it is a ceiling
_DEEPEST_M = 2.0  # of the road below the sensor, beyond how far the pose is from the base frame
_ROAD, _ASLANT, _NO_ROAD = 0.3, 0.25, 0.18  # share of level places: is one, may be, is none
_LAYERS = 0.04  # thickness of a sweep through the sensor to its extent; 4 layers have 0.02
_SLOPES = (0.04, 0.1, 0.2)  # tangents: of a mount, of a street, of a sensor said to be level
_LOOKS = 2  # in a row that agree
_SELDOM = 16  # then each so many sweeps are looked at
_SIDE = 2 * int(_FAR_M / _PLACE_M)  # places along an edge
_UPRIGHT, _OVER = (0, 0, 1), (0, 0, -1)
_WHAT = {  # the axis of the sensor that points away from the road
    _UPRIGHT: "it is upright",
    _OVER: "it hangs upside down",
    (0, -1, 0): "its points are in an optical frame (z ahead, y down)",
    (0, 1, 0): "its y axis points up",
    (1, 0, 0): "its x axis points up",
    (-1, 0, 0): "its x axis points down",
}

_ORDER = "; read as w, x, y, z the quaternion fits: x, y, z, w is asked for"
_INVERSE = "; the inverse rotation fits: that of the sensor in the base frame is asked for"


class RoadBelow:
    """Looks for the road in the sweeps of one LiDAR."""

    def __init__(self) -> None:
        self._sweeps = 0
        self._alike = 0  # looks in a row with the same result
        self._odd = False
        self._text = ""
        self._T: NDArray[np.float64] | None = None

    def see(self, xyz_m: NDArray[np.float32], T_base_sensor: NDArray[np.float64]) -> str:
        """Return what is wrong with the pose; empty: nothing that sweeps tell.

        Args:
            xyz_m: (N, 3), an even sample of the sweep, sensor frame.
            T_base_sensor: the pose.
        """
        if self._T is None or not np.allclose(self._T[:3, :3], T_base_sensor[:3, :3], atol=0.2):
            self._T, self._sweeps, self._alike, self._text = T_base_sensor, 0, 0, ""
        self._sweeps += 1
        since = self._sweeps % _SELDOM
        # A place that gives a different result each time must not be looked at each time.
        if since and (self._alike >= _LOOKS or (self._sweeps > _SELDOM and since >= _LOOKS)):
            return self._text
        # What was found is not looked for again, only whether it is still so.
        still = self._text and level_share(_near(xyz_m), T_base_sensor[2, :3]) <= _NO_ROAD
        found = self._text if still else road_elsewhere(xyz_m, T_base_sensor)
        self._alike = self._alike + 1 if bool(found) is self._odd else 1
        self._odd = bool(found)
        if not found or self._alike >= _LOOKS:
            self._text = found
        return self._text


def road_elsewhere(xyz_m: NDArray[np.float32], T_base_sensor: NDArray[np.float64]) -> str:
    """Return where the road is, seen from the sensor, if not below; empty: below, or not seen."""
    xyz_m, R = _near(xyz_m), T_base_sensor[:3, :3]
    if level_share(xyz_m, R[2]) > _NO_ROAD:
        return ""
    if len(xyz_m) < _PLACES or _is_scan(xyz_m):
        return ""
    deepest_m = _DEEPEST_M + float(np.linalg.norm(T_base_sensor[:3, 3]))

    def is_road(up: NDArray[np.float64]) -> bool:
        return _is_below(xyz_m, up, _ROAD, _SLOPES[:2], deepest_m)

    axes = [axis for axis in _WHAT if is_road(np.array(axis, np.float64))]
    readings = ((_ORDER, other_order(T_base_sensor)[2, :3]), (_INVERSE, R[:, 2]))
    how = next((how for how, up in readings if is_road(up)), "")
    if not (axes or how) or _is_below(xyz_m, R[2], _ASLANT, _SLOPES):
        return ""
    # A long wall may look like a road, too: then the likely one is meant, or none is said.
    sure = axes[:1] if len(axes) == 1 or axes[:1] in ([_UPRIGHT], [_OVER]) else []
    what = f": {_WHAT[sure[0]]}" if sure else ""
    return f"{NOT_BELOW} as its pose says{what}{how}"


def _is_scan(xyz_m: NDArray[np.float32]) -> bool:
    """Whether all points lie in or about one plane through the sensor."""
    least, _, most = np.linalg.eigvalsh((xyz_m.T @ xyz_m).astype(np.float64))
    return bool(least < _LAYERS**2 * most)


def _near(xyz_m: NDArray[np.float32]) -> NDArray[np.float32]:
    range_m = np.linalg.norm(xyz_m, axis=1)
    return xyz_m[(range_m > _NEAR_M) & (range_m < 2 * _FAR_M)]


def _is_below(
    xyz_m: NDArray[np.float32],
    up: NDArray[np.float64],
    least: float,
    slopes: tuple[float, ...],
    deepest_m: float = np.inf,
) -> bool:
    """Whether the road lies against `up`, or so much aslant."""
    directions = (up, *_leaning(up, slopes))
    return any(level_share(xyz_m, each, deepest_m) >= least for each in directions)


def level_share(
    xyz_m: NDArray[np.float32], up: NDArray[np.float64], deepest_m: float = np.inf
) -> float:
    """Return the share of places whose lowest points are level, where `up` is away from the road.

    Args:
        xyz_m: (N, 3), sensor frame.
        up: (3,), of unit length, sensor frame.
        deepest_m: below the sensor, m; what is level deeper does not count.
    """
    points = xyz_m @ np.stack([*_beside(up), up], axis=1).astype(np.float32)
    points = points[(np.abs(points[:, 0]) < _FAR_M) & (np.abs(points[:, 1]) < _FAR_M)]
    place = (points[:, :2] / _PLACE_M).astype(np.intp) + _SIDE // 2
    lowest = np.full(_SIDE * _SIDE, np.inf, np.float32)
    np.minimum.at(lowest, place[:, 0] * _SIDE + place[:, 1], points[:, 2])
    heights = np.sort(lowest[np.isfinite(lowest)])
    if len(heights) < _PLACES:
        return 0.0
    first = np.arange(int(_DEEPER * len(heights)) + 1)
    first = first[(heights[first] < _HIGHEST_M) & (heights[first] > -deepest_m)]
    last = np.searchsorted(heights, heights[first] + np.float32(_LEVEL_M), side="right")
    return float((last - first).max(initial=0)) / len(heights)


def _beside(up: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two directions at right angles to one another and to `up`."""
    least = int(np.abs(up).argmin())
    i, j = (least + 1) % 3, (least + 2) % 3
    side = np.zeros(3)  # cross products are written out: NumPy's take longer than all the rest
    side[i], side[j] = up[j], -up[i]
    side /= np.linalg.norm(side)
    ahead = up[[1, 2, 0]] * side[[2, 0, 1]] - up[[2, 0, 1]] * side[[1, 2, 0]]
    return side, ahead


def _leaning(up: NDArray[np.float64], slopes: tuple[float, ...]) -> Iterator[NDArray[np.float64]]:
    """Yield the directions that slopes make of `up`."""
    a, b = _beside(up)
    for slope in slopes:
        for angle in np.arange(8) * np.pi / 4:
            leaning = up + slope * (np.cos(angle) * a + np.sin(angle) * b)
            yield leaning / np.linalg.norm(leaning)
