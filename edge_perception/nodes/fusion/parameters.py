"""The parameters of the fusion node."""

from __future__ import annotations

from collections.abc import Callable

from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import (
    CycleConfig,
    DecisionConfig,
    FusionConfig,
    SourceConfig,
)
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL, FusionNodeOptions
from edge_perception.models.loading import ModelOptions
from edge_perception.nodes.common.base import PerceptionNode


class FusionParameters:
    """Declared once; each set has its present values in `config`.

    Attributes:
        options: of the node, among them its sources.
        model: which model serves first, and from where.
        cycle: when a cycle closes, and in which frame.
    """

    def __init__(self, node: PerceptionNode, on_change: Callable[[FusionConfig], None]) -> None:
        """Declare them.

        Args:
            node: the fusion node.
            on_change: takes what `fusion` returns, once something of it has changed.
        """

        def changed(_config: object) -> None:
            on_change(self.fusion())

        declare = node.declare_parameters_of
        self.options = declare(
            FusionNodeOptions,
            # Its files are the operator's: what is asked of the output, and when it is not trusted.
            held=lambda: self.model.config.held,
        )
        self.model = declare(ModelOptions, defaults={"model": DEFAULT_FUSION_MODEL})
        self.cycle = declare(CycleConfig, on_change=changed)
        self._decision = declare(DecisionConfig, prefix="decision.", on_change=changed)
        self._sources = [
            declare(
                SourceConfig,
                prefix=f"{source}.",
                defaults=source_defaults(source),
                on_change=changed,
            )
            for source in self.options.config.sources
        ]

    def fusion(self) -> FusionConfig:
        """Return what fusion is told now."""
        return FusionConfig(
            sources=tuple(source.config for source in self._sources),
            cycle=self.cycle.config,
            decision=self._decision.config,
        )
