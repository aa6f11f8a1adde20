"""Live replay: the same recording through the real nodes over ROS, and how it agrees.

The nodes follow the recording's time (/clock). Playing starts when they are active and connected,
with the clock standing at the start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import sets_pace
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.remaps import parse_remaps
from edge_perception.running.parameter_yaml import EVERY_NODE, ParameterFiles
from edge_perception.running.plugin_parameters import plugin_parameters
from edge_perception.running.ros_yaml import dump
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan
from edge_perception.validation.live_player import (
    MOST_PARTS,
    LiveResult,
    Record,
    play_into,
    stream_topics,
)
from edge_perception.validation.pairing import match_objects
from edge_perception.validation.settings import ReplaySettings

STRICT, TOLERANT = "strict", "tolerant"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How live and lock-step messages of the same frames compare."""

    lockstep: int  # messages in mode FULL
    matched: int  # of these, with a live message of the same frames
    objects: int
    objects_same: int

    @property
    def matched_share(self) -> float:
        """Share of the lock-step messages that the nodes made of the same frames."""
        return self.matched / self.lockstep if self.lockstep else 0.0

    @property
    def objects_share(self) -> float:
        """Share of the objects of these that are the same."""
        return self.objects_same / self.objects if self.objects else 1.0


def agree(
    live: Iterable[Record], lockstep: Iterable[Record], *, position_m: float, score: float
) -> Agreement:
    """Compare the messages that were fused of the same camera and LiDAR frames."""
    known = {key: record for record in live if (key := _frames(record))}
    total = matched = objects = same = 0
    for record in lockstep:
        key = _frames(record)
        if record["mode"] != "FULL" or not key:
            continue
        total += 1
        other = known.get(key)
        if other is None:
            continue
        matched += 1
        pairs, added, removed = match_objects(record["objects"], other["objects"], 2.0)
        objects += len(pairs) + len(added) + len(removed)
        for now, then in pairs:
            near = all(
                abs(a - b) <= position_m
                for a, b in zip(now["center_m"], then["center_m"], strict=True)
            )
            alike = now["class_name"] == then["class_name"]
            same += near and alike and abs(now["score"] - then["score"]) <= score
    return Agreement(lockstep=total, matched=matched, objects=objects, objects_same=same)


def _frames(record: Record) -> tuple[tuple[str, int], ...]:
    return tuple(
        sorted(
            (status["source"], status["stamp_ns"])
            for status in record["sources"]
            if status["contributed"] and sets_pace(status["modality"])
        )
    )


def run_live(
    settings: ReplaySettings, folder: Path, *, mode: str, domain_id: int | None = None
) -> LiveResult:
    """Play a recording into the nodes and collect what they publish.

    Args:
        settings: recording and parameters; what-if changes are those of lock step only.
        folder: gets the log of the nodes.
        mode: strict or tolerant.
        domain_id: ROS domain; None: one of its own.

    Raises:
        ConfigurationError: the recording cannot be used, or ROS is not installed.
        LiveReplayError: a frame was dropped (strict), or nothing came of one.
    """
    _need_ros()
    from edge_perception.running.domain import reserved_domain
    from edge_perception.running.observer import Observer
    from edge_perception.running.processes import NodeProcesses
    from edge_perception.running.transport import transport_environment

    bag, plan, binding = _read(settings)
    strict = mode == STRICT
    files = list(settings.all_params_files())
    if strict:
        files = [live_parameters(settings, folder / "parameters.yaml")]
    command = [sys.executable, "-m", "edge_perception.nodes.executables"]
    command += ["perception", "--ros-args"]
    command += ["-p", "use_sim_time:=true", "-r", f"__ns:={plan.namespace}"]
    for file in files:
        command += ["--params-file", str(file)]
    for name, folders in plugin_parameters().items():
        command += ["-p", f"{name}:={json.dumps(folders)}"]
    with reserved_domain(domain_id) as domain:
        environment = {
            **transport_environment(os.environ),
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "OMP_NUM_THREADS": "1",
        }
        os.environ.update(environment)  # our own publishers use the same transport
        nodes = NodeProcesses(
            {"perception": command},
            environment={**os.environ, **environment},
            log_folder=folder / "logs",
        )
        with nodes, Observer(domain_id=domain) as observer:
            return play_into(
                bag,
                binding,
                plan,
                observer,
                strict=strict,
                namespace=plan.namespace,
                check=nodes.check,
            )


def play_live(settings: ReplaySettings, *, mode: str, namespace: str = "") -> LiveResult:
    """Play a recording into nodes that somebody else starts, in the ROS domain of the environment.

    Strict needs nodes that run with the parameters of `live_parameters`.

    Raises:
        ConfigurationError: the recording cannot be used, or ROS is not installed.
        EdgePerceptionError: as of `play_into`.
    """
    _need_ros()
    from edge_perception.running.observer import Observer

    bag, plan, binding = _read(settings)
    with Observer(domain_id=int(os.environ.get("ROS_DOMAIN_ID", "0"))) as observer:
        return play_into(bag, binding, plan, observer, strict=mode == STRICT, namespace=namespace)


def live_parameters(settings: ReplaySettings, path: Path) -> Path:
    """Write the parameters of nodes that are played into strictly: a file of its own.

    Nothing may get lost there, however slow the machine is. Best effort may lose a large message
    between two processes. Strict playing waits for the feature of each frame, so nothing is gained
    by letting go of one, and there is no load to control. How many parts of a stream give a feature
    is not known, so more of them are on their way: queues hold them. An inference that takes long
    has no core; one that hangs is told by the player.

    Args:
        settings: the recording and its parameter files.
        path: of the file.
    """
    _, plan, binding = _read(settings)
    space = plan.namespace.strip("/")
    prefix = f"/{space}" if space else ""
    parameters = ParameterFiles(settings.all_params_files(), namespace=space)
    streams = stream_topics(binding)
    for topic in binding.topics:
        name = f"{prefix}/{binding.names[topic].lstrip('/')}"
        policies = f"qos_overrides.{name}.subscription"
        parameters.override(EVERY_NODE, f"{policies}.reliability", "reliable", "live")
        if topic in streams:
            parameters.override(EVERY_NODE, f"{policies}.depth", MOST_PARTS, "live")
    for source in plan.sources:
        node = f"{prefix}/{source.name}_encoder"
        parameters.override(node, "queue_frames", MOST_PARTS, "live")
        parameters.override(node, "watchdog.hung_after_budgets", 0.0, "live")
        if source.load.budget_ms > 0.0:  # a frame that is skipped has no feature to wait for
            parameters.override(node, "load.budget_ms", 0.0, "live")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(parameters.sections), encoding="utf-8")
    return path


def _read(settings: ReplaySettings) -> tuple[Recording, VehiclePlan, Binding]:
    bag = open_recording(Path(settings.bag))
    plan = read_plan(settings.all_params_files(), namespace=settings.namespace)
    decoder = MessageDecoder(bag.definitions())
    return bag, plan, bind(bag, plan, decoder, parse_remaps(settings.remaps))


def _need_ros() -> None:
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"live replay: ROS 2 is not installed: {error}") from error
