"""Short drives in each light, weather and with each lens, and what is told of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edge_perception.core.conditions import LIGHTS, Conditions, joined
from edge_perception.core.types import Geometry, ImageFrame, PointCloud
from edge_perception.encoders.camera.statistics import ImageStatistics
from edge_perception.encoders.lidar.statistics import SweepStatistics
from edge_perception.monitoring.condition_state import ConditionState
from edge_perception.samples.images import decoded
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.simulation.generate import generate_frame
from edge_perception.simulation.scenario import WEATHERS, Camera, Scenario, random_scenario
from edge_perception.simulation.soiling import LENSES
from edge_perception.simulation.world import World

FIRST_SEED = 3_000_200  # no threshold was chosen on these
PERIOD_S = 0.2  # between looks, as on the device
SIZE = (480, 270)
DIRTY = "dirty_lens"
_SWEEP_EVERY = 10  # looks: a sweep takes long to simulate, and its weather stays
_SHOWN_S = 3.0  # how long a single real frame is shown


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told of one drive."""

    name: str
    holds: frozenset[str]  # conditions that were there
    end: frozenset[str]  # told when it ended
    ever: frozenset[str] = field(default_factory=frozenset)  # told at any time

    @property
    def false(self) -> frozenset[str]:
        """Told at any time and never there."""
        return self.ever - self.holds


def drives(seeds: range, seconds: float) -> Iterator[Told]:
    """Yield what is told of a drive in each light and weather, and with each lens on a clear one.

    Args:
        seeds: a drive of each kind for each.
        seconds: length of each.
    """
    for seed in seeds:
        for light in LIGHTS:
            for weather in WEATHERS:
                yield _driven(_scenario(seed, light, weather), seed, seconds)
            for lens, covered in LENSES.items():
                scenario = _scenario(seed, light, "clear", *covered)
                yield _driven(dataclasses.replace(scenario, name=lens), seed, seconds)


def real_frames(scene: Scene) -> Iterator[Told]:
    """Yield what is told of single frames of a clear day, each shown for three seconds."""
    pose = Geometry(T_base_sensor=scene.T_base_lidar, pose_source="parameter")
    for sequence in scene.sequences:
        for frame in sequence:
            camera, lidar = ConditionState(), ConditionState()
            seen = ImageStatistics(), SweepStatistics()
            told: list[Conditions] = []
            image, cloud = _shown(frame)
            for step in range(round(_SHOWN_S / PERIOD_S) + 1):
                stamp_ns = round((10.0 + step * PERIOD_S) * 1e9)
                camera.step(seen[0].scores(seen[0].of(image)), stamp_ns)
                lidar.step(seen[1].scores(seen[1].of(cloud, pose)), stamp_ns)
                told.append(joined((camera.now, lidar.now)))
            yield _told("real day", frozenset({"day"}), told)


def _shown(frame: SceneFrame) -> tuple[ImageFrame, PointCloud]:
    cloud = PointCloud(
        stamp_ns=1, frame_id="", xyz_m=frame.xyz_m,
        intensity=frame.intensity.astype(np.float32) / 255.0,
    )  # fmt: skip
    return ImageFrame(stamp_ns=1, frame_id="", bgr=decoded(frame.jpeg, frame.name)), cloud


def _scenario(
    seed: int, light: str, weather: str, dirty: float = 0.0, wet: float = 0.0
) -> Scenario:
    """Return a drive that moves: a lens is judged by what passes before it."""
    camera = Camera(width=SIZE[0], height=SIZE[1], dirty_lens=dirty, wet_lens=wet)
    drawn = random_scenario(seed, camera=camera)
    speed_mps = 4.0 + seed % 9
    return dataclasses.replace(
        drawn, name=f"{light} {weather}", light=light, weather=weather, sounds=(),
        ego_speed_mps=speed_mps,
    )  # fmt: skip


def _driven(scenario: Scenario, seed: int, seconds: float) -> Told:
    world = World(scenario, seed)
    images, sweeps = ImageStatistics(), SweepStatistics()
    camera, lidar = ConditionState(), ConditionState()
    told = []
    for look in range(round(seconds / PERIOD_S)):
        t_s = look * PERIOD_S
        sensors = ("camera", "lidar") if look % _SWEEP_EVERY == 0 else ("camera",)
        frame = generate_frame(
            dataclasses.replace(scenario, sensors=sensors), seed, t_s, world=world
        )
        if frame.image is not None:
            camera.step(images.scores(images.of(frame.image)), frame.stamp_ns)
        if frame.cloud is not None:
            pose = Geometry(T_base_sensor=frame.T_base_lidar, pose_source="parameter")
            lidar.step(sweeps.scores(sweeps.of(frame.cloud, pose)), frame.stamp_ns)
        told.append(joined((camera.now, lidar.now)))
    holds = {scenario.light, scenario.weather} - {"clear"}
    if scenario.camera.dirty_lens or scenario.camera.wet_lens:
        holds.add(DIRTY)
    return _told(scenario.name, frozenset(holds), told)


def _told(name: str, holds: frozenset[str], told: list[Conditions]) -> Told:
    ever = frozenset[str]().union(*(conditions.names for conditions in told))
    return Told(name=name, holds=holds, end=told[-1].names, ever=ever)
