"""Where the microphones are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry
from edge_perception.encoders.audio.direction import check_array
from edge_perception.encoders.options import SourceOptions


@dataclass(frozen=True, kw_only=True)
class AudioSourceOptions(SourceOptions):
    """Which microphones this node serves."""

    microphone_positions: tuple[float, ...] = parameter(
        (),
        "x, y, z [m] of each channel's microphone in the sensor frame, three channels "
        "or more, not on a line: events get a bearing; empty: they do not",
        example="[0.1, 0.1, 0.0, -0.1, 0.1, 0.0, -0.1, -0.1, 0.0]",
    )

    input: str = parameter(
        "auto",
        "which of its topics is listened to; auto: the first that is published",
        choices=("auto", "chunk", "stamped", "common"),
    )

    def geometry(self) -> Geometry:
        """Return pose and microphones.

        Raises:
            ConfigurationError: not three finite numbers a microphone, or `check_array` refuses
                the array.
        """
        geometry = super().geometry()
        if not self.microphone_positions:
            return geometry
        values = np.asarray(self.microphone_positions, np.float64)
        if len(values) % 3 or not np.isfinite(values).all():
            raise ConfigurationError(
                "microphone_positions: expected x, y, z for each channel, "
                f"got {self.microphone_positions}"
            )
        positions = values.reshape(-1, 3)
        check_array(positions @ geometry.T_base_sensor[:3, :3].T)
        return replace(geometry, microphones_m=positions)
