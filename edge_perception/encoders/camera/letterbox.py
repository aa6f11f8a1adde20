"""Where an image lies in a network's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera.lift import ImagePlacement


@dataclass(frozen=True, kw_only=True)
class Letterbox(ImagePlacement):
    """An image resized into a network input, with padding where the shapes differ."""

    image_size: tuple[int, int]  # width, height of the image, px
    corner: tuple[int, int]  # first column and row of the image in the input, px
    inner: tuple[int, int]  # width and height of the image in the input, px

    def to_image(self, points: NDArray) -> NDArray[np.float64]:
        """Map points of the network input to the image.

        Args:
            points: (..., 2), x and y, continuous: the first pixel spans 0 to 1.

        Returns:
            (..., 2), px of the image, pixel centres at integers.
        """
        points = np.asarray(points, dtype=np.float64)
        return np.asarray((points - self.offset) / self.scale - 0.5)


@lru_cache(maxsize=8)
def fit(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    resize: str = "letterbox",
    pad: str = "bottom_right",
) -> Letterbox:
    """Return how an image is placed.

    Args:
        image_size: width and height, px.
        input_size: width and height of the network input, px.
        resize: `letterbox` keeps the shape and pads, `stretch` does not.
        pad: where a letterbox pads: `bottom_right`, or all around for `center`.

    Raises:
        InvalidFrameError: nothing would be left of the image.
    """
    width, height = image_size
    inner = input_size
    if resize == "letterbox":
        ratio = min(input_size[0] / width, input_size[1] / height)
        inner = (round(width * ratio), round(height * ratio))
    if min(inner) < 1:
        raise InvalidFrameError(
            f"image of {width} x {height} px: nothing is left in an input of "
            f"{input_size[0]} x {input_size[1]} px"
        )
    corner = (0, 0)
    if pad == "center":
        corner = ((input_size[0] - inner[0]) // 2, (input_size[1] - inner[1]) // 2)
    return Letterbox(
        image_size=image_size,
        size=input_size,
        # The real ratio of each axis: rounding to whole pixels changes it a little.
        scale=(inner[0] / width, inner[1] / height),
        offset=(float(corner[0]), float(corner[1])),
        corner=corner,
        inner=inner,
    )
