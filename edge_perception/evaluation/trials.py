"""What is tried on every frame, and the pool of processes that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Feature, Geometry, SoundEvent
from edge_perception.evaluation.frames import SampleFrame, load_frame
from edge_perception.evaluation.matching import Judged, judge_frame
from edge_perception.evaluation.pool import run_all
from edge_perception.evaluation.rig import (
    MODALITIES,
    SUBSETS,
    Rig,
    load_set,
    miscalibrated,
    subset_of,
)
from edge_perception.evaluation.robustness import Row, altered_frame
from edge_perception.evaluation.surround import RigTrial, load_rig_frame, try_rigs
from edge_perception.fusion.geometry import box_corners, image_rectangles
from edge_perception.simulation.soiling import LENSES

DELAYS_MS = (0, 50, 100, 150, 200)
TURNS_DEG = (0.0, 0.5, 1.0, 2.0)
CAMERA_REACH_M = 40.0
EVERYTHING, VIEW = "all", "camera_view"
CLEAN_LENS = "clean"
LENS_SUBSETS = ("camera+lidar", "camera")
CLEAR_DAY = "clear_day"
CONDITION_SUBSETS = (SUBSETS[0], "lidar", "camera")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    models: Path
    cache: Path
    int8: Path | None = None
    extra: frozenset[int] = frozenset()  # seeds that also get delays, turns and INT8
    rigs: frozenset[int] = frozenset()  # seeds that are also seen by rigs of several cameras


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One sound of one frame: there or not, reported or not."""

    class_name: str
    present: bool
    reported: bool
    bearing_error_rad: float = float("nan")  # NaN: no bearing was given


@dataclass(frozen=True, kw_only=True)
class Result:
    """All that one frame gave."""

    seed: int
    weather: str
    light: str
    judged: Mapping[tuple[str, str, str], Judged]  # what, which, where objects count
    heard: Mapping[str, tuple[Heard, ...]] = field(default_factory=dict)  # by subset
    altered: Row = field(
        default_factory=dict
    )  # its sweep as other sensors have it; empty: not tried
    rigs: Mapping[tuple[str, str], RigTrial] = field(default_factory=dict)  # rig, what is lost


class Trials:
    """Runs frames through one set, and the INT8 set where there is one."""

    def __init__(self, plan: Plan) -> None:
        cv2.setNumThreads(1)
        self._plan = plan
        self._rig = Rig(load_set(plan.models))
        self._int8 = Rig(load_set(plan.int8)) if plan.int8 else None

    def __call__(self, seed: int) -> Result:
        """Try everything on the frame of a seed."""
        extra = seed in self._plan.extra
        delays_ms = DELAYS_MS if extra else ()
        frame = load_frame(seed, self._plan.cache, delays_ms=delays_ms, lenses=extra)
        features = self._rig.features(frame)
        judged: dict[tuple[str, str, str], Judged] = {}
        heard = {}
        for subset in SUBSETS:
            view = self._rig.fuse(subset_of(features, subset))
            _judge(judged, "feature", subset, view.objects, frame)
            if "audio" in subset:
                heard[subset] = _heard(view.sound_events, frame)
        for subset in ("camera+lidar", "lidar", "camera"):
            view = self._rig.fuse(subset_of(features, subset), with_model=False)
            _judge(judged, "decision", subset, view.objects, frame)
        self._clear_up(judged, frame)
        if extra:
            self._disturb(judged, frame, features)
            self._soil(judged, frame, features)
        rigs = {}
        if seed in self._plan.rigs:
            rigs = try_rigs(self._rig, load_rig_frame(seed, self._plan.cache))
        return Result(
            seed=seed,
            weather=frame.weather,
            light=frame.light,
            judged=judged,
            heard=heard,
            altered=self._altered(frame) if extra else {},
            rigs=rigs,
        )

    def _clear_up(self, judged: dict, frame: SampleFrame) -> None:
        """Judge the same scene by clear day: how far weather and light are to blame."""
        if (frame.weather, frame.light) == ("clear", "day"):
            for subset in CONDITION_SUBSETS:
                for where in (EVERYTHING, VIEW):
                    judged[CLEAR_DAY, subset, where] = judged["feature", subset, where]
            return
        frame = load_frame(frame.seed, self._plan.cache, clear_day=True)
        features = self._rig.features(frame)
        for subset in CONDITION_SUBSETS:
            view = self._rig.fuse(subset_of(features, subset))
            _judge(judged, CLEAR_DAY, subset, view.objects, frame)

    def _altered(self, frame: SampleFrame) -> Row:
        return altered_frame(self._rig, frame.cloud, frame.lidar, frame.truth, frame.seed)

    def _soil(self, judged: dict, frame: SampleFrame, features: Mapping[str, Feature]) -> None:
        """Judge the frame as it is and through each soiled lens; wanted is the same."""
        for lens in (CLEAN_LENS, *LENSES):
            camera = features["camera"]
            if lens != CLEAN_LENS:
                camera = self._rig.feature("camera", frame.soiled[lens], frame.camera)
            for subset in LENS_SUBSETS:
                view = self._rig.fuse(subset_of({**features, "camera": camera}, subset))
                _judge(judged, "lens", f"{lens} {subset}", view.objects, frame)

    def _disturb(self, judged: dict, frame: SampleFrame, features: Mapping[str, Feature]) -> None:
        both = subset_of(features, "camera+lidar")
        for delay in DELAYS_MS:
            camera = self._rig.delayed_feature(frame, delay)
            view = self._rig.fuse({**both, "camera": camera})
            _judge(judged, "delay_ms", f"{delay}", view.objects, frame)
        axis = np.random.default_rng(frame.seed).normal(size=3)
        for turn in TURNS_DEG:
            wrong: Geometry = miscalibrated(frame.camera, turn, axis.tolist())
            view = self._rig.fuse({**both, "camera": self._rig.camera_feature(frame, wrong)})
            _judge(judged, "calibration_deg", f"{turn:g}", view.objects, frame)
        if self._int8 is not None:
            for rig, name in ((self._rig, "fp32"), (self._int8, "int8")):
                view = rig.fuse(rig.features(frame))
                _judge(judged, "precision", name, view.objects, frame)


