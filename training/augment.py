"""Augmentation of labelled sweeps: what a few real frames need to stand for many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.samples import CLASSES, Sweep, in_box

SENSOR_M = 1.8  # about where the rays begin, above the base frame


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """The returns of one object and its box."""

    xyz_m: NDArray[np.float32]  # (N, 3), base frame of its sweep
    intensity: NDArray[np.float32]
    box: NDArray[np.float32]  # (9,)
    label: int


def collect_cutouts(sweeps: Sequence[Sweep], *, least_points: int = 20) -> list[Cutout]:
    """Cut the objects with enough returns out of sweeps."""
    found = []
    for sweep in sweeps:
        for box, label in zip(sweep.boxes, sweep.labels, strict=True):
            inside = in_box(sweep.xyz_m, box, 0.05)
            inside = inside[sweep.xyz_m[inside, 2] > box[2] - 0.5 * box[5] + 0.15]
            if label >= 0 and len(inside) >= least_points:
                found.append(
                    Cutout(
                        xyz_m=sweep.xyz_m[inside],
                        intensity=sweep.intensity[inside],
                        box=box,
                        label=int(label),
                    )
                )
    return found


def mirror(sweep: Sweep) -> Sweep:
    """Swap left and right."""
    boxes = sweep.boxes.copy()
    boxes[:, [1, 6, 8]] *= -1
    return Sweep(
        xyz_m=sweep.xyz_m * np.array([1, -1, 1], np.float32),
        intensity=sweep.intensity,
        boxes=boxes,
        labels=sweep.labels,
    )


def transform(
    sweep: Sweep, *, yaw: float, roll: float, pitch: float, shift_m: NDArray, scale: float
) -> Sweep:
    """Rotate about the base origin, tilt a little, scale and shift."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    tilt = np.array([[1, 0, pitch], [0, 1, -roll], [-pitch, roll, 1]])
    matrix = (tilt @ turn * scale).astype(np.float32)
    boxes = sweep.boxes.copy()
    boxes[:, :3] = boxes[:, :3] @ matrix.T + shift_m.astype(np.float32)
    boxes[:, 3:6] *= scale
    boxes[:, 6] += yaw
    boxes[:, 7:9] = boxes[:, 7:9] @ matrix[:2, :2].T
    return Sweep(
        xyz_m=sweep.xyz_m @ matrix.T + shift_m.astype(np.float32),
        intensity=sweep.intensity,
        boxes=boxes,
        labels=sweep.labels,
    )


