"""Which parameters the nodes of the package read, and what to say of any other name."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import encoders, modality_of, source_defaults
from edge_perception.encoders.health import HealthLimits
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.watchdog import WatchdogLimits
from edge_perception.fleet.cloud.options import CloudOptions
from edge_perception.fleet.options import FleetOptions
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    SourceConfig,
)
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL, FusionNodeOptions
from edge_perception.models.loading import ModelOptions
from edge_perception.monitoring.source import MonitorOptions
from edge_perception.releases.admission import AdmissionLimits
from edge_perception.releases.options import ManagerOptions
from edge_perception.running.node_options import (
    EncoderNodeOptions,
    MetricsNodeOptions,
    NodeOptions,
    ResourcesNodeOptions,
    TracesNodeOptions,
)
from edge_perception.running.parameter_yaml import ParameterFiles
from edge_perception.running.plugin_parameters import use_plugin_folders
from edge_perception.running.ros_yaml import Section

FUSION, MANAGER, ENCODER = "fusion", "model_manager", "_encoder"
METRICS, RESOURCES, TRACES = "metrics", "resources", "traces"
# Of every ROS node; `diagnostic_updater` where it is installed.
_OF_ROS = re.compile(
    r"use_sim_time|start_type_description_service|diagnostic_updater\.\w+"
    r"|qos_overrides\.[^.]+\.(subscription|publisher)(_\w+)?\.(reliability|durability|history|depth)"
)
_SWITCHES = ("use_sim_time", "start_type_description_service")  # rclpy takes no other kind
# What `ros2 param dump` writes of any node, and what rclpy passes over.
_DUMPED = ("/parameter_events", "/rosout")
_OUTPUT_QOS = re.compile(r"qos_overrides\.(?P<topic>[^.]+)\.publisher(_\w+)?\.\w+")
_TOPIC = re.compile(r"(.*[._])?topics?")

# Inputs take these two policies; rclpy reads no other one of them, and would say nothing of it.
_INPUT_QOS = re.compile(r"qos_overrides\.(?P<topic>[^.]+)\.subscription(_\w+)?\.(?P<policy>\w+)")
_DEEPEST = 100_000
_RELIABILITIES = ("reliable", "best_effort", "system_default")


@dataclass(frozen=True, kw_only=True)
class Group:
    """The fields of one dataclass as parameters of a node."""

    cls: Any
    prefix: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Full names of the parameters."""
        return [self.prefix + item.name for item in dataclasses.fields(self.cls)]


def encoder_groups(source: str) -> list[Group]:
    """Return the parameters of the encoder of a source.

    Raises:
        UnknownNameError: the source's name begins with no known modality.
    """
    spec = encoders()[modality_of(source)]
    groups = [
        Group(cls=NodeOptions),
        Group(cls=EncoderNodeOptions, defaults={"modality": spec.modality}),
        Group(cls=spec.options, defaults={"source": source}),
        Group(cls=ModelOptions, defaults={"model": spec.default_model}),
        Group(cls=HealthLimits, defaults={"rate_hz": spec.rate_hz}),
        Group(cls=LoadOptions, prefix="load."),
        Group(cls=WatchdogLimits, prefix="watchdog."),
        Group(cls=MonitorOptions, prefix="monitor."),
        Group(cls=CloudOptions, prefix="cloud."),
    ]
    if spec.content is not None:
        groups.append(Group(cls=spec.content.limits, prefix="content."))
    return groups


def fusion_groups(sources: Iterable[str]) -> list[Group]:
    """Return the parameters of fusion with these sources."""
    groups = [
        Group(cls=NodeOptions),
        Group(cls=FusionNodeOptions),
        Group(cls=ModelOptions, defaults={"model": DEFAULT_FUSION_MODEL}),
        Group(cls=CycleConfig),
        Group(cls=DecisionConfig, prefix="decision."),
    ]
    for source in sources:
        prefix, defaults = f"{source}.", source_defaults(source)
        groups.append(Group(cls=SourceConfig, prefix=prefix, defaults=defaults))
    return groups


def manager_groups() -> list[Group]:
    """Return the parameters of the model manager."""
    return [
        Group(cls=NodeOptions),
        Group(cls=ManagerOptions),
        Group(cls=AdmissionLimits, prefix="admission_"),
        Group(cls=FleetOptions, prefix="fleet_"),
    ]


def metrics_groups() -> list[Group]:
    """Return the parameters of the metrics node."""
    return [Group(cls=NodeOptions), Group(cls=MetricsNodeOptions)]


def resources_groups() -> list[Group]:
    """Return the parameters of the resources node."""
    return [Group(cls=NodeOptions), Group(cls=ResourcesNodeOptions)]


def traces_groups() -> list[Group]:
    """Return the parameters of the traces node."""
    return [Group(cls=NodeOptions), Group(cls=TracesNodeOptions)]


