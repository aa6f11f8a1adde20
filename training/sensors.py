"""LiDARs of any make for training: beams, turn, view and place on the vehicle, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.lidar import MODELS, Beams
from training.augment import in_sector

_KNOWN = 0.35  # share of sensors that are one of the simulator's
_BEAMS = (16, 24, 32, 40, 48, 64, 80, 96, 128)
_NARROW = 0.15  # share with a view to one side only, as solid-state sensors have


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One LiDAR and where it sits."""

    beams: Beams
    position_m: tuple[float, float, float]  # base frame
    view_rad: tuple[float, float] | None = None  # middle and half of the azimuths; None: all
    kept: float = 1.0  # share of its rays: what does not repeat is a random part of a close grid


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a sensor: 16 to 128 beams, all around or narrow, 0.5 to 3 m above the road."""
    low = rng.random() < 0.2  # on a bumper or a grille
    height = rng.uniform(0.5, 1.4) if low else rng.uniform(1.4, 3.0)
    position = (float(rng.uniform(-0.5, 2.5)), float(rng.normal(0, 0.2)), float(height))
    if rng.random() < _KNOWN:
        names = sorted(MODELS)
        return Sensor(beams=MODELS[names[rng.integers(len(names))]], position_m=position)
    if rng.random() < _NARROW / (1 - _KNOWN):
        return _solid_state(rng, position)
    return Sensor(beams=_spinning(rng), position_m=position)


def _spinning(rng: np.random.Generator) -> Beams:
    """Beams evenly over the height, closer at the horizon, or in two interleaved fans."""
    count = int(rng.choice(_BEAMS))
    top, bottom = float(rng.uniform(2.0, 20.0)), float(rng.uniform(-30.0, -12.0))
    share = np.linspace(0.0, 1.0, count)
    if rng.random() < 0.4:  # denser around a tenth below the horizon
        middle = (top + 1.5) / (top - bottom)
        power = rng.uniform(1.2, 2.2)
        offset = np.where(share < middle, middle - share, share - middle)
        reach = np.where(share < middle, middle, 1.0 - middle)
        share = middle + np.sign(share - middle) * reach * (offset / reach) ** power
    elevation = top + (bottom - top) * share
    if rng.random() < 0.15:  # two sensors one above the other, turned against each other
        elevation = np.concatenate([elevation, elevation + rng.uniform(-0.5, 0.5)])
    elevation = np.sort(elevation + rng.normal(0, 0.03, len(elevation)))[::-1]
    columns = int(rng.choice([900, 1024, 1250, 1800, 2048]))
    if len(elevation) > 100:
        columns = min(columns, 1250)
    return Beams(elevation_deg=tuple(elevation.tolist()), columns=columns)


def _solid_state(rng: np.random.Generator, position: tuple[float, float, float]) -> Sensor:
    half = float(np.radians(rng.uniform(30.0, 60.0)))
    height = rng.uniform(10.0, 15.0)
    rows = int(rng.integers(48, 129))
    elevation = np.linspace(height, -height, rows) + rng.uniform(-5.0, 0.0)
    yaw = 0.0 if rng.random() < 0.7 else float(rng.uniform(-np.pi, np.pi))
    kept = float(rng.uniform(0.25, 0.7)) if rng.random() < 0.5 else 1.0
    beams = Beams(elevation_deg=tuple(elevation.tolist()), columns=1800)
    return Sensor(beams=beams, position_m=position, view_rad=(yaw, half), kept=kept)


def seen_by(sensor: Sensor, xyz_m: NDArray, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points, (N, 3), sensor frame, are in its view and among its rays."""
    keep = np.ones(len(xyz_m), bool)
    if sensor.view_rad is not None:
        middle, half = sensor.view_rad
        keep &= in_sector(xyz_m, middle - half, 2 * half)
    if sensor.kept < 1.0:
        keep &= rng.random(len(xyz_m)) < sensor.kept
    return keep
