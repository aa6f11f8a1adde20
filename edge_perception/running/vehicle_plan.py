"""Which sources, models and limits the parameter files give the nodes, read without ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import EncoderSpec, TopicSpec, encoders, modality_of, source_defaults
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.options import SourceOptions
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    FusionConfig,
    SourceConfig,
)
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL, FusionNodeOptions
from edge_perception.fusion.policy import DegradationPolicy, default_policy, read_policy
from edge_perception.models.loading import ModelOptions
from edge_perception.monitoring.source import MonitorOptions
from edge_perception.running.node_parameters import check_names
from edge_perception.running.parameter_yaml import ParameterFiles, absolute, decode_parameters
from edge_perception.running.vehicle_namespace import choose_namespace

FUSION = "fusion"


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """One sensor of the vehicle."""

    name: str
    spec: EncoderSpec
    options: SourceOptions
    model: ModelOptions
    content: Any = None  # thresholds of the content check; None: the modality has none
    load: LoadOptions = field(default_factory=LoadOptions)  # lock step has none
    monitor: MonitorOptions | None = None  # None: drift and conditions are not watched

    def topics(self) -> dict[str, TopicSpec]:
        """Return the input topics by absolute name, the calibration not among them."""
        return {self._named(topic): topic for topic in self.spec.topics}

    @property
    def calibration_topic(self) -> str:
        """Absolute name of the calibration topic; empty: the modality has none."""
        return self._named(self.spec.calibration) if self.spec.calibration else ""

    def _named(self, topic: TopicSpec) -> str:
        return "/" + topic.topic.replace(self.spec.modality, self.name, 1)


@dataclass(frozen=True, kw_only=True)
class VehiclePlan:
    """What the parameter files say: sources, fusion and models."""

    sources: tuple[SourcePlan, ...]
    fusion: FusionConfig
    fusion_model: ModelOptions
    policy: DegradationPolicy
    odometry_topic: str = ""  # absolute name; empty: none
    namespace: str = "/"
    notes: tuple[str, ...] = ()  # what was understood of the files and not written there


def read_plan(
    files: Sequence[Path],
    *,
    overrides: Mapping[str, object] | None = None,
    subset: Sequence[str] = (),
    namespace: str | None = None,
) -> VehiclePlan:
    """Read parameter files as the nodes do.

    Args:
        files: in the order of a command line, the last one wins.
        overrides: more values as `node.parameter`.
        subset: only these sources; empty: all that fusion listens to.
        namespace: of the nodes; None: the one that the files speak of.

    Raises:
        ConfigurationError: a value does not fit, nothing reads a name, the files speak of several
            vehicles, or a source has no such modality.
    """
    parameters = ParameterFiles(files, overrides, namespace=namespace or "")
    check_names(parameters)
    notes = choose_namespace(parameters) if namespace is None else ()
    values = parameters.of_node(FUSION)
    options = decode_parameters(FusionNodeOptions, values, FUSION)
    names = options.sources
    policy = options.degradation_policy
    unknown = [name for name in subset if name not in names]
    if unknown:
        raise ConfigurationError(
            f"subset: expected some of {', '.join(names)}, got {', '.join(unknown)}"
        )
    names = tuple(name for name in names if name in subset) if subset else names
    configs = [
        decode_parameters(
            SourceConfig, values, FUSION, prefix=f"{name}.", defaults=source_defaults(name)
        )
        for name in names
    ]
    return VehiclePlan(
        sources=tuple(_source(name, parameters) for name in names),
        fusion=FusionConfig(
            sources=tuple(configs),
            cycle=decode_parameters(CycleConfig, values, FUSION),
            decision=decode_parameters(DecisionConfig, values, FUSION, prefix="decision."),
        ),
        fusion_model=decode_parameters(
            ModelOptions, values, FUSION, defaults={"model": DEFAULT_FUSION_MODEL}
        ),
        policy=read_policy(Path(policy)) if policy else default_policy(),
        odometry_topic=absolute(options.odometry_topic) if options.odometry_topic else "",
        namespace=parameters.namespace,
        notes=notes,
    )


def _source(name: str, parameters: ParameterFiles) -> SourcePlan:
    spec = encoders()[modality_of(name)]
    node = f"{name}_encoder"
    values = parameters.of_node(node)
    options = decode_parameters(spec.options, values, node, defaults={"source": name})
    if options.source != name:
        raise ConfigurationError(f"{node}.source: expected '{name}', got '{options.source}'")
    return SourcePlan(
        name=name,
        spec=spec,
        options=options,
        model=decode_parameters(ModelOptions, values, node, defaults={"model": spec.default_model}),
        monitor=decode_parameters(MonitorOptions, values, node, prefix="monitor."),
        content=(
            decode_parameters(spec.content.limits, values, node, prefix="content.")
            if spec.content is not None
            else None
        ),
        load=decode_parameters(LoadOptions, values, node, prefix="load."),
    )


def swapped(plan: VehiclePlan, release: str) -> VehiclePlan:
    """Return the plan with the models of another release.

    Args:
        plan: the present one.
        release: a set (`bev_lite_next`: every role it has), or `role=bundle` for one model.

    Raises:
        ConfigurationError: no source or model of that name.
    """
    role, equals, bundle = release.partition("=")
    if equals:
        names = {role: bundle}
        if role not in {source.name for source in plan.sources} | {FUSION}:
            raise ConfigurationError(f"swap: expected a source or fusion, got '{role}'")
    else:
        names = {source.name: f"{release}/{source.spec.modality}" for source in plan.sources}
        names[FUSION] = f"{release}/{FUSION}"
    sources = tuple(
        replace(s, model=replace(s.model, model=names.get(s.name, s.model.model)))
        for s in plan.sources
    )
    model = names.get(FUSION, plan.fusion_model.model) if plan.fusion_model.model else ""
    return replace(plan, sources=sources, fusion_model=replace(plan.fusion_model, model=model))
