"""Frames with ground truth: what training and the demo ask the simulator for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Geometry, ImageFrame, PointCloud
from edge_perception.simulation import lidar
from edge_perception.simulation.camera import Visibility, pinhole_of, render
from edge_perception.simulation.scenario import Scenario
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.world import World


@dataclass(frozen=True, kw_only=True)
class LabelledObject:
    """The truth about one road user."""

    actor_id: int  # the same over a sequence
    box: DetectedObject  # base frame, velocity over ground, score 1
    lidar_hits: int  # returns of the sweep on it
    visibility: Visibility | None  # None: nothing of its outline is in the image
    emergency: bool


@dataclass(frozen=True, kw_only=True)
class SimulatedFrame:
    """All sensors at one moment with ground truth; absent sensors are None."""

    stamp_ns: int
    cloud: PointCloud | None  # sensor frame
    image: ImageFrame | None
    T_base_lidar: NDArray[np.float64]  # (4, 4)
    T_base_camera: NDArray[np.float64]  # (4, 4)
    objects: tuple[LabelledObject, ...]  # within 80 m
    ego_velocity_mps: tuple[float, float, float]

    @property
    def camera_geometry(self) -> Geometry:
        """Pose and projection of the camera."""
        if self.image is None:
            return Geometry(T_base_sensor=self.T_base_camera)
        height, width = self.image.bgr.shape[:2]
        return Geometry(
            T_base_sensor=self.T_base_camera,
            intrinsics=self.image.intrinsics,
            image_size=(width, height),
        )

    @property
    def points_base_m(self) -> NDArray[np.float32]:
        """Points of the cloud in the base frame, (N, 3)."""
        if self.cloud is None:
            return np.zeros((0, 3), np.float32)
        T = self.T_base_lidar.astype(np.float32)
        return self.cloud.xyz_m @ T[:3, :3].T + T[:3, 3]


TRUTH_RANGE_M = 80.0


def lidar_pose(scenario: Scenario) -> NDArray[np.float64]:
    """Return T_base_lidar of a scenario, (4, 4)."""
    T = np.eye(4)
    T[:3, 3] = scenario.lidar.position_m
    return T


def generate_frame(
    scenario: Scenario,
    seed: int,
    t_s: float = 0.0,
    *,
    start_ns: int = 1_000_000_000_000,
    world: World | None = None,
) -> SimulatedFrame:
    """Return camera and LiDAR of one moment with ground truth.

    Args:
        scenario: What kind of drive.
        seed: Fixes every number together with the scenario.
        t_s: Time since the start of the drive.
        start_ns: Stamp of the start of the drive.
        world: The world of this scenario and seed, where the caller has built it already.
    """
    world = world or World(scenario, seed)
    scene = world.at(t_s)
    stamp_ns = start_ns + round(t_s * 1e9)
    tick = round(t_s * 1e6)
    T_base_lidar, pinhole = lidar_pose(scenario), pinhole_of(scenario.camera)
    sweep, picture = None, None
    if "lidar" in scenario.sensors:
        sweep = lidar.sweep(
            scene, model=scenario.lidar.model, T_base_lidar=T_base_lidar,
            weather=scenario.weather, dropout=scenario.lidar.dropout,
            rng=stream(seed, "lidar", tick), stamp_ns=stamp_ns,
        )  # fmt: skip
    if "camera" in scenario.sensors:
        picture = render(
            scene, pinhole, weather=scenario.weather, light=scenario.light, look_seed=seed,
            rng=stream(seed, "camera", tick), stamp_ns=stamp_ns,
            dirty_lens=scenario.camera.dirty_lens,
        )  # fmt: skip
    hits = np.zeros(len(scene.actors), int)
    if sweep is not None:
        hits = np.bincount(sweep.actor[sweep.actor >= 0], minlength=len(scene.actors))
    objects = tuple(
        LabelledObject(
            actor_id=state.actor_id,
            box=state.box,
            lidar_hits=int(hits[index]),
            visibility=picture.visibility.get(index) if picture is not None else None,
            emergency=state.emergency,
        )
        for index, state in enumerate(scene.actors)
        if np.hypot(*state.box.center_m[:2]) < TRUTH_RANGE_M
    )
    return SimulatedFrame(
        stamp_ns=stamp_ns,
        cloud=sweep.cloud if sweep is not None else None,
        image=picture.image if picture is not None else None,
        T_base_lidar=T_base_lidar,
        T_base_camera=pinhole.T_base_camera,
        objects=objects,
        ego_velocity_mps=scene.ego_velocity_mps,
    )
