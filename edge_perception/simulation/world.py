"""A seeded scene and where everything is at a given time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.simulation.ground import Ground, draw_ground
from edge_perception.simulation.layout import Layout, draw_layout
from edge_perception.simulation.scenario import WAITING_MPS, Scenario
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.solids import STATIC, Part, Solids, concatenate, from_parts
from edge_perception.simulation.staging import Actor
from edge_perception.simulation.traffic import place_actors

_REACH_M = 130.0


@dataclass(frozen=True, kw_only=True)
class ActorState:
    """One road user at one time, base frame."""

    actor_id: int
    emergency: bool
    box: DetectedObject  # score 1, velocity over ground with axes of the base frame


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything the sensors can see at one time, base frame of the ego vehicle."""

    t_s: float
    T_map_base: NDArray[np.float64]  # (4, 4); its z is nominal, the ground carries the heights
    ego_velocity_mps: tuple[float, float, float]
    ground: Ground
    solids: Solids  # Solids.actor indexes `actors`
    actors: tuple[ActorState, ...]
    layout: Layout


class World:
    """A scene drawn from a scenario and a seed; the same two always give the same world."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.layout = draw_layout(
            stream(seed, "layout"),
            intersection=scenario.layout == "intersection",
            waiting=scenario.ego_speed_mps < WAITING_MPS,
        )
        self.ground = draw_ground(stream(seed, "ground"))
        self.actors: tuple[Actor, ...] = place_actors(scenario, self.layout, stream(seed, "actors"))
        self._static = _statics(self.layout)
        parts = [(part, i) for i, actor in enumerate(self.actors) for part in actor.parts]
        self._bodies = from_parts([p for p, _ in parts], [i for _, i in parts])

    def ego_position(self, t_s: float) -> tuple[float, float, float]:
        """Return x, y in metres and yaw in radians of the base frame in the map frame."""
        return self.scenario.ego_speed_mps * t_s, 0.0, 0.0

    def at(self, t_s: float) -> Scene:
        """Return the scene `t_s` seconds after its start."""
        x, y, yaw = self.ego_position(t_s)
        ground = self.ground.seen_from(x, y, yaw)
        c, s = np.cos(yaw), np.sin(yaw)
        T_map_base = np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        places = np.array([actor.at(t_s) for actor in self.actors]).reshape(-1, 3)
        dx, dy = places[:, 0] - x, places[:, 1] - y
        bx, by = c * dx + s * dy, c * dy - s * dx
        bz = ground.height(bx.astype(np.float32), by.astype(np.float32))
        poses = np.stack([bx, by, bz, places[:, 2] - yaw], axis=1)
        states = [
            _state(index, actor, (float(px), float(py), float(pz)), float(heading))
            for index, (actor, (px, py, pz, heading)) in enumerate(
                zip(self.actors, poses, strict=True)
            )
        ]
        solids = concatenate(self._place_statics(ground, (x, y, yaw)), _move(self._bodies, poses))
        centre = solids.vertices_m.mean(axis=1)
        radius = np.linalg.norm(solids.vertices_m[:, 6] - centre, axis=1)
        near = np.hypot(centre[:, 0], centre[:, 1]) - radius < _REACH_M
        speed = self.scenario.ego_speed_mps
        return Scene(
            t_s=t_s,
            T_map_base=T_map_base,
            ego_velocity_mps=(speed, 0.0, 0.0),
            ground=ground,
            solids=solids.select(near),
            actors=tuple(states),
            layout=self.layout,
        )

    def _place_statics(self, ground: Ground, ego: tuple[float, float, float]) -> Solids:
        solids, anchor = self._static
        x, y, yaw = ego
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
        shift = np.array([x, y, 0], np.float32)
        vertices = np.asarray((solids.vertices_m - shift) @ rotation, np.float32)
        feet = (anchor - shift) @ rotation
        vertices[:, :, 2] += ground.height(feet[:, 0], feet[:, 1])[:, None]
        return Solids(
            vertices_m=vertices, material=solids.material, bgr=solids.bgr, actor=solids.actor
        )


def _state(
    index: int, actor: Actor, position_m: tuple[float, float, float], yaw: float
) -> ActorState:
    bx, by, bz = position_m
    return ActorState(
        actor_id=index,
        emergency=actor.emergency,
        box=DetectedObject(
            class_name=actor.class_name,
            score=1.0,
            center_m=(bx, by, bz + 0.5 * actor.size_m[2]),
            size_m=actor.size_m,
            yaw_rad=float(np.arctan2(np.sin(yaw), np.cos(yaw))),
            velocity_mps=(
                float(actor.speed_mps * np.cos(yaw)),
                float(actor.speed_mps * np.sin(yaw)),
                0.0,
            ),
        ),
    )


def _statics(layout: Layout) -> tuple[Solids, NDArray[np.float32]]:
    """Return the static solids over flat ground in the map frame and where each stands, (N, 3)."""
    parts: list[Part] = []
    poses = []
    for x, y, yaw, group in layout.statics:
        parts += group
        poses += [(x, y, 0.0, yaw)] * len(group)
    solids = from_parts(parts, list(range(len(parts))))
    placed = _move(solids, np.array(poses).reshape(-1, 4))
    static = Solids(
        vertices_m=placed.vertices_m,
        material=placed.material,
        bgr=placed.bgr,
        actor=np.full(len(parts), STATIC, np.int32),
    )
    return static, np.array(poses, np.float32).reshape(-1, 4)[:, :3]


def _move(solids: Solids, poses: NDArray) -> Solids:
    """Place each solid at the pose (x, y, z, yaw) of its owner."""
    if not len(solids):
        return solids
    pose = poses[solids.actor].astype(np.float32)
    c, s = np.cos(pose[:, 3:]), np.sin(pose[:, 3:])
    x, y, z = np.moveaxis(solids.vertices_m, -1, 0)
    vertices = np.stack(
        [c * x - s * y + pose[:, :1], s * x + c * y + pose[:, 1:2], z + pose[:, 2:3]], axis=-1
    )
    return Solids(
        vertices_m=vertices.astype(np.float32),
        material=solids.material,
        bgr=solids.bgr,
        actor=solids.actor,
    )
