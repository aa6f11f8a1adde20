"""Labelled camera images: simulated with random cameras, and the frames of PandaSet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry
from edge_perception.simulation.camera import render
from edge_perception.simulation.raster import Pinhole
from edge_perception.simulation.scenario import random_scenario
from edge_perception.simulation.world import World
from training.samples import Sweep, load_pandaset
from training.simulated import scene_boxes, scene_time

CACHE = Path("training_out/cache/camera")
SIZE = (512, 288)  # width, height of the network input
MOST_AGE_S = 0.1  # of an image that is fused with a newer sweep
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One labelled image."""

    bgr: NDArray[np.uint8]  # (288, 512, 3)
    geometry: Geometry
    boxes: NDArray[np.float32]  # (M, 9), base frame
    labels: NDArray[np.int64]
    visible: NDArray[np.bool_]


def random_pinhole(rng: np.random.Generator) -> Pinhole:
    """Return a forward camera with random lens and mounting."""
    width, height = SIZE
    focal = 0.5 * width / np.tan(0.5 * np.radians(rng.uniform(42, 95)))
    angles = np.radians(rng.normal(0, (1.0, 2.0, 3.0)))  # roll, pitch, yaw
    rotation = cv2.Rodrigues(np.array([0.0, 0.0, angles[2]]))[0]
    rotation = rotation @ cv2.Rodrigues(np.array([angles[0], angles[1], 0.0]))[0]
    pose = np.eye(4)
    pose[:3, :3] = rotation @ _OPTICAL
    pose[:3, 3] = (rng.uniform(-0.3, 1.8), rng.normal(0, 0.2), rng.uniform(1.3, 2.2))
    centre = rng.normal(0, 6, 2)
    return Pinhole(
        width=width,
        height=height,
        intrinsics=np.array(
            [
                [focal, 0, 0.5 * (width - 1) + centre[0]],
                [0, focal, 0.5 * (height - 1) + centre[1]],
                [0, 0, 1],
            ]
        ),
        T_base_camera=pose,
    )


def simulate_picture(seed: int, *, age_s: float = 0.0) -> Picture:
    """Render the scene whose LiDAR sweep `simulate_sweep` gives for the same seed.

    An older image shows where everything was then, the vehicle too; so do its boxes.
    """
    scenario = random_scenario(seed)
    scene = World(scenario, seed).at(max(scene_time(seed) - age_s, 0.0))
    rng = np.random.default_rng([seed, 8])
    pinhole = random_pinhole(rng)
    picture = render(
        scene, pinhole, weather=scenario.weather, light=scenario.light, look_seed=seed,
        rng=rng, stamp_ns=0, dirty_lens=float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 0.3)])),
    )  # fmt: skip
    boxes, labels = scene_boxes(scene)
    visible = np.zeros(len(boxes), bool)
    for index, seen in picture.visibility.items():
        visible[index] = (
            seen.pixels >= 25 and seen.visible_fraction > 0.25 and seen.truncation < 0.6
        )
    return Picture(
        bgr=picture.image.bgr,
        geometry=Geometry(
            T_base_sensor=pinhole.T_base_camera, intrinsics=pinhole.intrinsics, image_size=SIZE
        ),
        boxes=boxes,
        labels=labels,
        visible=visible,
    )


def cached_picture(seed: int, *, renew: bool = False) -> Picture:
    """Return the picture of a seed, rendered once, or anew."""
    path = CACHE / f"{seed:07d}.npz"
    if renew or not path.exists():
        _save(path, simulate_picture(seed))
    return _load(path)


def older_image(seed: int) -> NDArray[np.uint8]:
    """Return what the camera of a seed saw up to MOST_AGE_S before its sweep, rendered once."""
    path = CACHE.with_name("camera_older") / f"{seed:07d}.npz"
    if not path.exists():
        age_s = float(np.random.default_rng([seed, 9]).uniform(0.0, MOST_AGE_S))
        _save(path, simulate_picture(seed, age_s=age_s))
    return _load(path).bgr


def _load(path: Path) -> Picture:
    with np.load(path) as data:
        bgr = cv2.imdecode(data["jpeg"], cv2.IMREAD_COLOR)
        geometry = Geometry(
            T_base_sensor=data["T_base_sensor"], intrinsics=data["intrinsics"], image_size=SIZE
        )
        return Picture(
            bgr=bgr, geometry=geometry, boxes=data["boxes"], labels=data["labels"],
            visible=data["visible"],
        )  # fmt: skip


