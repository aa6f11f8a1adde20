"""Labelled LiDAR sweeps in the base frame, from the simulation and from PandaSet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist")
IGNORED = -1  # labelled, but of no class: neither wanted nor counted as false
_PANDASET_CLASSES = {
    "Car": 0,
    "Pickup Truck": 0,
    "Medium-sized Truck": 1,
    "Semi-truck": 1,
    "Bus": 2,
    "Pedestrian": 3,
    "Pedestrian with Object": 3,
    "Bicycle": 4,
    "Motorcycle": IGNORED,
    "Personal Mobility Device": IGNORED,
    "Other Vehicle - Uncommon": IGNORED,
    "Other Vehicle - Construction Vehicle": IGNORED,
    "Towed Object": IGNORED,
}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One labelled sweep, base frame."""

    xyz_m: NDArray[np.float32]  # (N, 3)
    intensity: NDArray[np.float32]  # (N,), 0 to 1
    boxes: NDArray[np.float32]  # (M, 9): x y z length width height yaw vx vy
    labels: NDArray[np.int64]  # (M,), index into CLASSES or IGNORED


def load_pandaset(folder: Path, sequence: str) -> list[Sweep]:
    """Read the frames of a sequence; the base frame is the LiDAR frame, z = 0 near the road."""
    return [_pandaset_sweep(path) for path in sorted((folder / sequence).glob("*.npz"))]


def _pandaset_sweep(path: Path) -> Sweep:
    with np.load(path) as frame:
        kept = [i for i, name in enumerate(frame["box_label"]) if name in _PANDASET_CLASSES]
        count = len(kept)
        boxes = np.concatenate(
            [
                frame["box_center_m"][kept],
                frame["box_size_m"][kept],
                frame["box_yaw_rad"][kept].reshape(count, 1),
                np.full((count, 2), np.nan),
            ],
            axis=1,
        )
        return Sweep(
            xyz_m=frame["xyz_cm"].astype(np.float32) / 100,
            intensity=frame["intensity"].astype(np.float32) / 255,
            boxes=boxes.astype(np.float32),
            labels=np.array([_PANDASET_CLASSES[frame["box_label"][i]] for i in kept], np.int64),
        )


def save_sweep(path: Path, sweep: Sweep) -> None:
    """Write a sweep, centimetres and 8-bit intensity, by rename."""
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    near = (np.abs(sweep.xyz_m) < 300).all(axis=1)
    np.savez(
        partial,
        xyz_cm=np.round(sweep.xyz_m[near] * 100).astype(np.int16),
        intensity=np.round(sweep.intensity[near] * 255).astype(np.uint8),
        boxes=sweep.boxes,
        labels=sweep.labels,
    )
    partial.rename(path)


def load_sweep(path: Path) -> Sweep:
    """Read what `save_sweep` wrote."""
    with np.load(path) as data:
        return Sweep(
            xyz_m=data["xyz_cm"].astype(np.float32) / 100,
            intensity=data["intensity"].astype(np.float32) / 255,
            boxes=data["boxes"],
            labels=data["labels"],
        )


def in_box(xyz: NDArray, box: NDArray, margin_m: float = 0.0) -> NDArray[np.int64]:
    """Return the indices of the points in a box grown by a margin."""
    half = 0.5 * box[3:6] + margin_m
    reach = float(np.hypot(half[0], half[1]))
    near = np.flatnonzero(
        (np.abs(xyz[:, 0] - box[0]) < reach) & (np.abs(xyz[:, 1] - box[1]) < reach)
    )
    delta = xyz[near] - box[:3]
    c, s = np.cos(box[6]), np.sin(box[6])
    along = np.abs(delta[:, 0] * c + delta[:, 1] * s)
    across = np.abs(delta[:, 1] * c - delta[:, 0] * s)
    inside = (along < half[0]) & (across < half[1]) & (np.abs(delta[:, 2]) < half[2])
    return near[inside]
