"""Simulated drives through the vehicle's encoders and fusion, in lock step.

Single frames say nothing of what lasts: which object is which, and where a siren comes from. A
drive is rendered once and kept as a recording; its encoders run once, and what they say is fused
in several ways, as by vehicles that lose a sensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import FusedView
from edge_perception.evaluation.drive_recordings import (
    ONE_CAMERA,
    SECONDS,
    drive_scenario,
    recorded_drive,
)
from edge_perception.evaluation.drive_truth import DriveTruth, Step, steps_of_view
from edge_perception.evaluation.pool import run_all
from edge_perception.evaluation.sirens import SirenMoment, SirenWatch
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import open_recording
from edge_perception.replay.binding import bind
from edge_perception.replay.encoding import Emergence
from edge_perception.replay.fusing import Event, FusionRun
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.vehicle import SharedModels, build_vehicle
from edge_perception.replay.virtual import NS, LatencyModel, StageClock
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan

SETTLED_S = 2.0  # of a drive, after which a siren can have been heard


@dataclass(frozen=True, kw_only=True)
class Way:
    """What a vehicle loses on its way."""

    name: str
    lost: tuple[str, ...] = ()  # modalities that fall silent
    from_s: float = 0.0
    to_s: float = 0.0
    with_model: bool = True  # of fusion; else the encoders' decisions are fused


WAYS = (
    Way(name="all sensors"),
    Way(name="LiDAR lost for 2 s", lost=("lidar",), from_s=3.0, to_s=5.0),
    Way(name="camera lost for 2 s", lost=("camera",), from_s=3.0, to_s=5.0),
    Way(name="everything hidden for 1 s", lost=("lidar", "camera"), from_s=4.0, to_s=5.0),
    Way(name="decision level", with_model=False),
)


@dataclass(frozen=True, kw_only=True)
class Fused:
    """What one way of one drive gave."""

    steps: Mapping[str, Sequence[Step]]  # by class
    sirens: Sequence[SirenMoment]


@dataclass(frozen=True, kw_only=True)
class DriveResult:
    """All that one drive gave, by the name of the way."""

    seed: int
    rig: str
    has_siren: bool
    ways: Mapping[str, Fused]


@dataclass(frozen=True, kw_only=True)
class DrivePlan:
    """What to drive, and where drives are kept."""

    models: Path
    cache: Path
    seconds: float = SECONDS
    ways: tuple[Way, ...] = WAYS


class Drives:
    """Drives one after the other; models are loaded once. One thread uses it."""

    def __init__(self, plan: DrivePlan) -> None:
        cv2.setNumThreads(1)
        self._plan = plan
        self._models = SharedModels()

    def __call__(self, seed: int, rig: str = ONE_CAMERA) -> DriveResult:
        """Drive a seed in every way.

        Raises:
            EdgePerceptionError: a model cannot be used, or a frame could not be inferred.
        """
        from edge_perception.samples.drive import TRUTH  # what writes recordings needs ROS

        path = recorded_drive(seed, rig, self._plan.cache, self._plan.seconds)
        views = {way.name: _Seen() for way in self._plan.ways}
        bag = open_recording(path)
        truth = DriveTruth(drive_scenario(seed, rig), seed, json.loads(bag.attachment(TRUTH)))
        decoder = MessageDecoder(bag.definitions())
        vehicle_plan = _plan_of(path, self._plan.models)
        binding = bind(bag, vehicle_plan, decoder, {})
        vehicle = build_vehicle(vehicle_plan, StageClock(), self._models)
        latency = LatencyModel()
        try:
            replay = LockStep(vehicle, binding, decoder, latency=latency, start_ns=bag.start_ns)
            runs = {
                way: FusionRun(
                    vehicle_plan, vehicle.fusion_models if way.with_model else (),
                    latency=latency, start_ns=bag.start_ns,
                )
                for way in self._plan.ways
            }  # fmt: skip
            messages = replay.read(bag.messages(list(binding.topics)))
            for event in replay.events(messages):
                for way, run in runs.items():
                    if not _is_lost(event, way, vehicle_plan):
                        for output in run.tell(event, _refuse):
                            views[way.name].take(output.view, truth)
            for way, run in runs.items():
                for output in run.finish(bag.end_ns):
                    views[way.name].take(output.view, truth)
        finally:
            vehicle.close()
        return DriveResult(
            seed=seed,
            rig=rig,
            has_siren=truth.has_siren,
            ways={
                name: Fused(steps=seen.steps, sirens=seen.sirens) for name, seen in views.items()
            },
        )


@dataclass(kw_only=True)
class _Seen:
    """Collects what one way gives, view by view."""

    steps: dict[str, list[Step]] = field(default_factory=dict)
    sirens: list[SirenMoment] = field(default_factory=list)
    watch: SirenWatch = field(default_factory=SirenWatch)

    def take(self, view: FusedView, truth: DriveTruth) -> None:
        there = truth.at(view.stamp_ns)
        for name, step in steps_of_view(view, there).items():
            self.steps.setdefault(name, []).append(step)
        moment = self.watch.look(view, there)
        if truth.seconds(view.stamp_ns) >= SETTLED_S:
            self.sirens.append(moment)


def _plan_of(path: Path, models: Path) -> VehiclePlan:
    """Return the vehicle of a recording with the models of a folder."""
    plan = read_plan(with_own_parameters(path, ()))
    folders = (str(models.resolve().parent),)
    name = models.resolve().name
    sources = tuple(
        replace(
            source,
            model=replace(
                source.model, model=f"{name}/{source.spec.modality}", model_folders=folders
            ),
            monitor=None,
        )
        for source in plan.sources
    )
    fusion = replace(plan.fusion_model, model=f"{name}/fusion", model_folders=folders)
    return replace(plan, sources=sources, fusion_model=fusion)


def _is_lost(event: Event, way: Way, plan: VehiclePlan) -> bool:
    """Whether an event is the feature of a sensor that is lost at that time."""
    if not isinstance(event, Emergence) or not way.lost:
        return False
    modality = {source.name: source.spec.modality for source in plan.sources}[event.source]
    t_s = (event.at_ns - NS) / NS  # virtual time begins at one second
    return modality in way.lost and way.from_s <= t_s < way.to_s


def _refuse(source: str, error: Exception) -> None:
    raise ConfigurationError(f"a frame of {source} could not be inferred: {error}") from error


def run_drives(
    plan: DrivePlan,
    tasks: Sequence[tuple[int, str]],
    *,
    processes: int,
    progress: Callable[[int], None],
) -> list[DriveResult]:
    """Return the results of all drives, in their order.

    Args:
        plan: how to drive.
        tasks: seed and rig of each.
        processes: how many at once; 1 stays in this process.
        progress: is told how many are done.
    """
    return run_all(Drives, plan, tasks, processes=processes, progress=progress)
