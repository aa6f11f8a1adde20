"""What is true at a moment of a simulated drive, and who could know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_perception.core.types import FusedView
from edge_perception.evaluation.following import Step
from edge_perception.evaluation.frames import LEAST_HITS, is_shown
from edge_perception.evaluation.matching import CLASSES, X_M, Y_M
from edge_perception.simulation.camera import Visibility
from edge_perception.simulation.scenario import SENSORS, Scenario
from edge_perception.simulation.world import World

_NS = 1_000_000_000
_FRAME_NS = _NS // 10  # a frame tells of what is nearer in time


@dataclass(frozen=True, kw_only=True)
class TrueObject:
    """One road user at the stamp of a view."""

    actor_id: int
    class_name: str
    center_m: tuple[float, float]  # base frame
    wanted: bool  # a sensor sees it, where objects are looked for
    emergency: bool


class DriveTruth:
    """The truth of a drive at any stamp.

    Args:
        scenario: of the drive.
        seed: of the drive.
        recorded: what its recording knows of itself, see `samples.drive.simulation_truth`.
    """

    def __init__(self, scenario: Scenario, seed: int, recorded: Mapping[str, Any]) -> None:
        self._world = World(replace(scenario, sensors=SENSORS, outages=()), seed)
        first = recorded["frames"][0]
        self._start_ns = int(recorded["start_ns"]) - _FRAME_NS  # the first sweep is that of 0.1 s
        self._stamps = np.array([frame["stamp_ns"] for frame in recorded["frames"]], np.int64)
        self._seen = [_seen(frame["objects"]) for frame in recorded["frames"]]
        self._known: dict[int, tuple[TrueObject, ...]] = {}
        self.has_siren = any(actor.emergency for actor in self._world.actors)
        assert first["stamp_ns"] == recorded["start_ns"]

    def seconds(self, stamp_ns: int) -> float:
        """Return the time since the start of the drive."""
        return (stamp_ns - self._start_ns) / _NS

    def at(self, stamp_ns: int) -> tuple[TrueObject, ...]:
        """Return all road users at a stamp."""
        if stamp_ns not in self._known:
            self._known[stamp_ns] = self._look(stamp_ns)
        return self._known[stamp_ns]

    def _look(self, stamp_ns: int) -> tuple[TrueObject, ...]:
        nearest = int(np.abs(self._stamps - stamp_ns).argmin())
        there = abs(int(self._stamps[nearest]) - stamp_ns) < _FRAME_NS
        seen = self._seen[nearest] if there else frozenset()
        found = []
        for state in self._world.at(self.seconds(stamp_ns)).actors:
            x, y, _ = state.box.center_m
            found.append(
                TrueObject(
                    actor_id=state.actor_id,
                    class_name=state.box.class_name,
                    center_m=(x, y),
                    wanted=state.actor_id in seen and _is_inside(x, y),
                    emergency=state.emergency,
                )
            )
        return tuple(found)


def _is_inside(x: float, y: float) -> bool:
    """Whether a place is on the grid of the models, as in the tables of single frames."""
    return X_M[0] < x < X_M[1] and abs(y) < Y_M


def _seen(objects: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    return frozenset(
        item["id"]
        for item in objects
        if item["lidar_returns"] >= LEAST_HITS
        or (item["camera"] is not None and is_shown(Visibility(**item["camera"])))
    )


def steps_of_view(view: FusedView, truth: Sequence[TrueObject]) -> dict[str, Step]:
    """Return a view against the truth, by class; what lies off the grid is left out."""
    inside = [item for item in view.objects if _is_inside(*item.center_m[:2])]
    found = {}
    for name in CLASSES:
        mine = [item for item in inside if item.class_name == name]
        theirs = [item for item in truth if item.class_name == name]
        found[name] = Step(
            stamp_ns=view.stamp_ns,
            true_ids=np.array([item.actor_id for item in theirs], np.int64),
            true_m=np.array([item.center_m for item in theirs]).reshape(-1, 2),
            wanted=np.array([item.wanted for item in theirs], bool),
            track_ids=np.array([item.track_id for item in mine], np.int64),
            track_m=np.array([item.center_m[:2] for item in mine]).reshape(-1, 2),
            score=np.array([item.score for item in mine]),
        )
    return found


__all__ = ["DriveTruth", "Step", "TrueObject", "steps_of_view"]
