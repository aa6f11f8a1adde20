"""Whether the output of an earlier frame may serve for a later one. Pure logic on stamps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Geometry, ImageObject
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.likeness import LikenessSpec

NS = 1_000_000_000
_MOVES_MPS = 0.5  # slower is the jitter of a box
_MOVES_BOX = 0.05  # of the diagonal of a box, in an image, where nobody knows how near it is
_FASTEST_MPS = 30.0  # how fast something that moves may come near while an output is reused
_NONE_YET = "no frame of this model and pose yet"
_APART_S = 1.0  # inferences further apart, beyond the age that is allowed, tell no motion


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """A frame that a model ran on."""

    stamp_ns: int
    model: Any  # who ran; the same object
    geometry: Geometry  # the same object, too
    sketch: NDArray
    output: EncoderOutput


@dataclass(frozen=True, kw_only=True)
class ReuseLimits:
    """How far reuse goes."""

    max_age_s: float
    change: float  # factor of the modality's limit
    near_m: float  # from the origin of the base frame; what moves faster reaches it from beyond


@dataclass(frozen=True, kw_only=True)
class Reused:
    """An output that serves again, and the text that says so."""

    output: EncoderOutput
    stamp_ns: int  # of the frame that it was inferred from
    text: str


class FrameReuse:
    """Keeps the newest inferred frames of one source; one thread uses it."""

    def __init__(self, likeness: LikenessSpec) -> None:
        self._likeness = likeness
        self._last: Inferred | None = None
        self._before: Inferred | None = None
        self._why_none = ""  # there is none to reuse
        self.why_not = ""  # of the newest frame; empty: it was reused
        self.count = 0

    def inferred(self, frame: Inferred) -> None:
        """Take a frame that a model ran on."""
        self._before, self._last = self._last, frame
        self._why_none = ""

    def forget(self, reason: str) -> None:
        """Keep nothing; what is not reused says the reason until there is an output again."""
        self._before = self._last = None
        self._why_none = reason

    def sketch(self, frame: Any) -> NDArray:
        """Return the sketch of a sensor frame."""
        return self._likeness.sketch(frame)

    def look(
        self, sketch: NDArray, stamp_ns: int, model: Any, geometry: Geometry, limits: ReuseLimits
    ) -> Reused | None:
        """Return what may serve for a frame; None: it must be inferred, and `why_not` says why.

        Args:
            sketch: of the frame.
            stamp_ns: of the frame.
            model: that would run.
            geometry: where the sensor sits now.
            limits: how far reuse goes.
        """
        found, self.why_not = self._found(sketch, stamp_ns, model, geometry, limits)
        self.count += found is not None
        return found

    def _found(
        self, sketch: NDArray, stamp_ns: int, model: Any, geometry: Geometry, limits: ReuseLimits
    ) -> tuple[Reused | None, str]:
        last = self._last
        if last is None:
            return None, self._why_none or _NONE_YET
        if last.model is not model or last.geometry is not geometry:
            return None, _NONE_YET
        age_s = (stamp_ns - last.stamp_ns) / NS
        if not 0.0 < age_s <= limits.max_age_s:
            return None, f"the last inference is {age_s:.2f} s old > {limits.max_age_s:g} s"
        difference = self._likeness.difference(sketch, last.sketch)
        limit = self._likeness.limit * limits.change
        if not difference <= limit:
            return None, f"differs by {difference:.1f} > {limit:.1f} {self._likeness.unit}"
        moving = self._moving(last, limits)
        if moving:
            return None, moving
        text = (
            f"reused: features of the frame {age_s:.2f} s before, which differs by "
            f"{difference:.1f} < {limit:.1f} {self._likeness.unit}"
        )
        return Reused(output=last.output, stamp_ns=last.stamp_ns, text=text), ""

    def _moving(self, last: Inferred, limits: ReuseLimits) -> str:
        """Say what moves near, or may be near before its age is over; what may move moves."""
        before = self._before
        if before is None or before.model is not last.model:
            return "one inference does not tell what moves"
        passed_s = (last.stamp_ns - before.stamp_ns) / NS
        if passed_s <= 0.0:
            return "stamps that go back do not tell what moves"
        if passed_s > limits.max_age_s + _APART_S:
            return f"inferences {passed_s:.1f} s apart do not tell what moves"
        within_m = limits.near_m + _FASTEST_MPS * limits.max_age_s
        for one, other in ((last, before), (before, last)):  # who came, and who left
            for item in one.output.objects:
                if _moves(item, other.output.objects, passed_s, within_m):
                    x, y, _ = item.center_m
                    return f"{item.class_name} at {x:.0f}, {y:.0f} m moves, or is new"
            for box in one.output.image_objects:
                if _shifts(box, other.output.image_objects):
                    return f"{box.class_name} in the image moves, or is new"
        return ""


def _moves(
    item: DetectedObject, others: tuple[DetectedObject, ...], passed_s: float, within_m: float
) -> bool:
    if math.hypot(*item.center_m[:2]) > within_m:
        return False
    reach_m = _MOVES_MPS * passed_s
    return not any(
        other.class_name == item.class_name
        and math.dist(item.center_m[:2], other.center_m[:2]) <= reach_m
        for other in others
    )


def _shifts(box: ImageObject, others: tuple[ImageObject, ...]) -> bool:
    corners = (box.x_min, box.y_min, box.x_max, box.y_max)
    allowed_px = _MOVES_BOX * math.hypot(box.x_max - box.x_min, box.y_max - box.y_min)
    return not any(
        other.class_name == box.class_name
        and max(
            abs(a - b)
            for a, b in zip(
                corners, (other.x_min, other.y_min, other.x_max, other.y_max), strict=True
            )
        )
        <= allowed_px
        for other in others
    )
