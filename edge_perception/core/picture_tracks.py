"""What a picture from above says of a track: its number, where it is in a second, its siren."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edge_perception.core.picture_style import EMERGENCY, INK, PAPER

STANDING_MPS = 0.5  # slower objects get no arrow


def draw_track(
    axes: Any,
    place_m: Sequence[float],
    velocity_mps: Sequence[float | None],
    *,
    track_id: int,
    is_emergency: bool,
    font_size: float = 9.0,
) -> None:
    """Draw on axes of matplotlib; what lies outside of them is left out.

    Args:
        axes: of a picture from above, in m, its limits set.
        place_m: centre of the object, horizontal and vertical axis of the picture.
        velocity_mps: the same axes; None or NaN: not known.
        track_id: 0: not tracked.
        is_emergency: the siren that is heard is its.
        font_size: of the number.
    """
    x, y = place_m[:2]
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    if not (left < x < right and low < y < high):
        return
    vx, vy = (math.nan if value is None else value for value in velocity_mps[:2])
    if math.hypot(vx, vy) > STANDING_MPS:  # NaN: not known
        axes.annotate(
            "", xy=(x + vx, y + vy), xytext=(x, y), zorder=7, annotation_clip=False,
            clip_on=True, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3, "shrinkA": 0,
                                      "shrinkB": 0, "clip_on": True},
        )  # fmt: skip
    if is_emergency:
        axes.plot(
            [x], [y], "o", ms=2.2 * font_size + 6.0, mfc="none", mec=EMERGENCY, mew=2.5, zorder=8
        )
    number = f"#{track_id}" if track_id else ""
    text = f"EMERGENCY {number}".strip() if is_emergency else number
    if text:
        axes.annotate(
            text, xy=(x, y), xytext=(6, 6), textcoords="offset points", zorder=9,
            fontsize=font_size + (3.0 if is_emergency else 0.0), clip_on=True,
            color=EMERGENCY if is_emergency else INK, weight="bold" if is_emergency else "normal",
            bbox={"facecolor": PAPER, "alpha": 0.6, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
