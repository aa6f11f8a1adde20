"""Who is placed first and why there: free places, the emergency vehicle, the hidden pedestrian."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_perception.simulation.bodies import build_body
from edge_perception.simulation.layout import Layout
from edge_perception.simulation.scenario import Scenario
from edge_perception.simulation.solids import Part

_LOOK_AHEAD_S = np.arange(0.25, 10.0, 0.25)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One road user that keeps its heading and speed."""

    class_name: str
    size_m: tuple[float, float, float]
    parts: tuple[Part, ...]
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float = 0.0
    emergency: bool = False

    def at(self, t_s: float) -> tuple[float, float, float]:
        """Return x, y and yaw at a time, map frame."""
        step = self.speed_mps * t_s
        return (
            self.x_m + step * float(np.cos(self.yaw_rad)),
            self.y_m + step * float(np.sin(self.yaw_rad)),
            self.yaw_rad,
        )


class Site:
    """Collects actors and refuses places that are taken."""

    def __init__(self, ego_speed_mps: float) -> None:
        self.actors: list[Actor] = []
        self._ego_speed_mps = ego_speed_mps
        self._taken: list[tuple[float, float, float, float]] = [(1.4, 0.0, 4.6, 1.3)]

    def add(self, actor: Actor, *, gap_m: float = 0.4) -> bool:
        """Add the actor unless its axis-aligned footprint meets another one."""
        length, width, _ = actor.size_m
        c, s = abs(np.cos(actor.yaw_rad)), abs(np.sin(actor.yaw_rad))
        hx = 0.5 * (length * c + width * s) + 0.5 * gap_m
        hy = 0.5 * (length * s + width * c) + 0.5 * gap_m
        for x, y, ox, oy in self._taken:
            if abs(actor.x_m - x) < hx + ox and abs(actor.y_m - y) < hy + oy:
                return False
        if self.meets_ego(actor):
            return False
        self._taken.append((actor.x_m, actor.y_m, hx, hy))
        self.actors.append(actor)
        return True

    def meets_ego(self, actor: Actor) -> bool:
        """Whether the actor would run into the ego vehicle, or that into it, later on."""
        c, s = np.cos(actor.yaw_rad), np.sin(actor.yaw_rad)
        x = actor.x_m + (actor.speed_mps * c - self._ego_speed_mps) * _LOOK_AHEAD_S
        y = actor.y_m + actor.speed_mps * s * _LOOK_AHEAD_S
        length, width, _ = actor.size_m
        hx = 0.5 * (length * abs(c) + width * abs(s)) + 3.2
        hy = 0.5 * (length * abs(s) + width * abs(c)) + 1.1
        return bool(((np.abs(x - 1.4) < hx) & (np.abs(y) < hy)).any())

    def reserve(self, x_m: float, y_m: float, half_x_m: float, half_y_m: float) -> None:
        """Keep a rectangle free of whoever is added later."""
        self._taken.append((x_m, y_m, half_x_m, half_y_m))


def place_emergency(
    scenario: Scenario, layout: Layout, rng: np.random.Generator, site: Site
) -> None:
    """Put the emergency vehicle of a scenario on its way and keep that way free."""
    wanted = scenario.emergency
    if wanted is None:
        return
    size, parts = build_body("truck" if rng.random() < 0.5 else "car", rng, emergency=True)
    class_name = "truck" if size[0] > 5.8 else "car"
    main = layout.main
    distance = wanted.distance_m
    # The ego vehicle would be hit by one in its own lane: it passes on the left.
    left = max(main.centre_m, 3.0) if main.lanes == 1 else main.lane_m
    x, y, yaw, speed = {
        "behind": (-distance, left, 0.0, wanted.speed_mps),
        "ahead": (distance, main.centre_m + 0.5 * main.lane_m, np.pi, wanted.speed_mps),
        "left": (_crossing(layout, distance), distance, -0.5 * np.pi, wanted.speed_mps),
        "right": (_crossing(layout, distance), -distance, 0.5 * np.pi, wanted.speed_mps),
    }[wanted.direction]
    actor = Actor(
        class_name=class_name, size_m=size, parts=tuple(parts), x_m=float(x), y_m=float(y),
        yaw_rad=float(yaw), speed_mps=speed, emergency=True,
    )  # fmt: skip
    if site.meets_ego(actor):  # it waits where it is rather than hit the ego vehicle
        actor = replace(actor, speed_mps=0.0)
    site.add(actor)
    # Traffic makes way: nobody else is put on its path.
    if wanted.direction in ("behind", "ahead"):
        site.reserve(0.0, actor.y_m, distance + 60.0, 0.5 * size[1] + 0.2)
    else:
        site.reserve(actor.x_m, 0.0, 0.5 * size[1] + 0.2, distance + 20.0)


def _crossing(layout: Layout, distance: float) -> float:
    """Return x of the cross street, or of a side road where the scene has none."""
    return layout.cross.centre_m if layout.cross is not None else min(6.0, 0.3 * distance)


def place_occluded_pedestrian(layout: Layout, rng: np.random.Generator, site: Site) -> None:
    """A pedestrian steps onto the ego lane, hidden until then by a truck at the kerb."""
    main = layout.main
    size, parts = build_body("truck", rng)
    body, limbs = build_body("pedestrian", rng)
    kerb = main.centre_m - main.kerb_m
    # On a narrow street the truck stands half on the pavement, as the lane must stay free.
    y = min(kerb + 0.5 * size[1] + 0.1, -(1.6 + 0.5 * size[1]))
    for along in np.arange(11.0, 60.0, 2.0) + rng.uniform(0.0, 2.0):
        walker = Actor(
            class_name="pedestrian", size_m=body, parts=tuple(limbs),
            x_m=float(along + 0.5 * size[0] + 1.0), y_m=float(y), yaw_rad=0.5 * np.pi,
            speed_mps=1.2,
        )  # fmt: skip
        if site.meets_ego(walker):
            continue
        truck = Actor(
            class_name="truck", size_m=size, parts=tuple(parts), x_m=float(along),
            y_m=float(y), yaw_rad=0.0,
        )  # fmt: skip
        if site.add(truck) and site.add(walker):
            return
