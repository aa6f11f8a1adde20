"""Rigs of cameras and LiDARs that a scenario can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_perception.core.errors import UnknownNameError
from edge_perception.simulation.scenario import Camera, Lidar, Scenario

_SIZE = (640, 360)  # px, width and height
_FOV_DEG = 70.0


def _side(name: str, yaw_deg: float, position_m: tuple[float, float, float]) -> Camera:
    return Camera(
        name=f"camera_{name}",
        width=_SIZE[0],
        height=_SIZE[1],
        horizontal_fov_deg=_FOV_DEG,
        position_m=position_m,
        yaw_deg=yaw_deg,
    )


_FRONT = replace(_side("", 0.0, (0.6, 0.0, 1.8)), name="camera")
_SIDES = (
    _side("left", 60.0, (0.5, 0.4, 1.8)),
    _side("right", -60.0, (0.5, -0.4, 1.8)),
    _side("rear_left", 120.0, (-0.1, 0.4, 1.8)),
    _side("rear_right", -120.0, (-0.1, -0.4, 1.8)),
    _side("rear", 180.0, (-0.3, 0.0, 1.8)),
)
_REAR_LIDAR = Lidar(name="lidar_rear", model="spinning32", position_m=(-1.6, 0.0, 1.7))

# Cameras beside the front one, which looks wider than that of a scenario by default, and LiDARs
# beside the one on the roof. Six cameras of 70 degrees see all around and overlap by 10.
RIGS: Mapping[str, tuple[tuple[Camera, ...], tuple[Lidar, ...]]] = {
    "1 camera": ((), ()),
    "3 cameras": (_SIDES[:2], ()),
    "6 cameras": (_SIDES, ()),
    "6 cameras, 2 LiDARs": (_SIDES, (_REAR_LIDAR,)),
}


def with_rig(scenario: Scenario, name: str) -> Scenario:
    """Return a scenario with the sensors of a rig.

    Raises:
        UnknownNameError: there is no such rig; the text lists those that there are.
    """
    if name not in RIGS:
        raise UnknownNameError(kind="rig", name=name, known=list(RIGS))
    cameras, lidars = RIGS[name]
    return replace(scenario, camera=_FRONT, more_cameras=cameras, more_lidars=lidars)
