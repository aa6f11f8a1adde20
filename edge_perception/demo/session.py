"""One run of the demo: recording, nodes, cuts, and everything that was observed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.demo.alone import compare_frames, frames_to_collect
from edge_perception.demo.fused_log import read_fused
from edge_perception.demo.summary import Run
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.player import Player, PlayReport, wait_for
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.ros_sink import RosSink
from edge_perception.recordings.schedule import Cut, PlayPlan
from edge_perception.running.domain import reserved_domain
from edge_perception.running.memory import MemoryReport, MemorySampler
from edge_perception.running.observer import FUSED_TOPIC, NotReadyError, Observer, write_features
from edge_perception.running.processes import NodeProcesses
from edge_perception.running.transport import transport_environment
from edge_perception.samples.data import data_folder, ensure_recording
from edge_perception.samples.models import ModelChoice, choose_models
from edge_perception.samples.truth import GroundTruth, read_ground_truth

RECORDING_S = 20.0
READY_S = 60.0
SETTLE_S = 0.15  # outputs of the last messages still arrive this long after them
NODES = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion", "model_manager")
COMPOSED = "perception"
FUSED_FILE, FEATURES_FILE = "fused.mcap", "features.mcap"
SUMMARY_FILE = "summary.json"
CAMERA_PICTURE, BIRDSEYE_PICTURE, TIMELINE_PICTURE = "camera.jpg", "birdseye.png", "timeline.png"
RIG_PICTURE = "rig.png"
RESULTS = (
    FUSED_FILE,
    FEATURES_FILE,
    SUMMARY_FILE,
    CAMERA_PICTURE,
    BIRDSEYE_PICTURE,
    TIMELINE_PICTURE,
    RIG_PICTURE,
)
PULLED, PULLED_OF_RIG = ("lidar", "camera"), ("camera_left", "lidar")
Say = Callable[[str], None]


class Beside(Protocol):
    """Who looks at the nodes while the recording is played."""

    def prepare(self, recording: Path, params_files: Sequence[Path]) -> Sequence[Path]:
        """Return more parameter files for the nodes, before they start."""
        ...

    @property
    def executables(self) -> Mapping[str, Sequence[str]]:
        """More nodes of the run, with their arguments."""
        ...

    def beside(self) -> AbstractContextManager[None]:
        """Look, from when the nodes are connected until playing has ended."""
        ...


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What the demo is asked for."""

    out: Path
    composed: bool = False
    models: str = "reference"
    duration_s: float = parameter(RECORDING_S, unit="s", low=5.0, high=36000.0)
    recording_s: float = RECORDING_S  # of the recording that is made; it loops above that
    recording: Path | None = None  # None: demo_out/recording.mcap, made when missing
    domain_id: int | None = None  # None: one of its own
    cuts: tuple[Cut, ...] | None = None  # None: LiDAR for 3 s, then the camera for 3 s
    params_files: tuple[Path, ...] = ()  # more parameters for the nodes; the last one wins
    beside: Beside | None = None
    rig: str = ""  # of `simulation.rigs`: simulated scenes with these sensors


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The files of a run and what was observed in it."""

    run: Run
    recording: Path
    fused: Path
    params_files: tuple[Path, ...]  # of the nodes


@dataclass(frozen=True, kw_only=True)
class _Observed:
    """What came of playing the recording into the nodes."""

    report: PlayReport
    played_s: float
    ended_ns: int  # node clock
    memory: MemoryReport
    collected: Mapping[tuple[str, int], bytes]  # features by source and recorded stamp


def default_cuts(duration_s: float, pulled: Sequence[str] = PULLED) -> tuple[Cut, ...]:
    """Return a cut of one sensor and then of another, 3 s each where the time allows."""
    length_s = min(3.0, 0.15 * duration_s)
    return tuple(
        Cut(name=name, start_s=share * duration_s, end_s=share * duration_s + length_s)
        for name, share in zip(pulled, (0.3, 0.6), strict=True)
    )


def run_demo(options: DemoOptions, say: Say = print) -> Outcome:
    """Run the demo.

    Raises:
        EdgePerceptionError: something is missing, or a node did not start or died.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:  # of an earlier run: a failed one must not look like it
        (options.out / name).unlink(missing_ok=True)
    data = data_folder()
    length_s = min(options.duration_s, options.recording_s)
    path = options.recording or options.out / "recording.mcap"
    if options.recording is None:
        say(f"recording  {path}")
        truth = ensure_recording(path, data=data, duration_s=length_s, rig=options.rig)
    else:
        truth = read_ground_truth(Recording(path))
    choice = choose_models(options.models, data=data, folder=options.out / "models")
    say(f"models     {choice.name}: {choice.description}")
    parameters = options.out / "params.yaml"
    parameters.write_text(choice.to_yaml(), encoding="utf-8")
    files = [parameters_path(path), parameters, *options.params_files]
    if options.beside is not None:
        files += options.beside.prepare(path, files)
    with reserved_domain(options.domain_id) as domain_id:
        observed = _observe(options, Recording(path), truth, files, domain_id, say)
    run = _run(options, choice, truth, observed)
    fused = options.out / FUSED_FILE
    return Outcome(run=run, recording=path, fused=fused, params_files=tuple(files))