def _save(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    jpeg = cv2.imencode(".jpg", picture.bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(
        partial, jpeg=jpeg, T_base_sensor=picture.geometry.T_base_sensor,
        intrinsics=np.asarray(picture.geometry.intrinsics), boxes=picture.boxes,
        labels=picture.labels, visible=picture.visible,
    )  # fmt: skip
    partial.rename(path)


def load_pictures(folder: Path, sequence: str) -> list[tuple[Picture, Sweep]]:
    """Read the front images of a PandaSet sequence with their sweeps; full-size images."""
    sweeps = load_pandaset(folder, sequence)
    paths = sorted((folder / sequence).glob("*.npz"))
    return [(_pandaset_picture(p, s), s) for p, s in zip(paths, sweeps, strict=True)]


def _pandaset_picture(path: Path, sweep: Sweep) -> Picture:
    with np.load(path) as frame:
        pose, intrinsics = np.linalg.inv(frame["T_camera_lidar"]), frame["camera_K"]
    bgr = cv2.imread(str(path.with_suffix(".jpg")))
    geometry = Geometry(
        T_base_sensor=pose, intrinsics=intrinsics, image_size=(bgr.shape[1], bgr.shape[0])
    )
    return Picture(
        bgr=bgr, geometry=geometry, boxes=sweep.boxes, labels=sweep.labels,
        visible=centres_in_view(geometry, sweep.boxes),
    )  # fmt: skip


def centres_in_view(geometry: Geometry, boxes: NDArray) -> NDArray[np.bool_]:
    """Return which box centres the camera would see if nothing stood before them."""
    assert geometry.intrinsics is not None
    assert geometry.image_size is not None
    T = np.linalg.inv(geometry.T_base_sensor)
    points = boxes[:, :3] @ T[:3, :3].T + T[:3, 3]
    depth = np.maximum(points[:, 2], 0.1)
    u = geometry.intrinsics[0, 0] * points[:, 0] / depth + geometry.intrinsics[0, 2]
    v = geometry.intrinsics[1, 1] * points[:, 1] / depth + geometry.intrinsics[1, 2]
    width, height = geometry.image_size
    return (points[:, 2] > 1.0) & (u > 0) & (u < width) & (v > 0) & (v < height)


def shrink(picture: Picture, rng: np.random.Generator | None = None) -> Picture:
    """Scale a picture of any size to the network's size, cropped at random where `rng` is given."""
    height, width = picture.bgr.shape[:2]
    share = 1.0 if rng is None else float(rng.uniform(0.6, 1.0))
    crop_w, crop_h = int(width * share), int(width * share * SIZE[1] / SIZE[0])
    left = (width - crop_w) // 2 if rng is None else int(rng.integers(0, width - crop_w + 1))
    top = (height - crop_h) // 2 if rng is None else int(rng.integers(0, height - crop_h + 1))
    bgr = cv2.resize(picture.bgr[top : top + crop_h, left : left + crop_w], SIZE)
    scale = SIZE[0] / crop_w
    move = np.array([[scale, 0, 0.5 * scale - 0.5 - left * scale],
                     [0, scale, 0.5 * scale - 0.5 - top * scale], [0, 0, 1.0]])  # fmt: skip
    geometry = Geometry(
        T_base_sensor=picture.geometry.T_base_sensor,
        intrinsics=move @ np.asarray(picture.geometry.intrinsics),
        image_size=SIZE,
    )
    seen = picture.visible & centres_in_view(geometry, picture.boxes)
    return Picture(
        bgr=bgr, geometry=geometry, boxes=picture.boxes, labels=picture.labels, visible=seen
    )


def jitter(bgr: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change light, colour, sharpness and noise."""
    image = bgr.astype(np.float32) * np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.08, 3))
    mean = image.mean()
    image = (image - mean) * np.exp(rng.normal(0, 0.2)) + mean
    if rng.random() < 0.3:
        image += (image.mean(axis=2, keepdims=True) - image) * rng.uniform(0, 1)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    image += rng.uniform(0, 6) * rng.standard_normal((*image.shape[:2], 1), np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