def check_names(files: ParameterFiles, *, node: str = "", is_encoder: bool = False) -> None:
    """Refuse names that nothing reads.

    Args:
        files: what was given.
        node: name that the node of this process was given; empty: it has its own.
        is_encoder: the process is one encoder. Which others there are is told to fusion, maybe by
            another file: a section for any of them may be right.

    Raises:
        ConfigurationError: a section or a parameter that no node of the package has; the text
            names the nearest that there is.
    """
    use_plugin_folders(files)
    sources = sources_of(files)
    if is_encoder:
        named = (section.pattern.split("/")[-1] for section in files.written)
        found = {name.removesuffix(ENCODER) for name in (*named, node) if name.endswith(ENCODER)}
        sources |= {name for name in found if _is_source(name)}
    known = known_names(sources)
    if node and node not in known:
        known[node] = set().union(*known.values())
    others = [
        pattern
        for value in files.everywhere("other_nodes", known)
        for pattern in (value if isinstance(value, list) else [])
    ]
    for section in files.written:
        _check_section(section, known, [str(pattern) for pattern in others])


def known_names(sources: Iterable[str]) -> dict[str, set[str]]:
    """Return the parameters by node."""
    sources = sorted(set(sources))
    groups = {f"{source}{ENCODER}": encoder_groups(source) for source in sources}
    groups |= {FUSION: fusion_groups(sources), MANAGER: manager_groups()}
    groups |= {METRICS: metrics_groups(), RESOURCES: resources_groups(), TRACES: traces_groups()}
    return {node: {name for g in found for name in g.names} for node, found in groups.items()}


def sources_of(files: ParameterFiles) -> set[str]:
    """Return the sources that may be meant: those that are named, and one of each modality."""
    found = set(encoders().specs)
    for value in files.everywhere("sources", [FUSION]):
        found.update(str(name) for name in (value if isinstance(value, list) else []))
    for value in files.everywhere("source", []):
        found.add(str(value))
    return {name for name in found if _is_source(name)}


def _is_source(name: str) -> bool:
    try:
        modality_of(name)
    except ConfigurationError:  # said where the list of sources is read
        return False
    return True


def _check_section(section: Section, known: dict[str, set[str]], others: list[str]) -> None:
    node = section.pattern.split("/")[-1]
    if any(fnmatch(node, pattern) for pattern in others):
        return
    if node in ("*", "**"):
        names = set().union(*known.values())
    elif node in known:
        names = known[node]
    else:
        raise ConfigurationError(
            f"{section.origin}: no node reads the section '{section.pattern}'; nearest: "
            f"'{_nearest(node, known)}' of {', '.join(sorted(known))}; nodes of other packages are "
            "named in other_nodes"
        )
    for name, value in section.values.items():
        if _OF_ROS.fullmatch(name):
            if name in _SWITCHES and not isinstance(value, bool):
                raise ConfigurationError(
                    f"{section.origin}: '{name}': expected true or false without quotes, "
                    f"got {value!r}"
                )
            if node in known:  # of every node: those of other packages have other inputs
                _check_input_qos(section.origin, name, value)
            continue
        if name in names:
            continue
        readers = sorted(other for other, theirs in known.items() if name in theirs)
        hint = f"it is one of {', '.join(readers)}" if readers else ""
        hint = hint or _topic_hint(name, names) or f"nearest: '{_nearest(name, names)}'"
        where = "any node" if node in ("*", "**") else node
        raise ConfigurationError(f"{section.origin}: '{name}' is no parameter of {where}; {hint}")


def _check_input_qos(origin: str, name: str, value: object) -> None:
    """Refuse what an input topic cannot be given.

    Raises:
        ConfigurationError: an output, another policy than reliability and depth, or no value of it.
    """
    output = _OUTPUT_QOS.fullmatch(name)
    if output is not None and output["topic"] not in _DUMPED:
        raise ConfigurationError(
            f"{origin}: '{name}': the QoS of what a node publishes cannot be changed; that of the "
            "subscription can"
        )
    found = _INPUT_QOS.fullmatch(name)
    if found is None or found["topic"] == "/clock":  # ROS reads all policies of its own
        return
    if found["policy"] == "reliability":
        fits, expected = str(value).lower() in _RELIABILITIES, f"one of {', '.join(_RELIABILITIES)}"
    elif found["policy"] == "depth":
        fits, expected = type(value) is int and 1 <= value <= _DEEPEST, f"1 to {_DEEPEST}"
    else:
        raise ConfigurationError(
            f"{origin}: '{name}': of an input reliability and depth can be changed, not "
            f"{found['policy']}"
        )
    if not fits:
        raise ConfigurationError(f"{origin}: '{name}': expected {expected}, got {value!r}")


def _topic_hint(name: str, known: Iterable[str]) -> str:
    """Return what to do instead of a parameter for a topic, which drivers have; empty: none."""
    if not _TOPIC.fullmatch(name) or difflib.get_close_matches(name, known, n=1, cutoff=0.75):
        return ""
    return "topics are remapped: `--topics lidar:=/my/points`, or `topics` of the launch file"


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name; where a part is missing, the one with the same last part."""
    names = sorted(known)
    whole = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    last = {known_name.split(".")[-1]: known_name for known_name in reversed(names)}
    part = difflib.get_close_matches(name.split(".")[-1], list(last), n=1, cutoff=0.75)
    if whole or not part:
        return (whole or difflib.get_close_matches(name, names, n=1, cutoff=0.0))[0]
    return last[part[0]]
