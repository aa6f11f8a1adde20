"""Which camera an encoder serves."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter
from edge_perception.encoders.options import SourceOptions


@dataclass(frozen=True, kw_only=True)
class CameraSourceOptions(SourceOptions):
    """Which camera this node serves."""

    input: str = parameter(
        "auto",
        "which of its topics is listened to; auto: raw where it is published",
        choices=("auto", "raw", "compressed"),
    )