def _observe(
    options: DemoOptions,
    recording: Recording,
    truth: GroundTruth,
    parameter_files: list[Path],
    domain_id: int,
    say: Say,
) -> _Observed:
    """Start the nodes, play, record, and end the nodes."""
    os.environ.update(_environment(domain_id))  # our own publishers use the same transport
    pulled = PULLED_OF_RIG if truth.more_cameras else PULLED
    cuts = default_cuts(recording.duration_s, pulled) if options.cuts is None else options.cuts
    plan = _plan(recording, options.duration_s, cuts)
    more = options.beside.executables if options.beside is not None else {}
    cameras = [camera.source for camera in truth.more_cameras]
    nodes = NodeProcesses(
        _commands(options.composed, parameter_files, more, cameras),
        environment=os.environ,
        log_folder=options.out / "logs",
    )
    with nodes, Observer(domain_id=domain_id) as observer:
        sink = RosSink(observer.node, recording.topics.values())
        player = Player(recording, plan, sink, restamp=True)
        wanted = frames_to_collect(truth, plan.cuts, recording.start_ns)
        observer.record(options.out / FUSED_FILE)
        observer.collect(_recorded_stamp(player.report), wanted)
        say(f"nodes      {', '.join(nodes.pids)} (ROS_DOMAIN_ID {domain_id})")
        wanted_nodes = (*NODES, *(f"{name}_encoder" for name in cameras), *more)
        observer.wait_active(wanted_nodes, timeout_s=READY_S, check=nodes.check)
        _wait_connected(sink, observer)
        say(f"playing    {options.duration_s:g} s, " + ", ".join(map(_cut_text, plan.cuts)))
        looking = options.beside.beside() if options.beside is not None else nullcontext()
        with looking, MemorySampler(nodes.pids) as memory:
            started = time.monotonic()
            report = player.run()
            played_s, ended_ns = time.monotonic() - started, time.time_ns()
            wait_for(lambda: time.time_ns() - ended_ns > SETTLE_S * 1e9, timeout_s=5.0)
        nodes.check()
        observer.finish()
        collected = dict(observer.collected)
    write_features(options.out / FEATURES_FILE, collected)
    return _Observed(
        report=report,
        played_s=played_s,
        ended_ns=ended_ns,
        memory=memory.report,
        collected=collected,
    )


def _run(options: DemoOptions, choice: ModelChoice, truth: GroundTruth, observed: _Observed) -> Run:
    """Read back what was recorded; messages of before and after playing are left out."""
    stamps = observed.report.stamps
    if stamps is None:
        raise ConfigurationError("demo: expected a restamped recording, got the original stamps")
    last_ns = observed.ended_ns + round(SETTLE_S * 1e9)
    entries = [
        entry
        for entry in read_fused(options.out / FUSED_FILE, FUSED_TOPIC)
        if stamps.play_start_ns <= entry.at_ns < last_ns
    ]
    return Run(
        entries=entries,
        play=observed.report,
        stamps=stamps,
        played_s=observed.played_s,
        truth=truth,
        frames=compare_frames(entries, truth, stamps, observed.collected),
        memory=observed.memory,
        models=choice.name,
        composed=options.composed,
    )


def _plan(recording: Recording, duration_s: float, cuts: tuple[Cut, ...]) -> PlayPlan:
    if duration_s <= recording.duration_s + 0.5:
        return PlayPlan(duration_s=duration_s, cuts=cuts)
    return PlayPlan(loops=math.ceil(duration_s / recording.duration_s), cuts=cuts)


def _environment(domain_id: int) -> dict[str, str]:
    return {
        **transport_environment(os.environ),
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",  # NumPy's; the inference threads are a parameter
    }


def _commands(
    composed: bool,
    parameter_files: list[Path],
    more: Mapping[str, Sequence[str]],
    cameras: Sequence[str],
) -> Mapping[str, list[str]]:
    """Return the command lines, as `ros2 run` would build them; `cameras` beside the first."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        folder = Path(get_package_prefix("edge_perception")) / "lib" / "edge_perception"
    except PackageNotFoundError as error:
        raise ConfigurationError(
            "demo: expected edge_perception in the ROS environment, not found; "
            "source the install space (make setup builds it)"
        ) from error
    arguments = ["--ros-args"]
    for file in parameter_files:
        arguments += ["--params-file", str(file)]
    names = (COMPOSED,) if composed else NODES
    own = dict.fromkeys(names, ()) | dict(more)
    commands = {name: [str(folder / name), *arguments, *extra] for name, extra in own.items()}
    for source in () if composed else cameras:  # the composed process makes them itself
        named = ["-r", f"__node:={source}_encoder", "-p", f"source:={source}"]
        commands[f"{source}_encoder"] = [str(folder / "camera_encoder"), *arguments, *named]
    return commands


def _wait_connected(sink: RosSink, observer: Observer) -> None:
    if not wait_for(lambda: not sink.unheard() and observer.hears_fused(), timeout_s=15.0):
        raise NotReadyError(
            "nodes: expected a subscription to every topic of the recording and a publisher of "
            f"{FUSED_TOPIC}, nobody subscribes to: {', '.join(sink.unheard()) or 'none of ours'}"
        )


def _recorded_stamp(report: PlayReport) -> Callable[[int], int | None]:
    """Return a function that is safe to call before playing has started."""
    return lambda stamp_ns: report.stamps.to_recorded(stamp_ns) if report.stamps else None


def _cut_text(cut: Cut) -> str:
    return f"{cut.name} cut from {round(cut.start_s, 2):g} to {round(cut.end_s, 2):g} s"
