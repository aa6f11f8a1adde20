"""The device plan: for each source the way to run its model that measured best on a machine.

Written by `edge-perception tune`, read by the nodes (`device_plan`). What the parameters of a node
set themselves goes before it; on another machine than it was measured on it is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from edge_perception.backends.contract import DEFAULT_PRECISION, PRECISIONS
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.machine import Machine, this_machine
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.whole_file import write_whole
from edge_perception.documents.yaml_text import parse_yaml
from edge_perception.models.loading import ModelOptions

SCHEMA_VERSION = 1
# What a plan says of a source, by the names of the parameters that it stands for.
_WHERE = ("backend", "provider", "precision")
PLANNED = (*_WHERE, "threads", "batch", "batch_wait_ms")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of one source, beside the others."""

    p50_ms: float
    p99_ms: float
    memory_mb: float  # of the model, in a process of its own; not that of its runtime
    joules: float | None = None  # a frame, above the idle machine; None: the notes say why
    runtime_mb: float | None = None  # of its runtime with no model; None: not told apart


@dataclass(frozen=True, kw_only=True)
class Cheaper:
    """A bundle of the same feature space that runs faster in the same way."""

    model: str
    sha256: str  # of the bundle that was measured
    time: float  # of what the planned model takes, alone
    map_loss: float | None = None  # points of mAP that it costs; None: not measured


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """How one model runs."""

    serves: str  # bundle that runs without the plan
    model: str  # bundle, the same or a variant of it
    sha256: str  # of the bundle that was measured
    backend: str
    provider: str = ""
    precision: str = parameter(DEFAULT_PRECISION, choices=PRECISIONS)
    threads: int = parameter(1, low=1, high=64)
    batch: int = parameter(1, low=1, high=64)  # frames of several sources in one run; 1: off
    batch_wait_ms: float = parameter(2.0, low=0.0, high=1000.0)
    figures: Figures | None = None
    cheaper: tuple[Cheaper, ...] = ()  # from large to tiny; for load control


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """How the models of a machine run."""

    schema_version: int
    machine: Machine
    measured: str  # ISO 8601
    sources: Mapping[str, SourcePlan]  # by source, and fusion
    gain: float  # throughput over the default configuration, measured in one run
    map_loss: float | None = None  # points of mAP that it costs; None: not measured
    notes: tuple[str, ...] = field(default=())

    def of(self, source: str) -> SourcePlan | None:
        """Return what it says of a source: `camera` holds for `camera_rear` too, by its name."""
        names = [name for name in self.sources if f"{source}_".startswith(f"{name}_")]
        return self.sources[max(names, key=len)] if names else None


def read_device_plan(path: Path) -> DevicePlan:
    """Read a plan.

    Raises:
        ConfigurationError: it cannot be read or is none.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"device_plan: {path}: {said}") from error
    plan: DevicePlan = decode(DevicePlan, document, str(path), error=ConfigurationError)
    if plan.schema_version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"device_plan: {path}: expected schema_version {SCHEMA_VERSION}, "
            f"got {plan.schema_version}"
        )
    return plan


def write_device_plan(path: Path, plan: DevicePlan) -> None:
    """Write a plan, its head saying what it is.

    Raises:
        OSError: it cannot be written; a plan that was there is as it was.
    """
    head = (
        "# Measured by `edge-perception tune`; name it in the parameter `device_plan` of a node.\n"
        "# It holds on this machine only, and is made anew after a change of hardware or models.\n"
    )
    write_whole(path, (head + yaml.safe_dump(_plain(plan), sort_keys=False)).encode())


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A node's options as the plan says."""

    options: ModelOptions
    sha256: str = ""  # of the bundle that the plan measured; empty: no plan holds
    note: str = ""  # why the plan does not hold; empty: it does, or there is none


def planned_options(
    options: ModelOptions, source: str, *, machine: Machine | None = None
) -> Planned:
    """Return a node's options as the plan says.

    A parameter that differs from its default was set on purpose and stays. One that says where the
    model runs takes the place of all that the plan says of it: a provider is of its runtime, and a
    precision was measured there.

    Args:
        options: of the node; without `device_plan` they come back as they are.
        source: name of the source, or fusion.
        machine: this one where none is given.

    Raises:
        ConfigurationError: the plan cannot be read.
    """
    if not options.device_plan:
        return Planned(options=options)
    plan = read_device_plan(Path(options.device_plan).expanduser())
    difference = (machine or this_machine()).differs(plan.machine)
    if difference:
        note = f"device plan ignored: it was measured on another machine: {difference}"
        return Planned(options=options, note=note)
    found = plan.of(source)
    if found is None:
        note = f"device plan says nothing of {source}, only of {', '.join(plan.sources)}"
        return Planned(options=options, note=note)
    defaults = {item.name: item.default for item in fields(ModelOptions)}
    own_backend = options.backend not in (defaults["backend"], found.backend)
    elsewhere = own_backend or options.provider != defaults["provider"]
    followed = [name for name in PLANNED if not (elsewhere and name in _WHERE)]
    changed = {
        name: getattr(found, name) for name in followed if getattr(options, name) == defaults[name]
    }
    if options.model == found.serves:
        changed["model"] = found.model
    return Planned(options=replace(options, **changed), sha256=found.sha256)


def planned_variants(
    options: ModelOptions, source: str, *, machine: Machine | None = None
) -> tuple[tuple[Cheaper, ...], str]:
    """Return what measured cheaper than the model of a source, and why nothing did.

    Args:
        options: of the node.
        source: name of the source.
        machine: this one where none is given.

    Raises:
        ConfigurationError: the plan cannot be read.
    """
    if not options.device_plan:
        return (), "device_plan is not set"
    planned = planned_options(options, source, machine=machine)
    if not planned.sha256:
        return (), planned.note
    found = read_device_plan(Path(options.device_plan).expanduser()).of(source)
    assert found is not None
    if planned.options.model != found.model:
        return (), f"device plan was measured with {found.model}, not {planned.options.model}"
    if not found.cheaper:
        return (), f"device plan: nothing measured cheaper than {found.model} on this machine"
    return found.cheaper, ""


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
