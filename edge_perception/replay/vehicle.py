"""The vehicle of a replay: the encoders and fusion that the nodes would be, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edge_perception.core.clock import Clock
from edge_perception.core.transforms import TransformTree
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.releases.loading import load_model
from edge_perception.replay.metering import MeteredFusionModel, metered
from edge_perception.running.vehicle_plan import FUSION, VehiclePlan

_MOST_SHARED = 16


@dataclass(kw_only=True)
class Vehicle:
    """Loaded models, ready to run."""

    plan: VehiclePlan
    pipelines: Mapping[str, EncoderPipeline]
    fusion_models: tuple[MeteredFusionModel, ...]
    loaded: dict[str, LoadedModel] = field(default_factory=dict)  # by source or `fusion`
    transforms: TransformTree = field(default_factory=TransformTree)  # filled while it drives

    def close(self) -> None:
        """Release the models."""
        for loaded in self.loaded.values():
            loaded.backend.close()
        self.loaded = {}


class Models(Protocol):
    """Where a vehicle gets its models from."""

    def of(self, options: ModelOptions, role: str, modality: str = "") -> LoadedModel:
        """Return a loaded model whose runs are metered.

        Args:
            options: which one and how it runs.
            role: name of the source, or fusion: whose entries of store and device plan hold.
            modality: role that the bundle must have; empty: `role`.

        Raises:
            ModelError: it is missing, damaged or does not run here.
        """
        ...


class OwnModels:
    """Loads a model each time: it belongs to one vehicle, and goes with it."""

    def of(self, options: ModelOptions, role: str, modality: str = "") -> LoadedModel:
        """Load a model."""
        return metered(load_model(options, role=role, modality=modality))


class SharedModels:
    """Models of a process that replays one recording after the other: each is loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[ModelOptions, str, str], LoadedModel] = {}

    def of(self, options: ModelOptions, role: str, modality: str = "") -> LoadedModel:
        """Return a model that stays loaded when it is closed."""
        key = (options, role, modality)
        if key not in self._loaded:
            self._loaded[key] = load_model(options, role=role, modality=modality)
        return metered(self._loaded[key], is_shared=True)

    def make_room(self) -> None:
        """Release all where there are many; call it while no vehicle has any."""
        if len(self._loaded) > _MOST_SHARED:
            for loaded in self._loaded.values():
                loaded.backend.close()
            self._loaded.clear()


def build_vehicle(plan: VehiclePlan, clock: Clock, models: Models | None = None) -> Vehicle:
    """Load and warm all models.

    Args:
        plan: which ones.
        clock: of the pipelines.
        models: where they come from; None: they are loaded for this vehicle alone.

    Raises:
        ModelError: a model is missing, damaged or does not run here.
    """
    loads = models or OwnModels()
    loaded: dict[str, LoadedModel] = {}
    transforms = TransformTree()
    pipelines = {}
    for source in plan.sources:
        loaded[source.name] = loads.of(source.model, source.name, source.spec.modality)
        pipelines[source.name] = EncoderPipeline(
            source=source.name,
            spec=source.spec,
            model=ServedModel.build(source.spec, loaded[source.name]),
            geometry=source.options.geometry(),
            clock=clock,
            content_limits=source.content,
            pose=pose_of(source.spec, source.options, tree=transforms),
            monitor=source.monitor,
        )
    fusion_models: tuple[MeteredFusionModel, ...] = ()
    if plan.fusion_model.model:
        loaded[FUSION] = loads.of(plan.fusion_model, FUSION)
        fusion_models = (MeteredFusionModel(loaded[FUSION]),)
    return Vehicle(
        plan=plan,
        pipelines=pipelines,
        fusion_models=fusion_models,
        loaded=loaded,
        transforms=transforms,
    )
