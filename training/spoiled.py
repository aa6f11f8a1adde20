"""What real sweeps have and simulated ones have not: other gains, ghosts, dust, a lost road.

Each function takes a sweep and returns another, most with the same boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.augment import SENSOR_M, beams_of, in_sector, select
from training.samples import CLASSES, Sweep, in_box

_RAISED_M = 0.3  # above the base frame's road: no ground
_ARM_M = 0.4  # nobody is nearer to somebody else
_PEOPLE = tuple(CLASSES.index(name) for name in ("pedestrian", "cyclist"))


def spoil(sweep: Sweep, rng: np.random.Generator, *, bodies: bool = True) -> Sweep:
    """Apply each kind now and then; `bodies`: those too that change who is there."""
    for function, share in (*(_BODIES if bodies else ()), *_KINDS):
        if rng.random() < share:
            sweep = function(sweep, rng)
    return sweep


def as_another_receiver(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Return other brightnesses: none, or a power and a gain of them, now and then with noise.

    A gain that the encoder would take back (`intensity_median`) is taken back here as well.
    """
    if rng.random() < 0.2:
        return replace(sweep, intensity=np.zeros_like(sweep.intensity))
    value = np.clip(sweep.intensity, 0, 1) ** np.float32(rng.uniform(0.5, 1.6))
    if rng.random() < 0.15:
        value = value * rng.uniform(0.2, 1.8, len(value)).astype(np.float32)
    before, after = float(np.median(sweep.intensity)), float(np.median(value))
    if before > 0.0 and after > 0.0:
        value *= np.float32(before / after * np.exp(rng.normal(0, 0.35)))
    return replace(sweep, intensity=np.clip(value, 0, 1).astype(np.float32))


