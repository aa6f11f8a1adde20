"""The first decisions of an imported LiDAR model: are they plausible, and how do they look."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.types import DetectedObject, Geometry, PointCloud
from edge_perception.encoders import encoders
from edge_perception.models.manifest import Manifest
from edge_perception.releases.first_look import FirstLook

_SHORTEST_M, _LONGEST_M = 0.1, 30.0  # of a road user
_HIGHEST_M = 8.0  # of its centre, above or below the base frame
_MOST_ODD = 0.1  # share of the boxes that may be so
_MOST_BOXES = 100  # a street has fewer
_PX_A_M, _SIDE_M = 8, 60.0


def look_at_sweep(
    manifest: Manifest, session: Backend, cloud: PointCloud, geometry: Geometry
) -> FirstLook:
    """Run a LiDAR model on a sweep and draw it from above, the vehicle in the middle.

    Args:
        manifest: role lidar.
        session: runs its graph.
        cloud: the sweep, sensor frame.
        geometry: where the sensor sits.

    Raises:
        InvalidOutputError: the outputs are not what the manifest says.
    """
    encoder = encoders()[manifest.role].make_encoder(manifest, session)
    outputs = encoder.infer(encoder.preprocess(cloud, geometry))
    objects = encoder.postprocess(outputs, cloud, geometry).objects
    faults = odd_boxes(objects)
    T = geometry.T_base_sensor
    points = cloud.xyz_m @ T[:3, :3].T + T[:3, 3]
    shown = () if faults else objects
    return FirstLook(
        objects=shown, faults=tuple(faults), drawing=draw_from_above(points, objects, faults)
    )


def odd_boxes(objects: tuple[DetectedObject, ...]) -> list[str]:
    """Say why boxes in space cannot be right: sizes, heights or numbers that no street has."""
    faults: list[str] = []
    if not objects:
        return faults
    sizes = np.array([item.size_m for item in objects])
    heights = np.array([item.center_m[2] for item in objects])
    odd = ((sizes < _SHORTEST_M) | (sizes > _LONGEST_M)).any(axis=1)
    if odd.mean() > _MOST_ODD:
        worst = sizes[odd][0].round(2).tolist()
        faults.append(
            f"{odd.sum()} of {len(sizes)} boxes have sizes that no road user has, such as "
            f"{worst} m (convention, anchors)"
        )
    far = np.abs(heights) > _HIGHEST_M
    if far.mean() > _MOST_ODD:
        faults.append(
            f"{far.sum()} of {len(sizes)} boxes are {heights[far][0]:.1f} m above the road "
            "(origin_m)"
        )
    if len(objects) >= _MOST_BOXES:
        faults.append(f"{len(objects)} boxes in one street (score_threshold, point_features)")
    return faults


def draw_from_above(
    points: NDArray, objects: tuple[DetectedObject, ...], faults: list[str]
) -> NDArray[np.uint8]:
    """Return the sweep and the boxes from above, x up and y to the left, 8 px a metre."""
    side = round(2 * _SIDE_M * _PX_A_M)
    canvas = np.zeros((side, side, 3), np.uint8)
    pixels = _pixels(np.asarray(points)[:, :2])
    inside = ((pixels >= 0) & (pixels < side)).all(axis=1)
    canvas[pixels[inside, 1], pixels[inside, 0]] = (150, 150, 150)
    for item in objects:
        half = np.array(item.size_m[:2]) / 2
        corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * half
        cos, sin = np.cos(item.yaw_rad), np.sin(item.yaw_rad)
        turned = corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(item.center_m[:2])
        front = np.array(item.center_m[:2]) + np.array([cos, sin]) * (half[0] + 1.0)
        line = [_pixels(turned)]
        cv2.polylines(canvas, line, isClosed=True, color=(80, 255, 80), thickness=2)
        start, end = _pixels(np.array([item.center_m[:2], front])).tolist()
        cv2.line(canvas, start, end, (80, 255, 80), 1)
        text = f"{item.class_name} {item.score:.2f}"
        cv2.putText(canvas, text, end, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    own = _pixels(np.zeros((1, 2)))[0].tolist()
    cv2.circle(canvas, own, 5, (80, 80, 255), -1)
    texts = [f"{len(objects)} objects"] if not faults else [f"STOPPED: {text}" for text in faults]
    for row, text in enumerate(texts):
        at = (8, 18 * (row + 1))
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return canvas


def _pixels(xy_m: NDArray) -> NDArray[np.int32]:
    """Columns and rows of points, (N, 2), px."""
    return np.stack(
        [(_SIDE_M - xy_m[:, 1]) * _PX_A_M, (_SIDE_M - xy_m[:, 0]) * _PX_A_M], axis=1
    ).astype(np.int32)
