"""The vehicle of a replay: the encoders and fusion that the nodes would be, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_perception.core.clock import Clock
from edge_perception.core.transforms import TransformTree
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import pose_of
from edge_perception.encoders.serving import ServedModel
from edge_perception.models.loading import LoadedModel
from edge_perception.releases.loading import load_model
from edge_perception.replay.metering import MeteredFusionModel, metered
from edge_perception.running.vehicle_plan import FUSION, VehiclePlan


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


def build_vehicle(plan: VehiclePlan, clock: Clock) -> Vehicle:
    """Load and warm all models.

    Raises:
        ModelError: a model is missing, damaged or does not run here.
    """
    loaded: dict[str, LoadedModel] = {}
    transforms = TransformTree()
    pipelines = {}
    for source in plan.sources:
        loaded[source.name] = metered(load_model(source.model, role=source.spec.modality))
        pipelines[source.name] = EncoderPipeline(
            source=source.name,
            spec=source.spec,
            model=ServedModel.build(source.spec, loaded[source.name]),
            geometry=source.options.geometry(),
            clock=clock,
            content_limits=source.content,
            pose=pose_of(source.spec, source.options, tree=transforms),
        )
    models: tuple[MeteredFusionModel, ...] = ()
    if plan.fusion_model.model:
        loaded[FUSION] = metered(load_model(plan.fusion_model, role=FUSION))
        models = (MeteredFusionModel(loaded[FUSION]),)
    return Vehicle(
        plan=plan,
        pipelines=pipelines,
        fusion_models=models,
        loaded=loaded,
        transforms=transforms,
    )