def _judge(
    judged: dict, what: str, which: str, objects: Sequence[DetectedObject], frame: SampleFrame
) -> None:
    """Judge against every object that a sensor sees, and within the camera's view."""
    truth = frame.truth
    judged[what, which, EVERYTHING] = judge_frame(
        objects, truth, wanted=truth.in_camera | truth.in_lidar
    )
    reach = _camera_range(truth.center_m, frame.camera) < CAMERA_REACH_M
    judged[what, which, VIEW] = judge_frame(
        objects, truth, wanted=truth.in_camera & reach, detected_in=in_view(objects, frame.camera)
    )


def in_view(objects: Sequence[DetectedObject], camera: Geometry) -> NDArray[np.bool_]:
    """Return which objects the camera frames, within its reach."""
    if not objects:
        return np.zeros(0, bool)
    shares = image_rectangles(box_corners(list(objects)), camera)[1]
    centers = np.array([item.center_m for item in objects])
    found: NDArray[np.bool_] = (shares > 0.5) & (_camera_range(centers, camera) < CAMERA_REACH_M)
    return found


def _camera_range(centers_m: NDArray, camera: Geometry) -> NDArray[np.float64]:
    gap = centers_m[:, :2] - camera.T_base_sensor[:2, 3]
    distance: NDArray[np.float64] = np.hypot(gap[:, 0], gap[:, 1])
    return distance


def _heard(events: Sequence[SoundEvent], frame: SampleFrame) -> tuple[Heard, ...]:
    reported = {event.class_name: event for event in events}
    result = []
    for name in ("siren", "car_horn", "speech"):
        event, bearing = reported.get(name), frame.sounds.get(name)
        error = float("nan")
        if event is not None and bearing is not None:
            turn = event.bearing_rad - bearing
            error = float(abs(np.arctan2(np.sin(turn), np.cos(turn))))
        result.append(
            Heard(
                class_name=name,
                present=bearing is not None,
                reported=event is not None,
                bearing_error_rad=error,
            )
        )
    return tuple(result)


def run_trials(
    plan: Plan, seeds: Sequence[int], *, processes: int, progress: Callable[[int], None]
) -> list[Result]:
    """Return the results of all seeds, in their order.

    Args:
        plan: what to run.
        seeds: frames.
        processes: how many at once; 1 stays in this process.
        progress: is told how many are done.
    """
    tasks = [(seed,) for seed in seeds]
    return run_all(Trials, plan, tasks, processes=processes, progress=progress, chunk=4)


__all__ = ["MODALITIES", "Heard", "Plan", "Result", "Trials", "run_trials"]