def below_the_road(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Throw up to 5 % of the returns 0.5 to 3 m below the road (multipath, canals, ramps)."""
    thrown = np.flatnonzero(rng.random(len(sweep.xyz_m)) < rng.uniform(0.0, 0.05))
    xyz = sweep.xyz_m.copy()
    xyz[thrown, 2] = rng.uniform(-3.0, -0.5, len(thrown)) + np.minimum(xyz[thrown, 2], 0.0)
    return replace(sweep, xyz_m=xyz)


def mirrored(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Add ghosts: a part of the sweep again behind a mirror (a glass front, a wet road, a car)."""
    xyz = sweep.xyz_m
    if rng.random() < 0.4:  # a wet road mirrors what stands on it, and swallows its own returns
        high = np.flatnonzero((xyz[:, 2] > 0.3) & (xyz[:, 2] < 3.0))
        ghosts = high[rng.random(len(high)) < rng.uniform(0.01, 0.08)]
        copy = xyz[ghosts] * np.array([1, 1, -1], np.float32)
        lost = (np.abs(xyz[:, 2]) < 0.2) & (rng.random(len(xyz)) < rng.uniform(0.2, 0.8))
        return _with(select(sweep, ~lost), copy, sweep.intensity[ghosts] * np.float32(0.5))
    angle = rng.choice([0.0, 0.5 * np.pi]) + rng.normal(0, 0.1)
    normal = np.array([-np.sin(angle), np.cos(angle)], np.float32)
    offset = np.float32(rng.choice([-1, 1]) * rng.uniform(4, 14))
    side = xyz[:, :2] @ normal
    along = xyz[:, :2] @ np.array([np.cos(angle), np.sin(angle)], np.float32)
    start = rng.uniform(-20, 40)
    before = (np.sign(offset) * side < abs(offset)) & (np.abs(along - start) < rng.uniform(1, 6))
    ghosts = np.flatnonzero(before & (xyz[:, 2] > 0.1) & (rng.random(len(xyz)) < 0.25))
    copy = xyz[ghosts].copy()
    copy[:, :2] += 2 * (offset - side[ghosts])[:, None] * normal
    return _with(sweep, copy, sweep.intensity[ghosts] * np.float32(0.4))


def dusty(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Draw up to 4 % of the returns nearer, or half of a cloud: dust, spray, exhaust."""
    xyz = sweep.xyz_m
    ray = xyz - np.array([0, 0, SENSOR_M], np.float32)
    distance = np.linalg.norm(ray, axis=1)
    if rng.random() < 0.5:
        met = rng.random(len(xyz)) < rng.uniform(0.0, 0.04)
        nearer = rng.exponential(8.0, len(xyz)) + 1.5
    else:
        middle, half = rng.uniform(-np.pi, np.pi), rng.uniform(0.03, 0.25)
        inside = in_sector(xyz, middle - half, 2 * half)
        met = inside & (rng.random(len(xyz)) < rng.uniform(0.1, 0.5))
        nearer = rng.normal(rng.uniform(4, 20), rng.uniform(0.3, 1.5), len(xyz))
    met &= (nearer < distance) & (nearer > 1.0)
    share = np.where(met, nearer / np.maximum(distance, 0.1), 1.0).astype(np.float32)
    low = np.where(met, np.float32(0.02), sweep.intensity).astype(np.float32)
    moved = (ray * share[:, None] + np.array([0, 0, SENSOR_M], np.float32)).astype(np.float32)
    return replace(sweep, xyz_m=moved, intensity=low)


def scattered(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Scatter ranges by up to 6 cm, as cheap sensors do."""
    noise = rng.normal(0, rng.uniform(0.01, 0.06), (len(sweep.xyz_m), 1)).astype(np.float32)
    ray = sweep.xyz_m - np.array([0, 0, SENSOR_M], np.float32)
    unit = ray / np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 0.1)
    return replace(sweep, xyz_m=sweep.xyz_m + unit * noise)


def dark_bodies(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Take most returns of some objects: black paint, a wet car."""
    keep = np.ones(len(sweep.xyz_m), bool)
    for box in sweep.boxes[rng.random(len(sweep.boxes)) < 0.25]:
        inside = in_box(sweep.xyz_m, box)
        keep[inside] = rng.random(len(inside)) > rng.uniform(0.3, 0.8)
    return select(sweep, keep)


def repainted(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Give single things another brightness: coats, paints, signs and leaves of any kind.

    The simulator's clothes are all dull. A network that has seen no others takes who wears a bright
    coat for a sign.
    """
    value = sweep.intensity.copy()
    raised = np.flatnonzero(sweep.xyz_m[:, 2] > _RAISED_M)
    raised = raised[np.argsort(sweep.xyz_m[raised, 0])]
    if not value[raised].any():
        return sweep  # a sensor that tells none
    usual, along = float(np.median(value[raised])), sweep.xyz_m[raised, 0]
    things = [in_box(sweep.xyz_m, box) for box in sweep.boxes[rng.random(len(sweep.boxes)) < 0.7]]
    for _ in range(int(rng.integers(5, 40))):
        middle, reach = sweep.xyz_m[rng.choice(raised), :2], rng.uniform(0.2, 2.0)
        strip = np.searchsorted(along, (middle[0] - reach, middle[0] + reach))
        near = raised[slice(*strip)]
        things.append(near[np.hypot(*(sweep.xyz_m[near, :2] - middle).T) < reach])
    for thing in things:
        if rng.random() < 0.5:  # as it is, brighter or darker
            value[thing] *= np.float32(np.exp(rng.normal(0.3, 0.8)))
        else:  # parts of it of one brightness
            level = np.float32(usual * np.exp(rng.normal(0.3, 1.0)))
            value[thing] = level * rng.uniform(0.7, 1.3, len(thing)).astype(np.float32)
    return replace(sweep, intensity=np.clip(value, 0, 1).astype(np.float32))


def reshaped(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Make people smaller, larger, slimmer and wider: children, coats, bags."""
    xyz, boxes = sweep.xyz_m.copy(), sweep.boxes.copy()
    for index in np.flatnonzero(np.isin(sweep.labels, _PEOPLE)):
        flat, tall = rng.uniform(0.75, 1.3), rng.uniform(0.75, 1.12)
        factor = np.array([flat, flat, tall], np.float32)
        box = boxes[index]
        floor = box[:3] - np.array([0, 0, 0.5 * box[5]], np.float32)
        inside = in_box(xyz, box, 0.05)
        xyz[inside] = floor + (xyz[inside] - floor) * factor
        box[3:6] *= factor
        box[2] = floor[2] + 0.5 * box[5]
    return replace(sweep, xyz_m=xyz, boxes=boxes)


def accompanied(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Put another one beside some pedestrians, as close as people walk together.

    Two of them are as long as a cyclist. The other one stands where the sensor sees it too.
    """
    parts = [(sweep.xyz_m, sweep.intensity)]
    boxes = [*sweep.boxes]
    walks = sweep.labels == CLASSES.index("pedestrian")
    for box in sweep.boxes[walks & (rng.random(len(walks)) < 0.4)]:
        aside = np.arctan2(box[1], box[0]) + rng.choice([-0.5, 0.5]) * np.pi + rng.normal(0, 0.5)
        step = np.array([np.cos(aside), np.sin(aside), 0], np.float32) * rng.uniform(0.45, 1.0)
        other = box.copy()
        other[:3] += step
        if min(np.hypot(*(other[:2] - known[:2])) for known in boxes) < _ARM_M:
            continue
        inside = in_box(sweep.xyz_m, box, 0.05)
        boxes.append(other)
        parts.append((sweep.xyz_m[inside] + step.astype(np.float32), sweep.intensity[inside]))
    more = len(boxes) - len(sweep.boxes)
    return Sweep(
        xyz_m=np.concatenate([xyz for xyz, _ in parts]),
        intensity=np.concatenate([intensity for _, intensity in parts]),
        boxes=np.array(boxes, np.float32).reshape(-1, 9),
        labels=np.append(sweep.labels, [CLASSES.index("pedestrian")] * more).astype(np.int64),
    )


def narrowed(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Keep one view of 50 to 140 degrees; objects at its edge are cut."""
    middle, half = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(25, 70))
    if rng.random() < 0.6:
        middle = 0.0
    return select(sweep, in_sector(sweep.xyz_m, middle - half, 2 * half))


def thinned(sweep: Sweep, rng: np.random.Generator) -> Sweep:
    """Keep one beam of two, three or four, by elevation: what a sensor with fewer would have."""
    beams = beams_of(sweep, rng)
    return select(sweep, beams % int(rng.integers(2, 5)) == 0)


def _with(sweep: Sweep, xyz: NDArray, intensity: NDArray) -> Sweep:
    return replace(
        sweep,
        xyz_m=np.concatenate([sweep.xyz_m, xyz]).astype(np.float32),
        intensity=np.concatenate([sweep.intensity, intensity]).astype(np.float32),
    )


_Kinds = tuple[tuple[Callable[[Sweep, np.random.Generator], Sweep], float], ...]
_BODIES: _Kinds = ((accompanied, 0.3), (reshaped, 0.4))  # what no picture of the scene would show
_KINDS: _Kinds = (
    (repainted, 0.5), (as_another_receiver, 0.6), (below_the_road, 0.15), (mirrored, 0.15),
    (dusty, 0.12), (scattered, 0.25), (dark_bodies, 0.15), (narrowed, 0.12), (thinned, 0.3),
)  # fmt: skip
