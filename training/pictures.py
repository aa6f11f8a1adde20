"""Labelled camera images: simulated with random cameras, and the frames of PandaSet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry
from edge_perception.simulation.camera import render
from edge_perception.simulation.raster import Pinhole
from edge_perception.simulation.rigs import RIGS
from edge_perception.simulation.scenario import Scenario, random_scenario
from edge_perception.simulation.world import Scene, World
from training.samples import Sweep, load_pandaset
from training.simulated import scene_boxes, scene_time

CACHE = Path("training_out/cache/camera")
SIZE = (512, 288)  # width, height of the network input
MOST_AGE_S = 0.1  # of an image that is fused with a newer sweep
# Yaw and place of the cameras of a surround rig, the front one first.
_AROUND = ((0.0, (0.6, 0.0)), *((c.yaw_deg, c.position_m[:2]) for c in RIGS["6 cameras"][0]))
VIEWS = len(_AROUND)
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


def surround_pinhole(view: int, rng: np.random.Generator) -> Pinhole:
    """Return a camera of a surround rig, 0 is the front one, with random lens and mounting."""
    yaw_deg, place = _AROUND[view]
    forward = random_pinhole(rng)
    turn = cv2.Rodrigues(np.array([0.0, 0.0, np.radians(yaw_deg + rng.normal(0, 5.0))]))[0]
    pose = forward.T_base_camera.copy()
    pose[:3, :3] = turn @ pose[:3, :3]
    pose[:2, 3] = rng.normal(place, (0.3, 0.1))
    return replace(forward, T_base_camera=pose)


def simulate_picture(seed: int, *, age_s: float = 0.0) -> Picture:
    """Render the scene whose LiDAR sweep `simulate_sweep` gives for the same seed.

    An older image shows where everything was then, the vehicle too; so do its boxes.
    """
    scenario = random_scenario(seed)
    scene = World(scenario, seed).at(max(scene_time(seed) - age_s, 0.0))
    rng = np.random.default_rng([seed, 8])
    return _rendered(scenario, scene, random_pinhole(rng), seed, rng)


def simulate_surround(seed: int, *, age_s: float = 0.0) -> list[Picture]:
    """Render the scene of `simulate_picture` as the cameras of a surround rig see it."""
    scenario = random_scenario(seed)
    scene = World(scenario, seed).at(max(scene_time(seed) - age_s, 0.0))
    rng = np.random.default_rng([seed, 10])
    cameras = [surround_pinhole(view, rng) for view in range(VIEWS)]
    return [_rendered(scenario, scene, pinhole, seed, rng) for pinhole in cameras]


def simulate_view(seed: int, view: int) -> Picture:
    """Render what one camera of a surround rig sees; 0: `simulate_picture`."""
    if view == 0:
        return simulate_picture(seed)
    scenario = random_scenario(seed)
    rng = np.random.default_rng([seed, 12, view])
    scene = World(scenario, seed).at(scene_time(seed))
    return _rendered(scenario, scene, surround_pinhole(view, rng), seed, rng)


def _rendered(
    scenario: Scenario, scene: Scene, pinhole: Pinhole, seed: int, rng: np.random.Generator
) -> Picture:
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


def cached_view(seed: int, view: int) -> Picture:
    """Return `simulate_view`, rendered once."""
    if view == 0:
        return cached_picture(seed)
    path = CACHE.with_name("views") / f"{seed:07d}_{view}.npz"
    if not path.exists():
        _save(path, simulate_view(seed, view))
    return _load(path)


def cached_surround(seed: int, views: Sequence[int] = range(VIEWS)) -> list[Picture]:
    """Return some of the pictures of `simulate_surround`; all are rendered once."""
    return _cached_views(seed, views, "surround", 0.0)


def older_surround(seed: int) -> list[Picture]:
    """Return what the cameras saw up to MOST_AGE_S before the sweep of a seed, rendered once."""
    age_s = float(np.random.default_rng([seed, 9]).uniform(0.0, MOST_AGE_S))
    return _cached_views(seed, range(VIEWS), "surround_older", age_s)


def _cached_views(seed: int, views: Sequence[int], kind: str, age_s: float) -> list[Picture]:
    folder = CACHE.with_name(kind)
    paths = [folder / f"{seed:07d}_{view}.npz" for view in range(VIEWS)]
    if not paths[-1].exists():  # the last that is written
        for path, picture in zip(paths, simulate_surround(seed, age_s=age_s), strict=True):
            _save(path, picture)
    return [_load(paths[view]) for view in views]


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
    """Change light, contrast, colour, sharpness, noise and compression."""
    if rng.random() < 0.3:  # other tone curves
        curve = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.25)) * 255
        bgr = cv2.LUT(bgr, curve.astype(np.uint8))
    image = bgr.astype(np.float32) * np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.08, 3))
    mean = image.mean()
    image = (image - mean) * np.exp(rng.normal(0, 0.2)) + mean
    if rng.random() < 0.4:
        image += (image.mean(axis=2, keepdims=True) - image) * rng.uniform(-0.4, 1)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    image += rng.uniform(0, 6) * rng.standard_normal((*image.shape[:2], 1), np.float32)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image
