"""Pairs fused views with the image of their camera, and draws the newest pair. No ROS in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Feature, ImageFrame, Mode, PublishedView
from edge_perception.observe.overview.picture import camera_picture

_MOST_IMAGES = 12  # a second at 10 Hz: a view is later than its image by less


class Annotator:
    """Keeps the last images of one camera. For one thread.

    Args:
        source: the camera.
        width_px: of the picture.
    """

    def __init__(self, source: str, width_px: int) -> None:
        self._source, self._width_px = source, width_px
        self._images: deque[tuple[int, Callable[[], Any]]] = deque(maxlen=_MOST_IMAGES)
        self._feature: Feature | None = None
        self._drawn_ns = 0
        self.why_not = "nothing came yet"

    def clear(self) -> None:
        """Forget everything: nobody looked for a while."""
        self._images.clear()
        self._feature, self._drawn_ns, self.why_not = None, 0, "nothing came yet"

    def on_image(self, stamp_ns: int, read: Callable[[], Any]) -> None:
        """Take what reads the message of an image; it is called only if the image is drawn."""
        self._images.append((stamp_ns, read))

    def on_feature(self, feature: Feature) -> None:
        """Take a feature of the camera: it knows where the camera sits and how it projects."""
        self._feature = feature

    def draw(
        self, published: PublishedView, decode: Callable[[Any], ImageFrame]
    ) -> tuple[int, str, NDArray[np.uint8]] | None:
        """Return stamp, frame and picture of a view; None: `why_not`, or it was drawn already.

        Args:
            published: the newest fused view.
            decode: from a message to an `ImageFrame`.
        """
        view = published.view
        status = view.source(self._source)
        if status is None:
            self.why_not = f"fusion has no source '{self._source}'"
            return None
        if status.stamp_ns == self._drawn_ns:
            return None
        read = next((r for stamp_ns, r in self._images if stamp_ns == status.stamp_ns), None)
        if read is None:
            self.why_not = f"no image has the stamp of the newest feature of {self._source}"
            return None
        feature = self._feature
        if feature is None or feature.geometry.intrinsics is None:
            self.why_not = f"{self._source}: its calibration is not known"
            return None
        frame = decode(read())
        self._drawn_ns, self.why_not = status.stamp_ns, ""
        picture = camera_picture(
            frame.bgr,
            view.objects,
            K=feature.geometry.intrinsics,
            T_camera_base=np.asarray(np.linalg.inv(feature.geometry.T_base_sensor), np.float64),
            title=_title(published, status.state.name),
            width_px=self._width_px,
        )
        return status.stamp_ns, frame.frame_id, picture


def _title(published: PublishedView, state: str) -> str:
    view = published.view
    words = [Mode(view.mode).name, "" if view.valid else "NOT VALID", f"camera {state}"]
    if published.end_to_end_s == published.end_to_end_s:  # NaN: nothing contributes
        words.append(f"{published.end_to_end_s * 1e3:.0f} ms")
    return "  ".join(filter(None, words))
