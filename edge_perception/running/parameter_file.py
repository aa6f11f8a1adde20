"""Writes the commented parameter file from the same dataclasses that the nodes declare."""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from typing import Any

import yaml

from edge_perception.encoders import encoders
from edge_perception.running.node_parameters import (
    ENCODER,
    FUSION,
    MANAGER,
    METRICS,
    RESOURCES,
    TRACES,
    Group,
    encoder_groups,
    fusion_groups,
    manager_groups,
    metrics_groups,
    resources_groups,
    traces_groups,
)

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
    modalities = sorted(registry.specs)
    nodes = {f"{name}{ENCODER}": encoder_groups(name) for name in modalities}
    nodes |= {FUSION: fusion_groups(modalities), MANAGER: manager_groups()}
    nodes |= {METRICS: metrics_groups(), RESOURCES: resources_groups(), TRACES: traces_groups()}
    for node, groups in nodes.items():
        sections.append(f"\n/**/{node}:\n  ros__parameters:\n")
        sections.extend(_parameters(group) for group in groups)
    return "".join(sections)


def _parameters(group: Group) -> str:
    lines: list[str] = []
    hints, prefix = typing.get_type_hints(group.cls), group.prefix
    for field in dataclasses.fields(group.cls):
        default = group.defaults.get(field.name, field.default)
        comment = f"{_star(field)}{field.metadata.get('text', field.name)}{_limits(field)}"
        lines.extend(f"    # {line}" for line in textwrap.wrap(comment, 94))
        if default == ():  # ROS parameter files know no empty list
            element = typing.get_args(hints[field.name])[0]
            example = field.metadata.get("example", _EXAMPLE[element])
            lines.append(f"    # {prefix}{field.name}: {example}")
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
