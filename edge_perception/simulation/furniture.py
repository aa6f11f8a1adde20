"""What stands beside a street: houses, walls, trees, poles and small things."""

from __future__ import annotations

import numpy as np

from edge_perception.simulation.solids import Material, Part, box

Plot = tuple[float, float, float, float]  # x0, x1, y0, y1 in the map frame, m
# x, y and yaw in the map frame; the parts have their z from the ground there.
Static = tuple[float, float, float, tuple[Part, ...]]

_FACADES = (
    (0.52, 0.60, 0.66), (0.40, 0.46, 0.62), (0.62, 0.62, 0.60), (0.30, 0.38, 0.55),
    (0.48, 0.55, 0.56), (0.68, 0.72, 0.75), (0.35, 0.35, 0.38),
)  # fmt: skip


def _middle(plot: Plot) -> tuple[float, float, float, float]:
    x0, x1, y0, y1 = plot
    return 0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.5 * (x1 - x0), 0.5 * (y1 - y0)


def building(rng: np.random.Generator, plot: Plot, statics: list[Static]) -> None:
    """Add a house that fills a plot."""
    x, y, hx, hy = _middle(plot)
    colour = np.array(_FACADES[rng.integers(len(_FACADES))]) * rng.uniform(0.75, 1.15)
    height = float(rng.choice([rng.uniform(4, 8), rng.uniform(8, 18), rng.uniform(18, 40)],
                              p=[0.4, 0.45, 0.15]))  # fmt: skip
    body = box((-hx, hx), (-hy, hy), (-3.0, height), Material.FACADE, tuple(np.clip(colour, 0, 1)))
    parts = [body]
    if rng.random() < 0.4:
        eaves = box((-hx - 0.4, hx + 0.4), (-hy - 0.4, hy + 0.4), (height, height + 0.5),
                    Material.WALL, tuple(np.clip(colour * 0.8, 0, 1)))  # fmt: skip
        parts.append(eaves)
    if rng.random() < 0.35:  # an awning over the pavement
        z = float(rng.uniform(2.6, 3.4))
        parts.append(
            box((-hx * 0.6, hx * 0.6), (-hy - 1.0, hy + 1.0), (z, z + 0.3), Material.CLOTH,
                tuple(rng.uniform(0.1, 0.6, 3)))
        )  # fmt: skip
    statics.append((x, y, 0.0, tuple(parts)))


def fence(rng: np.random.Generator, plot: Plot, statics: list[Static]) -> None:
    """Add walls along the long sides of a plot."""
    x, y, hx, hy = _middle(plot)
    height = float(rng.uniform(1.0, 3.5))
    grey = (0.45, 0.47, 0.5)
    walls = [
        box((-hx, hx), (s * hy - 0.1, s * hy + 0.1), (-2.0, height), Material.WALL, grey)
        for s in (-1.0, 1.0)
    ]
    statics.append((x, y, 0.0, tuple(walls)))


def foliage(
    rng: np.random.Generator, radius: float, z0: float, z1: float, count: int
) -> list[Part]:
    """Return a crown or bush: overlapping tapered boxes of leaves around the origin."""
    parts = []
    for _ in range(count):
        r = radius * rng.uniform(0.4, 0.7)
        x, y = rng.normal(0, 0.3 * radius, 2)
        low = z0 + (z1 - z0) * rng.uniform(0.0, 0.4)
        high = low + (z1 - low) * rng.uniform(0.6, 1.0)
        t = r * rng.uniform(0.3, 0.7)
        green = np.array([0.10, 0.26, 0.16]) * rng.uniform(0.6, 1.5)
        parts.append(
            box((x - r, x + r), (y - r, y + r), (low, high), Material.FOLIAGE, tuple(green),
                taper=(t, t, t, t))
        )  # fmt: skip
    return parts


def hedge(rng: np.random.Generator, plot: Plot, statics: list[Static]) -> None:
    """Add bushes over a plot."""
    x0, x1, y0, y1 = plot
    for _ in range(int(rng.integers(3, 8))):
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        height = float(rng.uniform(1.0, 4.0))
        radius = float(rng.uniform(0.8, 2.2))
        for _ in range(2):
            parts = foliage(rng, radius, -0.3, height, 2)
            statics.append((x, y, float(rng.uniform(0, 3.1)), tuple(parts)))


def tree(rng: np.random.Generator, x: float, y: float, statics: list[Static]) -> None:
    """Add a tree."""
    trunk, radius = float(rng.uniform(1.6, 2.8)), float(rng.uniform(1.2, 2.6))
    r = float(rng.uniform(0.09, 0.2))
    top = trunk + float(rng.uniform(1.5, 3.0)) * radius
    stem = box((-r, r), (-r, r), (-1.0, trunk + 0.5), Material.METAL, (0.12, 0.17, 0.22))
    statics.append((x, y, 0.0, (stem,)))
    for _ in range(3):  # groups turned against each other make a round crown
        parts = foliage(rng, radius, trunk, top, 2)
        statics.append((x, y, float(rng.uniform(0, 3.1)), tuple(parts)))


def pole(rng: np.random.Generator) -> list[Part]:
    """Return a lamp pole or a sign."""
    r, height = float(rng.uniform(0.05, 0.16)), float(rng.uniform(2.5, 9.0))
    grey = (0.35, 0.35, 0.35)
    parts = [box((-r, r), (-r, r), (-1.0, height), Material.METAL, grey, taper=(0.02,) * 4)]
    if rng.random() < 0.5:
        z = min(height, float(rng.uniform(2.2, 3.0)))
        colour = ((0.1, 0.1, 0.7), (0.1, 0.4, 0.1), (0.8, 0.8, 0.8))[rng.integers(3)]
        parts.append(box((-0.03, 0.03), (-0.35, 0.35), (z - 0.7, z), Material.SIGN, colour))
    elif height > 5.0:
        parts.append(box((-0.1, 2.5), (-0.06, 0.06), (height - 0.2, height), Material.METAL, grey))
    return parts


def clutter(rng: np.random.Generator) -> list[Part]:
    """Bins, boxes, hydrants, cones and benches."""
    hx, hy, z = rng.uniform(0.12, 0.6), rng.uniform(0.12, 0.35), rng.uniform(0.4, 1.4)
    if rng.random() < 0.3:
        t = 0.15
        return [box((-0.19, 0.19), (-0.19, 0.19), (-0.1, 0.75), Material.SIGN, (0.05, 0.35, 0.9),
                    taper=(t, t, t, t))]  # fmt: skip
    blue, green, red = rng.uniform(0.1, 0.6, 3).tolist()
    return [box((-hx, hx), (-hy, hy), (-0.3, z), Material.WALL, (blue, green, red))]