def drop_points(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Thin the sweep: every second beam (by elevation), or at random."""
    if rng.random() < 0.5:
        keep = beams_of(sweep, rng) % 2 == 0
    else:
        keep = rng.random(len(sweep.xyz_m), np.float32) < rng.uniform(0.3, 0.95)
    return select(sweep, keep)


def paste(sweep: Sweep, cutouts: Sequence[Cutout], count: int, rng: np.random.Generator) -> Sweep:
    """Add objects of other sweeps where there is room.

    An object is turned about the sensor and moved along the ray, so that the side it shows
    stays the one the sensor saw.
    """
    boxes, labels = [*sweep.boxes], [*sweep.labels]
    points, strength = [sweep.xyz_m], [sweep.intensity]
    shares = _shares(cutouts)
    keep = np.ones(len(sweep.xyz_m), bool)
    for _ in range(count):
        placed = _place(cutouts[rng.choice(len(cutouts), p=shares)], rng)
        if placed is None or not _is_free(placed.box, boxes):
            continue
        footprint = placed.box.copy()
        footprint[5] = 8.0
        inside = in_box(sweep.xyz_m, footprint, 0.2)
        if len(inside) > 1500:
            continue
        placed = _stand_on(placed, sweep.xyz_m[inside, 2])
        if placed is None:
            continue
        low = sweep.xyz_m[inside, 2] > placed.box[2] - 0.5 * placed.box[5] + 0.15
        keep[inside[low]] = False
        boxes.append(placed.box)
        labels.append(placed.label)
        points.append(placed.xyz_m)
        strength.append(placed.intensity)
    points[0], strength[0] = points[0][keep], strength[0][keep]
    return Sweep(
        xyz_m=np.concatenate(points),
        intensity=np.concatenate(strength),
        boxes=np.array(boxes, np.float32).reshape(-1, 9),
        labels=np.array(labels, np.int64),
    )


def mix_sectors(first: Sweep, second: Sweep, rng: np.random.Generator) -> Sweep:
    """Take a random sector of azimuth from `second` and the rest from `first`."""
    start, width = rng.uniform(-np.pi, np.pi), rng.uniform(0.5, np.pi)
    parts = []
    for sweep, wanted in ((first, False), (second, True)):
        inside = in_sector(sweep.xyz_m, start, width) == wanted
        owned = in_sector(sweep.boxes, start, width) == wanted
        parts.append((sweep, inside, owned))
    return Sweep(
        xyz_m=np.concatenate([s.xyz_m[i] for s, i, _ in parts]),
        intensity=np.concatenate([s.intensity[i] for s, i, _ in parts]),
        boxes=np.concatenate([s.boxes[o] for s, _, o in parts]),
        labels=np.concatenate([s.labels[o] for s, _, o in parts]),
    )


def augment(
    sweep: Sweep,
    cutouts: Sequence[Cutout],
    rng: np.random.Generator,
    *,
    paste_up_to: int = 12,
    turn: float = np.pi,
) -> Sweep:
    """Apply everything at random."""
    if rng.random() < 0.5:
        sweep = mirror(sweep)
    if cutouts and rng.random() < 0.7:
        sweep = paste(sweep, cutouts, int(rng.integers(1, paste_up_to)), rng)
    sweep = transform(
        sweep,
        yaw=float(rng.uniform(-turn, turn)),
        roll=_error(rng, 0.01, 0.055),
        pitch=_error(rng, 0.01, 0.055),
        shift_m=np.append(rng.normal(0, 3.0, 2), _error(rng, 0.15, 0.5)),
        scale=float(rng.uniform(0.95, 1.05)),
    )
    if rng.random() < 0.3:
        sweep = drop_points(sweep, rng)
    gain = 0.0 if rng.random() < 0.2 else float(np.exp(rng.normal(0, 0.4)))
    intensity = np.clip(sweep.intensity * np.float32(gain), 0, 1)
    return Sweep(xyz_m=sweep.xyz_m, intensity=intensity, boxes=sweep.boxes, labels=sweep.labels)


def _error(rng: np.random.Generator, usual: float, most: float) -> float:
    """Return an error of a mounting: small, and in three of ten up to what is promised."""
    return float(rng.uniform(-most, most) if rng.random() < 0.3 else rng.normal(0, usual))


def beams_of(sweep: Sweep, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number of each return's beam, by elevation in steps drawn at random."""
    xyz = sweep.xyz_m
    elevation = np.arctan2(xyz[:, 2] - SENSOR_M, np.hypot(xyz[:, 0], xyz[:, 1]))
    step = np.deg2rad(rng.choice([0.1667, 0.3333, 0.6667]))
    return np.floor(elevation / step + rng.random()).astype(np.int64)


def select(sweep: Sweep, keep: NDArray) -> Sweep:
    """Return the sweep with the returns chosen by a mask."""
    return Sweep(
        xyz_m=sweep.xyz_m[keep],
        intensity=sweep.intensity[keep],
        boxes=sweep.boxes,
        labels=sweep.labels,
    )


def in_sector(points: NDArray, start: float, width: float) -> NDArray[np.bool_]:
    """Return which points, (N, 2 or more), lie in a sector, rad, from `start` to the left."""
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    return np.mod(azimuth - start, 2 * np.pi) < width


def _shares(cutouts: Sequence[Cutout]) -> NDArray[np.float64]:
    """Return how often each is drawn: of few there are in a class the single one more often."""
    labels = np.array([cutout.label for cutout in cutouts])
    shares = 1.0 / np.sqrt(np.bincount(labels)[labels])
    return np.asarray(shares / shares.sum())


def _place(cutout: Cutout, rng: np.random.Generator) -> Cutout | None:
    """Turn a cutout about the sensor, shift it along its ray, resize it, thin it out."""
    angle = rng.uniform(-np.pi, np.pi)
    distance = float(np.hypot(cutout.box[0], cutout.box[1]))
    wanted = float(np.clip(distance * rng.uniform(0.7, 1.6), 4.0, 50.0))
    share = min(1.0, (distance / wanted) ** 2)
    keep = rng.random(len(cutout.xyz_m)) < share
    if keep.sum() < 10:
        return None
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    factor = np.float32(rng.uniform(0.92, 1.08))
    box = cutout.box.copy()
    local = (cutout.xyz_m[keep] - box[:3]) * factor
    if rng.random() < 0.5:  # mirror about the ray from the sensor
        ray = np.arctan2(box[1], box[0])
        flip = np.array(
            [
                [np.cos(2 * ray), np.sin(2 * ray), 0],
                [np.sin(2 * ray), -np.cos(2 * ray), 0],
                [0, 0, 1],
            ],
            np.float32,
        )
        local = local @ flip.T
        box[6] = 2 * ray - box[6]
    box[:2] *= wanted / max(distance, 1.0)
    box[:3] = matrix @ box[:3]
    box[3:6] *= factor
    box[6] += angle
    return Cutout(
        xyz_m=local @ matrix.T + box[:3],
        intensity=cutout.intensity[keep],
        box=box,
        label=cutout.label,
    )


def _is_free(box: NDArray, others: Sequence[NDArray]) -> bool:
    if not others:
        return True
    placed = np.asarray(others)
    gap = np.hypot(placed[:, 0] - box[0], placed[:, 1] - box[1])
    return bool((gap > 0.55 * (placed[:, 3] + box[3])).all())


def _stand_on(cutout: Cutout, heights: NDArray) -> Cutout | None:
    """Lower or raise a cutout to the ground below it; None where that is not flat and free."""
    if len(heights) == 0:
        ground = cutout.box[2] - 0.5 * cutout.box[5]
    else:
        ground = float(np.percentile(heights, 5))
        if (heights > ground + 0.5).sum() > 30:
            return None
    lift = ground - (cutout.box[2] - 0.5 * cutout.box[5])
    shift = np.array([0, 0, lift], np.float32)
    box = cutout.box.copy()
    box[:3] += shift
    return Cutout(
        xyz_m=cutout.xyz_m + shift, intensity=cutout.intensity, box=box, label=cutout.label
    )


VEHICLES = tuple(CLASSES.index(name) for name in ("car", "truck", "bus"))
