"""A recording played into encoders alone, each of which somebody else stands for.

It passes the vehicle's own intake, calibration, poses and preprocessing in lock step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.models.manifest import Bundle
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.vehicle import build_vehicle
from edge_perception.replay.virtual import LatencyModel, StageClock
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan

Choose = Callable[[Binding, Iterable[RecordedMessage]], Iterable[RecordedMessage]]


class RecordedEncoders:
    """A recording and the parameters that it is read with."""

    def __init__(self, path: Path, params_files: Sequence[Path]) -> None:
        """Open it.

        Args:
            path: rosbag2 or MCAP.
            params_files: calibration, poses and topics, where they are not beside it.

        Raises:
            ConfigurationError: it is not there or cannot be read.
        """
        if not path.exists():
            raise ConfigurationError(f"{path}: expected a recording, got none")
        self.bag: Recording = open_recording(path)
        self._decoder = MessageDecoder(self.bag.definitions())
        self._files = with_own_parameters(path, params_files)
        self.vehicle: VehiclePlan = read_plan(self._files)  # all that the parameters name

    def bind(self, plan: VehiclePlan) -> Binding:
        """Match its topics with the inputs of a vehicle.

        Raises:
            ConfigurationError: nothing matches that can be used.
        """
        return bind(self.bag, plan, self._decoder, {})

    def plan(self, bundles: Mapping[str, Bundle]) -> VehiclePlan:
        """Return a vehicle of these sources alone, without a fusion model.

        Args:
            bundles: model by source.
        """
        overrides: dict[str, object] = {}
        for source, bundle in bundles.items():
            node = f"{source}_encoder"
            overrides[f"{node}.model"] = bundle.path.name
            overrides[f"{node}.model_folders"] = [str(bundle.path.resolve().parent)]
            overrides[f"{node}.model_store"] = overrides[f"{node}.device_plan"] = ""
        plan = read_plan(self._files, overrides=overrides, subset=list(bundles))
        return replace(
            plan,
            sources=tuple(replace(source, monitor=None) for source in plan.sources),
            fusion_model=replace(plan.fusion_model, model=""),
        )

    def play(
        self,
        plan: VehiclePlan,
        tap: Callable[[str, EncoderPipeline], Any],
        choose: Choose = lambda _binding, messages: messages,
    ) -> None:
        """Play it.

        Args:
            plan: of `plan`.
            tap: of a source and its pipeline, what stands for the encoder.
            choose: which messages are played, of all that the plan reads.

        Raises:
            EdgePerceptionError: a model does not run.
        """
        binding = self.bind(plan)
        vehicle = build_vehicle(plan, StageClock())
        try:
            for source, pipeline in vehicle.pipelines.items():
                pipeline.model.encoder = tap(source, pipeline)
            replay = LockStep(
                vehicle, binding, self._decoder, latency=LatencyModel(), start_ns=self.bag.start_ns
            )
            messages = choose(binding, self.bag.messages(list(binding.topics)))
            for _ in replay.run(replay.read(messages)):
                pass
        finally:
            vehicle.close()
