"""Changes of models on the way of a replay, as the vehicle makes them: prepared, then served."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edge_perception.encoders.serving import ServedModel
from edge_perception.recordings.stamps import NS
from edge_perception.replay.encoding import EncoderStage
from edge_perception.replay.metering import MeteredFusionModel
from edge_perception.replay.vehicle import Vehicle

PREPARE_NS = NS  # a swapped model takes in streams this long before it serves


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Another vehicle's models serve from a moment on."""

    at_ns: int  # stamp, recording time
    name: str
    vehicle: Vehicle


class ModelChanges:
    """The models that serve, and those that will.

    Args:
        vehicle: whose models serve at the start.
        swaps: the changes.
    """

    def __init__(self, vehicle: Vehicle, swaps: Iterable[Swap]) -> None:
        self._swaps = deque(sorted(swaps, key=lambda swap: swap.at_ns))
        self._pending: deque[Swap] = deque()
        self._served = [vehicle]
        self.fusion_models = vehicle.fusion_models  # as the node: the one before stays behind

    def prepare(self, encoders: EncoderStage, now_ns: int) -> None:
        """Hand the encoders the models that will serve soon."""
        while self._swaps and self._swaps[0].at_ns - PREPARE_NS <= now_ns:
            swap = self._swaps.popleft()
            self._pending.append(swap)
            self._served.append(swap.vehicle)
            for name, lane in encoders.lanes.items():
                loaded = swap.vehicle.loaded[name]
                if loaded.bundle.sha256 == lane.pipeline.model.loaded.bundle.sha256:
                    continue
                spec = next(s.spec for s in swap.vehicle.plan.sources if s.name == name)
                lane.pipeline.prepare(ServedModel.build(spec, loaded))
                lane.pipeline.serving.commit(swap.at_ns)

    def due(self, now_ns: int) -> Iterator[Swap]:
        """Yield the changes whose time has come; fusion's models are then `fusion_models`."""
        while self._pending and self._pending[0].at_ns <= now_ns:
            swap = self._pending.popleft()
            # The old model stays behind the new one for features on their way.
            self.fusion_models = (*swap.vehicle.fusion_models, *self.fusion_models[:1])
            yield swap

    def all_fusion_models(self) -> Iterator[MeteredFusionModel]:
        """Yield every fusion model that served."""
        for vehicle in self._served:
            yield from vehicle.fusion_models
