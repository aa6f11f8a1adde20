"""Writes the commented parameter file from the same dataclasses that the nodes declare."""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from edge_perception.encoders import encoders
from edge_perception.encoders.health import HealthLimits
from edge_perception.encoders.watchdog import WatchdogLimits
from edge_perception.fusion.config import (
    MODALITY_DEFAULTS,
    CycleConfig,
    DecisionConfig,
    SourceConfig,
)
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL, FusionNodeOptions
from edge_perception.models.loading import ModelOptions
from edge_perception.nodes.base import NodeOptions
from edge_perception.nodes.manager_parts import ManagerOptions
from edge_perception.releases.admission import AdmissionLimits

_HEAD = """\
# Every parameter of every node, with its default. Written by `edge-perception parameters`.
# [unit, lowest to highest]; a star marks what may change while the node runs.
# One node a section; /** before a name matches any namespace.
"""


_EXAMPLE = {str: '["…"]', int: "[0]", float: "[0.0]"}  # of a list that is empty by default


def parameter_file() -> str:
    """Return the text of config/perception.yaml."""
    sections = [_HEAD]
    registry = encoders()
    for modality, reason in registry.failures.items():
        sections.append(f"# {modality}: left out, it cannot be loaded here: {reason}\n")
    for modality in sorted(registry.specs):
        spec = registry[modality]
        sections.append(_node(f"{modality}_encoder"))
        sections.append(_parameters(NodeOptions))
        sections.append(_parameters(spec.options, {"source": modality}))
        sections.append(_parameters(ModelOptions, {"model": spec.default_model}))
        sections.append(_parameters(HealthLimits, {"rate_hz": spec.rate_hz}))
        sections.append(_parameters(WatchdogLimits, prefix="watchdog."))
        if spec.content is not None:
            sections.append(_parameters(spec.content.limits, prefix="content."))
    sections.append(_node("fusion"))
    sections.append(_parameters(NodeOptions))
    sections.append(_parameters(FusionNodeOptions))
    sections.append(_parameters(ModelOptions, {"model": DEFAULT_FUSION_MODEL}))
    sections.append(_parameters(CycleConfig))
    sections.append(_parameters(DecisionConfig, prefix="decision."))
    for modality in sorted(registry.specs):
        named = {"source": modality, "modality": modality}
        defaults = {**MODALITY_DEFAULTS.get(modality, {}), **named}
        sections.append(_parameters(SourceConfig, defaults, prefix=f"{modality}."))
    sections.append(_node("model_manager"))
    sections.append(_parameters(NodeOptions))
    sections.append(_parameters(ManagerOptions))
    sections.append(_parameters(AdmissionLimits, prefix="admission_"))
    return "".join(sections)


def _node(name: str) -> str:
    return f"\n/**/{name}:\n  ros__parameters:\n"


def _parameters(cls: Any, defaults: Mapping[str, Any] | None = None, prefix: str = "") -> str:
    lines = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default = (defaults or {}).get(field.name, field.default)
        comment = f"{_star(field)}{field.metadata.get('text', field.name)}{_limits(field)}"
        lines.extend(f"    # {line}" for line in textwrap.wrap(comment, 94))
        if default == ():  # ROS parameter files know no empty list
            lines.append(
                f"    # {prefix}{field.name}: {_EXAMPLE[typing.get_args(hints[field.name])[0]]}"
            )
        else:
            lines.append(f"    {prefix}{field.name}: {_value(default)}")
    return "\n".join(lines) + "\n"


def _star(field: dataclasses.Field) -> str:
    return "* " if field.metadata.get("dynamic") else ""


def _limits(field: dataclasses.Field) -> str:
    meta = field.metadata
    parts = [meta["unit"]] if meta.get("unit") else []
    if "min" in meta:
        parts.append(f"{meta['min']:g} to {meta['max']:g}")
    if "choices" in meta:
        parts.append(" | ".join(map(str, meta["choices"])))
    return f" [{', '.join(parts)}]" if parts else ""


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip() or '""'
