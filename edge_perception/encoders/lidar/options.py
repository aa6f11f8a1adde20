"""Which LiDAR an encoder serves, and what its brightness means."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry
from edge_perception.encoders.options import SourceOptions

AUTOMATIC, SCALE, IGNORE = "auto", "scale", "ignore"


@dataclass(frozen=True, kw_only=True)
class LidarSourceOptions(SourceOptions):
    """Which LiDAR this node serves."""

    intensity: str = parameter(
        AUTOMATIC,
        "what the model is given of the returns' intensity; auto: each sweep as bright as those of "
        "training, where the model asks for that; scale: as read, times intensity_scale; "
        "ignore: none",
        choices=(AUTOMATIC, SCALE, IGNORE),
    )
    intensity_scale: float = parameter(
        1.0,
        "of intensity: scale; factor on the intensity as it is read, 0 to 1, for every sweep alike",
        low=1e-4,
        high=1e4,
    )

    def geometry(self) -> Geometry:
        """Return the pose, and the factor on the intensity where one is given.

        Raises:
            ConfigurationError: as that of every sensor, or a scale that nothing would use.
        """
        geometry = super().geometry()
        if self.intensity != SCALE and self.intensity_scale != 1.0:
            raise ConfigurationError(
                f"{self.source}: intensity_scale: {self.intensity_scale:g} is used with intensity: "
                f"{SCALE} only, got intensity: {self.intensity}"
            )
        if self.intensity == AUTOMATIC:
            return geometry
        factor = 0.0 if self.intensity == IGNORE else self.intensity_scale
        return replace(geometry, intensity_factor=factor)
