"""A robot with a LiDAR and a camera looking ahead, and boxes seen by either."""

from __future__ import annotations

import numpy as np

from edge_perception.core.types import (
    DetectedObject,
    Feature,
    Geometry,
    ImageObject,
    ModelVersion,
)
from edge_perception.fusion.classes import USUAL_SIZE_M
from edge_perception.fusion.geometry import box_corners, image_rectangles

WIDTH, HEIGHT, FOCAL_PX = 1920, 1080, 1400.0
CAMERA_M = (1.5, 0.0, 1.6)

# Base frame (x forward, y left, z up) of the optical axes (x right, y down, z forward).
_ROTATION = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def camera_geometry(yaw_rad: float = 0.0) -> Geometry:
    T = np.eye(4)
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    T[:3, :3] = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ _ROTATION
    T[:3, 3] = CAMERA_M
    K = np.array([[FOCAL_PX, 0.0, WIDTH / 2], [0.0, FOCAL_PX, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return Geometry(T_base_sensor=T, intrinsics=K, image_size=(WIDTH, HEIGHT))


def box(x, y, *, name="car", score=0.6, yaw=0.0, size=None) -> DetectedObject:
    size = size or USUAL_SIZE_M[name]
    return DetectedObject(
        class_name=name, score=score, center_m=(x, y, size[2] / 2), size_m=size, yaw_rad=yaw
    )


def seen(item: DetectedObject, *, name=None, score=0.7, geometry=None) -> ImageObject:
    """The 2-D box a perfect detector would draw around an object."""
    rectangles, shares = image_rectangles(box_corners([item]), geometry or camera_geometry())
    assert shares[0] > 0.0, "not in the image"
    x_min, y_min, x_max, y_max = map(float, rectangles[0])
    return ImageObject(
        class_name=name or item.class_name,
        score=score,
        x_min=x_min,
        y_min=y_min,
        x_max=x_max,
        y_max=y_max,
    )


def surface(item: DetectedObject, count: int = 60, seed: int = 0) -> np.ndarray:
    """Points on the sides of a box that face the robot, (K, 3) float32."""
    random = np.random.default_rng(seed)
    corners = box_corners([item])[0]
    order = np.argsort(np.linalg.norm(corners[::2, :2], axis=1))
    near, *sides = (corners[::2][index] for index in order[:3])
    share = random.uniform(0.0, 1.0, (count, 1))
    which = random.integers(0, 2, count)
    points = near + share * (np.array(sides)[which] - near)
    points[:, 2] = random.uniform(0.3, item.size_m[2], count)
    return points.astype(np.float32)


def lidar(*objects: DetectedObject, points: np.ndarray | None = None) -> Feature:
    tensors = {} if points is None else {"obstacle_points": points}
    return _feature("lidar", "lidar", objects=objects, tensors=tensors)


def camera(*items: ImageObject, source="camera", geometry=None, **more) -> Feature:
    return _feature(
        source, "camera", image_objects=items, geometry=geometry or camera_geometry(), **more
    )


def _feature(source: str, modality: str, **more) -> Feature:
    version = ModelVersion(role=source, name=f"{modality}_net", version="1.0.0", sha256="0" * 64)
    return Feature(
        **{
            "stamp_ns": 10**18,
            "frame_id": source,
            "source": source,
            "modality": modality,
            "model": version,
            "sequence": 0,
            **more,
        }
    )
