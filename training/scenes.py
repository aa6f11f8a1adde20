"""Scenes as the fusion model sees them: the features of every camera and LiDAR, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from edge_perception.encoders.camera.lift import lift_grid, seen_cells
from edge_perception.models.merging import merged
from training import augment
from training.camera import LIFT, PLACEMENT, image_tensor
from training.lidar import CONFIG, LEAST_POINTS, OUT, pandaset_folder
from training.nets import AudioNet, LidarNet, camera_net_of, load_weights
from training.pictures import (
    VIEWS,
    Picture,
    cached_surround,
    jitter,
    load_pictures,
    older_surround,
    shrink,
)
from training.rasters import raster_and_counts
from training.samples import CLASSES, Sweep
from training.simulated import CACHE, cached_any, cached_sweep, simulate_any
from training.sounds import CLASSES as SOUNDS
from training.spoiled import spoil

SCENES_SEED = 40_000  # scenes that no encoder was trained on: their features are as good as new
LIDAR_SCENES_SEED = 50_000  # likewise, of LiDARs of any make alone
ANY_SHARE = 0.4  # of the scenes with pictures whose LiDAR is of any make
SPOILED_SHARE = 0.5  # of the shaken sweeps
OLDER_SHARE = 0.4  # of the simulated scenes: the images were taken before the sweep
# Which views of a scene there are, and how often: one camera is what most vehicles have.
FRONT, ALL_AROUND = (0,), tuple(range(VIEWS))
RIGS = ((FRONT, 0.4), ((0, 1, 2), 0.15), (ALL_AROUND, 0.3))


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the encoders make of one scene, and the truth."""

    camera: NDArray[np.float16]  # (24, 96, 64)
    lidar: NDArray[np.float16]
    seen: NDArray[np.bool_]  # (96, 64), cells in the image
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    in_camera: NDArray[np.bool_]  # (M,)
    in_lidar: NDArray[np.bool_]  # (M,)
    shown_boxes: NDArray[np.float32] | None = None  # where older images show them


@dataclass(frozen=True, kw_only=True)
class View:
    """What the encoder makes of one camera's image."""

    bev: NDArray[np.float16]  # (24, 96, 64)
    seen: NDArray[np.uint8]  # (1, 1, 96, 64)
    shows: NDArray[np.bool_]  # (M,)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene with the features of all its cameras."""

    views: tuple[View, ...]
    lidar: NDArray[np.float16]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    in_lidar: NDArray[np.bool_]
    shown_boxes: NDArray[np.float32]

    def features(self, cameras: Sequence[int]) -> Features:
        """Return what there is with some of the cameras, merged as the fusion model merges."""
        if not cameras:
            return self._of_lidar()
        views = [self.views[index] for index in cameras]
        bevs = [view.bev[None].astype(np.float32) for view in views]
        seen = [view.seen.astype(np.float32) for view in views]
        return Features(
            camera=merged(bevs, seen, "mean")[0].astype(np.float16),
            lidar=self.lidar,
            seen=np.any([view.seen[0, 0] for view in views], axis=0),
            boxes=self.boxes,
            labels=self.labels,
            in_camera=np.any([view.shows for view in views], axis=0),
            in_lidar=self.in_lidar,
            shown_boxes=self.shown_boxes,
        )

    def _of_lidar(self) -> Features:
        nothing = np.zeros(self.lidar.shape[1:], bool)
        return Features(
            camera=np.zeros_like(self.lidar),
            lidar=self.lidar,
            seen=nothing,
            boxes=self.boxes,
            labels=self.labels,
            in_camera=np.zeros(len(self.boxes), bool),
            in_lidar=self.in_lidar,
        )

    def cameras(self, rng: np.random.Generator) -> Sequence[int]:
        """Draw which of its cameras are there."""
        if len(self.views) <= 1:
            return FRONT[: len(self.views)]
        rigs = [rig for rig, _ in RIGS]
        choice = rng.choice(len(rigs) + 1, p=[*(s for _, s in RIGS), 1 - sum(s for _, s in RIGS)])
        if choice < len(rigs):
            return rigs[choice]
        count = int(rng.integers(1, len(self.views)))
        return sorted(rng.permutation(len(self.views))[:count].tolist())


