"""Road users of a scene: where they stand or drive, map frame."""

from __future__ import annotations

import numpy as np

from edge_perception.simulation.bodies import build_body
from edge_perception.simulation.layout import Layout, Street
from edge_perception.simulation.scenario import WAITING_MPS, Scenario
from edge_perception.simulation.staging import (
    Actor,
    Site,
    place_emergency,
    place_occluded_pedestrian,
)


def place_actors(scenario: Scenario, layout: Layout, rng: np.random.Generator) -> tuple[Actor, ...]:
    """Return the road users of a scene; nobody overlaps at the start."""
    site = Site(scenario.ego_speed_mps)
    if scenario.emergency is not None:
        place_emergency(scenario, layout, rng, site)
    if scenario.occlusion:
        place_occluded_pedestrian(layout, rng, site)
    speeds = _Speeds(scenario, layout, rng)
    for class_name in ("bus", "truck", "car", "cyclist", "pedestrian"):
        low, high = getattr(scenario.actors, class_name)
        wanted = int(rng.integers(low, high + 1))
        present = sum(a.class_name == class_name for a in site.actors)
        for _ in range(12 * wanted):
            if present >= wanted:
                break
            size, parts = build_body(class_name, rng)
            x, y, yaw, speed = _draw_place(class_name, size, layout, speeds, rng)
            present += site.add(
                Actor(
                    class_name=class_name, size_m=size, parts=tuple(parts),
                    x_m=x, y_m=y, yaw_rad=yaw, speed_mps=speed,
                )
            )  # fmt: skip
    return tuple(site.actors)


class _Speeds:
    """One speed a lane, so that vehicles of a lane keep their distance."""

    def __init__(self, scenario: Scenario, layout: Layout, rng: np.random.Generator) -> None:
        self.ego = scenario.ego_speed_mps
        green = self.ego >= WAITING_MPS or layout.cross is None
        self._main = [float(rng.uniform(3, 13)) if green else 0.0 for _ in range(6)]
        self._cross = [0.0 if green else float(rng.uniform(3, 11)) for _ in range(6)]

    def of(self, street: Street, lane: int, *, forward: bool) -> float:
        """Return the speed of a lane counted from the centre line, m/s."""
        if street.along_x and forward and abs(street.centre_m - (lane + 0.5) * street.lane_m) < 0.1:
            return self.ego
        return (self._main if street.along_x else self._cross)[2 * lane + forward]


def _along(rng: np.random.Generator, street: Street) -> float:
    """Draw a place along a street: denser near the ego vehicle, as what matters is there."""
    reach = 80.0 if rng.random() < 0.35 else 45.0
    middle = 8.0 if street.along_x else 0.0
    return middle + float(rng.uniform(-reach, reach))


def _draw_place(
    class_name: str,
    size: tuple[float, float, float],
    layout: Layout,
    speeds: _Speeds,
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    """Return x, y, yaw and speed of a new road user."""
    street = layout.main
    if layout.cross is not None and rng.random() < 0.35:
        street = layout.cross
    other = layout.cross if street is layout.main else layout.main
    if class_name == "pedestrian":
        return _walk(street, other, layout, rng)
    kind = rng.random()
    if class_name == "car" and layout.lots and kind < 0.2:
        return _lot(layout, rng)
    parked = 0.5 if class_name == "car" else (0.25 if class_name == "truck" else 0.0)
    if street.parking_m > 2.0 and kind < 0.2 + 0.8 * parked:
        return _park(street, other, size, rng)
    return _drive(class_name, street, other, size, speeds, rng)


def _clear_of(along: float, other: Street | None, margin: float) -> float:
    """Move a place along a street out of the crossing with `other`."""
    if other is None:
        return along
    half = other.kerb_m + margin
    offset = along - other.centre_m
    if abs(offset) < half:
        return other.centre_m + (half if offset >= 0 else -half) * 1.02
    return along


def _park(
    street: Street, other: Street | None, size: tuple[float, float, float], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    side = float(rng.choice([-1.0, 1.0]))
    along = _clear_of(_along(rng, street), other, 0.5 * size[0] + rng.uniform(1, 6))
    offset = side * (street.kerb_m - 0.5 * size[1] - float(rng.uniform(0.1, 0.4)))
    x, y = street.place(along, offset)
    yaw = street.yaw_rad + (0.0 if side < 0 else np.pi) + float(rng.normal(0, 0.025))
    if rng.random() < 0.05:
        yaw += np.pi
    return x, y, yaw, 0.0


def _lot(layout: Layout, rng: np.random.Generator) -> tuple[float, float, float, float]:
    x0, x1, y0, y1 = layout.lots[rng.integers(len(layout.lots))]
    yaw = float(rng.choice([0.0, 0.5, 1.0, 1.5])) * np.pi + float(rng.normal(0, 0.15))
    if rng.random() < 0.3:
        yaw = float(rng.uniform(-np.pi, np.pi))
    x = float(rng.uniform(x0 + 2.5, max(x1 - 2.5, x0 + 2.6)))
    return x, float(rng.uniform(y0 + 2.5, y1 - 2.5)), yaw, 0.0


def _drive(
    class_name: str,
    street: Street,
    other: Street | None,
    size: tuple[float, float, float],
    speeds: _Speeds,
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    forward = bool(rng.random() < 0.5)
    lane = int(rng.integers(street.lanes))
    side = -1.0 if forward else 1.0
    offset = (lane + 0.5) * street.lane_m + float(rng.normal(0, 0.2))
    speed = speeds.of(street, lane, forward=forward)
    if class_name == "cyclist" and rng.random() < 0.7:
        offset = street.kerb_m - street.parking_m - float(rng.uniform(0.4, 0.9))
        speed = float(rng.uniform(2, 6)) if speed > 0 else 0.0
    along = _along(rng, street)
    if speed == 0.0:
        along = _clear_of(along, other, 0.5 * size[0] + 2.0)
        # Stopped traffic queues on its own side of the crossing.
        if other is not None and (along < other.centre_m) != forward and rng.random() < 0.8:
            along = 2 * other.centre_m - along
    x, y = street.place(along, side * offset)
    yaw = street.yaw_rad + (0.0 if forward else np.pi) + float(rng.normal(0, 0.03))
    if rng.random() < 0.06 and other is not None and abs(along - other.centre_m) < 20:
        yaw += float(rng.uniform(-1.2, 1.2))  # turning
    return x, y, yaw, speed


def _walk(
    street: Street, other: Street | None, layout: Layout, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    speed = float(rng.choice([0.0, rng.uniform(0.7, 1.7)], p=[0.3, 0.7]))
    along = _along(rng, street)
    side = float(rng.choice([-1.0, 1.0]))
    if other is not None and rng.random() < 0.3:  # on the crossing
        near = other.kerb_m + float(rng.uniform(0.5, 3.0))
        along = other.centre_m + float(rng.choice([-1.0, 1.0])) * near
        offset = float(rng.uniform(-street.kerb_m, street.kerb_m))
        yaw = street.yaw_rad + 0.5 * np.pi * float(rng.choice([-1.0, 1.0]))
    else:
        offset = side * (street.kerb_m + float(rng.uniform(0.4, max(layout.sidewalk_m - 0.4, 0.5))))
        yaw = street.yaw_rad + np.pi * float(rng.integers(2))
    if rng.random() < 0.15:
        yaw = float(rng.uniform(-np.pi, np.pi))
    x, y = street.place(along, offset)
    return x, y, yaw + float(rng.normal(0, 0.15)), speed
