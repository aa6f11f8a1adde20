"""The parameters of one encoder node, and which source and modality they make it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import GENERIC, EncoderSpec, encoders, modality_of
from edge_perception.encoders.health import HealthLimits
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.options import SourceOptions
from edge_perception.encoders.watchdog import WatchdogLimits
from edge_perception.fleet.cloud.options import CloudOptions
from edge_perception.models.loading import ModelOptions
from edge_perception.monitoring.source import MonitorOptions
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.parameters import ParameterSet
from edge_perception.running.node_options import EncoderNodeOptions


class EncoderParameters:
    """Declared once; each set has its present values in `config`.

    Attributes:
        spec: the modality.
        source: which sensor, and where it sits.
        model: which model serves first, and from where.
        limits: what the health is measured against.
        content: thresholds of the content check; None: the modality has none.
        load: what may be given up under load.
        watchdog: when inference hangs.
        monitor: how drift and conditions are watched.
        cloud: which frames are doubtful, and who is asked about them.
    """

    def __init__(
        self,
        node: PerceptionNode,
        modality: str,
        source: str,
        *,
        on_content: Callable[[Any], None],
        on_load: Callable[[LoadOptions], None],
        on_cloud: Callable[[CloudOptions], None],
    ) -> None:
        """Declare them.

        Args:
            node: the encoder.
            modality: what the executable serves; empty: the parameter or the node's name says it.
            source: default name of the source; empty: the node's name tells it, else the modality.
            on_content: takes new thresholds of the content check.
            on_load: takes new options of load control.
            on_cloud: takes new options of doubtful frames.

        Raises:
            ConfigurationError: no modality, another one than the executable serves, or a value that
                does not fit.
        """
        self.spec = _chosen_spec(node, modality)
        declare = node.declare_parameters_of
        self.source: ParameterSet[SourceOptions] = declare(
            self.spec.options,
            defaults={"source": source or self._source_of(node)},
        )
        self.model = declare(ModelOptions, defaults={"model": self.spec.default_model})
        self.limits = declare(HealthLimits, defaults={"rate_hz": self.spec.rate_hz})
        self.content: ParameterSet | None = None
        if self.spec.content is not None:
            self.content = declare(
                self.spec.content.limits, prefix="content.", on_change=on_content
            )
        self.load = declare(LoadOptions, prefix="load.", on_change=on_load)
        self.watchdog = declare(WatchdogLimits, prefix="watchdog.")
        self.monitor = declare(
            MonitorOptions,
            prefix="monitor.",
            # Drift and conditions are told by files of the operator's, and lead to rollbacks.
            held=lambda: self.model.config.held,
        )
        self.cloud = declare(
            CloudOptions,
            prefix="cloud.",
            on_change=on_cloud,
            # What a server says is of a model that nobody signed.
            held=lambda: self.model.config.held,
        )

    def _source_of(self, node: PerceptionNode) -> str:
        """Return the source that the node's name tells, where it is one of the modality."""
        named, modality = _named_source(node), self.spec.modality
        return named if named == modality or named.startswith(f"{modality}_") else modality


def _chosen_spec(node: PerceptionNode, modality: str) -> EncoderSpec:
    asked = node.declare_parameters_of(
        EncoderNodeOptions, defaults={"modality": modality}
    ).config.modality
    if modality and asked != modality:
        raise ConfigurationError(
            f"{node.get_name()}: modality: expected '{modality}', got '{asked}'; the "
            f"executable `{GENERIC}` serves any"
        )
    named = _named_source(node)
    if not asked and not named:
        raise ConfigurationError(
            f"{GENERIC}: modality: expected one of {', '.join(sorted(encoders().specs))}, got "
            "none: give --modality, the parameter, or a node name such as camera_rear_encoder"
        )
    return encoders()[asked or modality_of(named)]


def _named_source(node: PerceptionNode) -> str:
    """Return the source that the node's name tells; empty: it tells none."""
    name = str(node.get_name())
    return "" if name == GENERIC else name.removesuffix("_encoder")