class Encoders:
    """The trained encoders, frozen."""

    def __init__(self, names: dict[str, str]) -> None:
        self.lidar = LidarNet(len(CONFIG.channels), len(CLASSES))
        self.audio = AudioNet(len(SOUNDS))
        weights = {
            role: torch.load(OUT / f"{name}.pt", weights_only=True) for role, name in names.items()
        }
        self.camera = camera_net_of(weights["camera"], len(CLASSES), len(LIFT.heights_m)).eval()
        for role, net in (("lidar", self.lidar), ("audio", self.audio)):
            load_weights(net, weights[role])
            net.eval()

    def scene(self, sweep: Sweep, pictures: Sequence[Picture]) -> Scene:
        """Run cameras and LiDAR on one scene; all in the same base frame."""
        raster, points = raster_and_counts(sweep, CONFIG)
        with torch.no_grad():
            lidar = self.lidar(torch.from_numpy(raster)[None])[0][0]
        return Scene(
            views=tuple(self._view(picture) for picture in pictures),
            lidar=lidar.numpy().astype(np.float16),
            boxes=sweep.boxes,
            labels=sweep.labels,
            in_lidar=points >= LEAST_POINTS,
            shown_boxes=pictures[0].boxes if pictures else sweep.boxes,
        )

    def _view(self, picture: Picture) -> View:
        grid = lift_grid(picture.geometry, LIFT, PLACEMENT)
        with torch.no_grad():
            image = torch.from_numpy(image_tensor(picture.bgr))[None]
            bev = self.camera(image, torch.from_numpy(grid))[0][0]
        return View(
            bev=bev.numpy().astype(np.float16), seen=seen_cells(grid, LIFT), shows=picture.visible
        )


def shaken(
    sweep: Sweep, pictures: Sequence[Picture], rng: np.random.Generator
) -> tuple[Sweep, list[Picture]]:
    """Turn and shift all by the same, and each camera by a calibration error of its own."""
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.2)
    shift = np.append(rng.normal(0, 2, 2), rng.normal(0, 0.05))
    sweep = augment.transform(sweep, yaw=turn, roll=0.0, pitch=0.0, shift_m=shift, scale=1.0)
    if rng.random() < SPOILED_SHARE:
        sweep = spoil(sweep, rng, bodies=not pictures)
    true = _moved(turn, shift)
    moved = []
    for picture in pictures:
        T = _moved(turn + np.radians(rng.normal(0, 0.4)), shift)
        boxes = picture.boxes.copy()
        boxes[:, :3] = boxes[:, :3] @ true[:3, :3].T + shift
        boxes[:, 6] += turn
        geometry = replace(picture.geometry, T_base_sensor=T @ picture.geometry.T_base_sensor)
        moved.append(replace(picture, bgr=jitter(picture.bgr, rng), boxes=boxes, geometry=geometry))
    return sweep, moved


def _moved(turn: float, shift: NDArray) -> NDArray[np.float64]:
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]])


def scene_features(encoders: Encoders, seed: int, rng: np.random.Generator | None) -> Scene:
    """Return the features of a simulated seed, shaken where `rng` is given."""
    older = rng is not None and rng.random() < OLDER_SHARE  # and nothing corrects it
    pictures: Sequence[Picture] = older_surround(seed) if older else cached_surround(seed)
    if rng is not None and rng.random() < ANY_SHARE:
        sweep = simulate_any(seed, obstacles=False)  # the pictures do not show any
    else:
        sweep = cached_sweep(seed)
    if not older and not np.array_equal(sweep.boxes, pictures[0].boxes):
        raise RuntimeError(f"scene {seed}: another simulator made its sweep: delete {CACHE.parent}")
    if rng is not None:
        sweep, pictures = shaken(sweep, pictures, rng)
    return encoders.scene(sweep, pictures)


def lidar_features(encoders: Encoders, seed: int, rng: np.random.Generator) -> Scene:
    """Return the features of a simulated seed among obstacles, of a LiDAR of any make alone."""
    return encoders.scene(*shaken(cached_any(seed), [], rng))


def real_features(encoders: Encoders, sequence: str, variants: int) -> list[Scene]:
    """Return the features of a PandaSet sequence; 0 variants: as recorded, else shaken."""
    result = []
    for number, (picture, sweep) in enumerate(load_pictures(pandaset_folder(), sequence)):
        for variant in range(max(variants, 1)):
            rng = np.random.default_rng([11, number, variant])
            small = shrink(picture, rng if variants else None)
            moved = shaken(sweep, [small], rng) if variants else (sweep, [small])
            scene = encoders.scene(*moved)
            view = scene.views[0]
            seen = replace(view, shows=view.shows & scene.in_lidar)
            result.append(replace(scene, views=(seen,)))
    return result
