"""The camera image with the fused boxes drawn into it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.picture_style import (
    EMERGENCY,
    EVIDENCE,
    WIDTH_PX,
    bgr,
    evidence,
    spoken,
)
from edge_perception.core.picture_tracks import STANDING_MPS
from edge_perception.core.types import DetectedObject

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BAR_PX = 64
_NEAR_M = 0.5  # nothing nearer to the lens is drawn
_NAMED_M = 60.0  # boxes beyond are drawn without a name
_BOTTOM, _TOP = (0, 1, 2, 3), (4, 5, 6, 7)  # corner indices, clockwise from front left
_EDGES = (
    *((a, b) for ring in (_BOTTOM, _TOP) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)),
    *((low, low + 4) for low in _BOTTOM),
)
_FRONT = (0, 1, 5, 4)  # the side that the object heads to, drawn as a veil


def camera_picture(
    image_bgr: NDArray[np.uint8],
    objects: Sequence[DetectedObject],
    *,
    K: NDArray[np.float64],
    T_camera_base: NDArray[np.float64],
    title: str,
    width_px: int = WIDTH_PX,
) -> NDArray[np.uint8]:
    """Return the image with boxes, names, distances and a legend.

    Args:
        image_bgr: (H, W, 3).
        objects: fused boxes, base frame.
        K: (3, 3), px of the image given.
        T_camera_base: (4, 4).
        title: one line that says what is shown.
        width_px: of the picture.
    """
    scale = width_px / image_bgr.shape[1]
    size = (width_px, round(image_bgr.shape[0] * scale))
    canvas = np.asarray(cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    K_scaled = np.diag([scale, scale, 1.0]) @ K
    shown: dict[str, int] = dict.fromkeys(EVIDENCE, 0)
    labels: list[tuple[int, int, str, str]] = []
    for item in sorted(objects, key=lambda o: -np.hypot(*o.center_m[:2])):  # far ones first
        corners = _project(box_corners(item), K_scaled, T_camera_base)
        if corners is None or not _overlaps(corners, size):
            continue
        kind = evidence(item.sources)
        shown[kind] += 1
        _draw_box(canvas, corners, EVIDENCE[kind])
        x, y = int(corners[:, 0].min()), int(corners[:, 1].min())
        if item.center_m[0] <= _NAMED_M:
            labels.append((x, y, _name(item), kind))
        if item.emergency_evidence:
            _draw_ring(canvas, corners)
    _draw_labels(canvas, labels)
    return np.vstack([_bar(title, shown, width_px), canvas])


def box_corners(item: DetectedObject) -> NDArray[np.float64]:
    """Return the corners of a box, (8, 3): bottom ring from front left, then the top ring."""
    length, width, height = item.size_m
    x = np.array([1, 1, -1, -1]) * length / 2
    y = np.array([1, -1, -1, 1]) * width / 2
    cos, sin = np.cos(item.yaw_rad), np.sin(item.yaw_rad)
    ring = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
    low = np.column_stack([ring, np.full(4, -height / 2)])
    high = np.column_stack([ring, np.full(4, height / 2)])
    return np.vstack([low, high]) + np.asarray(item.center_m)


def _project(corners: NDArray, K: NDArray, T_camera_base: NDArray) -> NDArray[np.float64] | None:
    """Return pixels, (8, 2); None when a corner is behind the lens."""
    points = corners @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
    if (points[:, 2] < _NEAR_M).any():
        return None
    pixels: NDArray[np.float64] = (points / points[:, 2:]) @ K.T
    return pixels[:, :2]


def _overlaps(corners: NDArray, size: tuple[int, int]) -> bool:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((high > 0).all() and low[0] < size[0] and low[1] < size[1])


def _draw_box(canvas: NDArray[np.uint8], corners: NDArray, color: str) -> None:
    points = np.clip(corners, -20000, 20000).round().astype(int)
    front = cv2.convexHull(points[list(_FRONT)].astype(np.int32))
    overlay = canvas.copy()
    cv2.fillConvexPoly(overlay, front, bgr(color), cv2.LINE_AA)
    cv2.addWeighted(overlay, 0.25, canvas, 0.75, 0, dst=canvas)
    width = 2 if np.ptp(corners[:, 1]) > 50 else 1
    for a, b in _EDGES:
        cv2.line(canvas, points[a].tolist(), points[b].tolist(), bgr(color), width, cv2.LINE_AA)


def _name(item: DetectedObject) -> str:
    track = f" #{item.track_id}" if item.track_id else ""
    speed_mps = float(np.hypot(*item.velocity_mps[:2]))
    moving = f" {speed_mps:.0f} m/s" if speed_mps > STANDING_MPS else ""  # NaN: not known
    siren = "EMERGENCY " if item.emergency_evidence else ""
    return f"{siren}{spoken(item.class_name)}{track} {item.center_m[0]:.0f} m{moving}"


def _draw_ring(canvas: NDArray[np.uint8], corners: NDArray) -> None:
    """Draw a frame around the vehicle that a siren is of."""
    low = np.clip(corners.min(axis=0) - 6, -20000, 20000).round().astype(int)
    high = np.clip(corners.max(axis=0) + 6, -20000, 20000).round().astype(int)
    cv2.rectangle(canvas, low.tolist(), high.tolist(), bgr(EMERGENCY), 3, cv2.LINE_AA)


def _draw_labels(canvas: NDArray[np.uint8], labels: list[tuple[int, int, str, str]]) -> None:
    """Write the names, near objects first; a name that would cover another moves up."""
    taken: list[tuple[int, int, int, int]] = []
    for x, y, text, kind in reversed(labels):
        (width, height), _ = cv2.getTextSize(text, _FONT, 0.55, 1)
        x = int(np.clip(x, 4, canvas.shape[1] - width - 12))
        box = (x, max(2, y - height - 10), x + width + 10, max(2, y - height - 10) + height + 8)
        for _ in range(8):
            hit = next((other for other in taken if _cover(box, other)), None)
            if hit is None or hit[1] - height - 10 < 2:
                break
            top = hit[1] - height - 10
            box = (box[0], top, box[2], top + height + 8)
        if any(_cover(box, other) for other in taken):
            continue  # no room: the box itself still shows
        taken.append(box)
        cv2.rectangle(canvas, box[:2], box[2:], bgr(EVIDENCE[kind]), -1)
        place = (box[0] + 5, box[3] - 5)
        cv2.putText(canvas, text, place, _FONT, 0.55, (255, 255, 255), 1, cv2.LINE_AA)


def _cover(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _bar(title: str, shown: dict[str, int], width_px: int) -> NDArray[np.uint8]:
    """Return a title bar with a legend of who saw what."""
    bar = np.full((_BAR_PX, width_px, 3), 255, np.uint8)
    cv2.putText(bar, title, (16, 41), _FONT, 0.8, (51, 41, 31), 2, cv2.LINE_AA)
    x = width_px - 16
    for kind in reversed(EVIDENCE):
        if not shown[kind] and kind == "other":
            continue
        text = f"{kind} ({shown[kind]})"
        (width, _), _ = cv2.getTextSize(text, _FONT, 0.6, 1)
        x -= width
        cv2.putText(bar, text, (x, 40), _FONT, 0.6, (51, 41, 31), 1, cv2.LINE_AA)
        cv2.rectangle(bar, (x - 28, 24), (x - 8, 44), bgr(EVIDENCE[kind]), -1)
        x -= 52
    return bar
