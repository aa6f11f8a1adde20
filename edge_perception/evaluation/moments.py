"""Doubtful moments of recordings that were made elsewhere: what `record` would have kept of them.

The recording passes the vehicle's encoders and fusion in lock step; the triggers and the ring of
`record` look at the views. The same recording and models give the same files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import locates
from edge_perception.recordings.budget import Budget, BudgetOptions
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.ring import EventRecorder, RingOptions
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.recordings.triggers import TriggerOptions, Triggers
from edge_perception.recordings.writer import Topic
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.vehicle import build_vehicle
from edge_perception.replay.virtual import LatencyModel, StageClock
from edge_perception.running.parameter_yaml import ParameterFiles
from edge_perception.running.ros_yaml import dump
from edge_perception.running.vehicle_plan import read_plan
from edge_perception.validation.canonical import record_of
from edge_perception.validation.result_recording import FUSED_TOPIC, ResultRecorder

FUSED = "edge_perception/msg/FusedPerception"


def find_moments(
    path: Path,
    folder: Path,
    *,
    ring: RingOptions,
    triggers: TriggerOptions,
    budget: BudgetOptions | None = None,
    params_files: Sequence[Path] = (),
    overrides: Mapping[str, object] | None = None,
) -> list[Path]:
    """Write the doubtful moments of a recording as files of `record`; return them.

    Args:
        path: the recording.
        folder: for the files.
        ring: seconds before and after, and the room.
        triggers: what is doubtful.
        budget: how many of them are kept.
        params_files: of the vehicle; one beside the recording goes before them.
        overrides: more parameters, as `node.parameter`.

    Raises:
        EdgePerceptionError: the recording, the parameters or a model cannot be used.
    """
    bag = open_recording(path)
    decoder = MessageDecoder(bag.definitions())
    files = with_own_parameters(path, params_files)
    plan = read_plan(files, overrides=overrides)
    binding = bind(bag, plan, decoder, {})
    vehicle = build_vehicle(plan, StageClock())
    recorder = EventRecorder(
        folder,
        _topics(bag, binding),
        ring,
        holding=_holding(binding),
        parameters=dump(ParameterFiles(files).sections) if files else "",
    )
    looking = Triggers(triggers, locates=locates)
    kept = Budget(budget or BudgetOptions(), triggers.kinds)
    results = ResultRecorder()
    arrived: deque[RecordedMessage] = deque()

    def give(until_ns: int | None) -> None:
        while arrived and (until_ns is None or arrived[0].log_time_ns <= until_ns):
            message = arrived.popleft()
            recorder.message(message.topic, message.data, message.log_time_ns)

    try:
        replay = LockStep(vehicle, binding, decoder, latency=LatencyModel(), start_ns=bag.start_ns)
        stream = replay.read(bag.messages(list(binding.topics)))
        for output in replay.run(stream, arrived.append):
            give(output.at_ns)
            view = results.message(record_of(output))
            recorder.message(FUSED_TOPIC, decoder.encode(view, FUSED), output.at_ns)
            for kind, reason in looking.look(view).items():
                if kept.admits(kind, output.at_ns):
                    recorder.event(reason, output.at_ns)
        give(None)
    finally:
        vehicle.close()
    recorder.finish()
    if recorder.problem:
        raise ConfigurationError(recorder.problem)
    return recorder.files


def _topics(bag: Recording, binding: Binding) -> list[Topic]:
    if FUSED_TOPIC in bag.topics and FUSED_TOPIC in binding.topics:
        raise ConfigurationError(f"{bag.path}: {FUSED_TOPIC} is an input here")
    return [*(bag.topics[name] for name in binding.topics), Topic(name=FUSED_TOPIC, type=FUSED)]


def _holding(binding: Binding) -> dict[str, int]:
    """Return the topics that may be told once only, with how many of their messages hold."""
    static = {name: 1000 for name, is_static in binding.transforms.items() if is_static}
    return dict.fromkeys((*binding.calibrations, *binding.latched), 1) | static
