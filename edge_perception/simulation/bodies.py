"""Bodies of road users as tapered boxes: sizes by class and the parts they are built from.

Mean sizes of cars, trucks and pedestrians follow the labels of PandaSet (CC BY 4.0) and
nuScenes; the frame of a body has x along its heading and z = 0 on the ground.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_perception.simulation.solids import Material, Part, box

CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist")

# Mean and standard deviation of (length, width, height), metres.
_SIZES = {
    "truck": ((7.5, 2.5, 3.1), (1.6, 0.15, 0.35)),
    "bus": ((11.6, 2.6, 3.2), (1.0, 0.08, 0.15)),
    "pedestrian": ((0.75, 0.68, 1.76), (0.13, 0.08, 0.10)),
    "cyclist": ((1.82, 0.66, 1.74), (0.10, 0.08, 0.08)),
}
# Kind of car: share, mean size, cabin as fractions of the length: bottom (x0, x1), top (x0, x1),
# and height of the belt line as a fraction of the height.
_CARS = {
    "sedan": (0.36, (4.65, 1.90, 1.46), (-0.44, 0.22), (-0.27, 0.03), 0.62),
    "hatchback": (0.20, (4.15, 1.85, 1.52), (-0.49, 0.24), (-0.42, 0.06), 0.60),
    "suv": (0.26, (4.65, 1.97, 1.74), (-0.49, 0.22), (-0.44, 0.05), 0.60),
    "van": (0.08, (5.00, 2.02, 1.98), (-0.49, 0.36), (-0.47, 0.22), 0.52),
    "pickup": (0.10, (5.45, 2.05, 1.88), (-0.10, 0.22), (-0.05, 0.07), 0.58),
}
_PAINTS = (
    (0.85, 0.85, 0.86), (0.62, 0.62, 0.60), (0.30, 0.30, 0.30), (0.06, 0.06, 0.06),
    (0.10, 0.09, 0.08), (0.15, 0.10, 0.45), (0.40, 0.20, 0.10), (0.28, 0.30, 0.18),
    (0.45, 0.55, 0.60), (0.14, 0.14, 0.52), (0.75, 0.76, 0.78), (0.20, 0.19, 0.18),
)  # fmt: skip
_Size = tuple[float, float, float]


def _jitter(rng: np.random.Generator, mean: _Size, deviation: _Size) -> _Size:
    factor = np.clip(rng.normal(size=3), -2.0, 2.0)
    length, width, height = (
        float(m + d * f) for m, d, f in zip(mean, deviation, factor, strict=True)
    )
    return length, width, height


def _paint(rng: np.random.Generator) -> _Size:
    base = np.array(_PAINTS[rng.integers(len(_PAINTS))]) * rng.uniform(0.8, 1.15)
    blue, green, red = np.clip(base + rng.normal(0, 0.02, 3), 0.02, 0.95)
    return float(blue), float(green), float(red)


def _wheels(length: float, width: float, radius: float, axles: tuple[float, ...]) -> list[Part]:
    black = (0.04, 0.04, 0.04)
    inner, outer = 0.5 * width - 0.24, 0.5 * width - 0.01
    cut = 0.4 * radius
    return [
        Part(
            bottom=(a * length - 0.6 * radius, a * length + 0.6 * radius, *side),
            top=(a * length - radius, a * length + radius, *side),
            z0=0.0,
            z1=radius + cut,
            material=Material.TYRE,
            bgr=black,
        )
        for a in axles
        for side in ((inner, outer), (-outer, -inner))
    ]


def _car(rng: np.random.Generator) -> tuple[_Size, list[Part]]:
    kinds = list(_CARS)
    kind = kinds[rng.choice(len(kinds), p=[_CARS[k][0] for k in kinds])]
    _, mean, cabin, roof, belt = _CARS[kind]
    length, width, height = _jitter(rng, mean, (0.22, 0.07, 0.07))
    half, side, colour = 0.5 * length, 0.5 * width, _paint(rng)
    z_belt = (belt + rng.uniform(-0.03, 0.03)) * height
    nose = rng.uniform(0.05, 0.22)
    hood = z_belt - rng.uniform(0.02, 0.16)
    x_screen = (cabin[1] + rng.uniform(-0.02, 0.03)) * length
    parts = [
        box((-half, x_screen), (-side, side), (0.22, z_belt), Material.PAINT, colour,
            taper=(0.08, 0.0, 0.06, 0.06)),
        box((x_screen - 0.05, half), (-side, side), (0.22, hood), Material.PAINT, colour,
            taper=(0.0, nose, 0.08, 0.08)),
        Part(
            bottom=(cabin[0] * length, x_screen, -side + 0.06, side - 0.06),
            top=(roof[0] * length, (roof[1] + rng.uniform(-0.03, 0.03)) * length,
                 -side + 0.24, side - 0.24),
            z0=z_belt - 0.02, z1=height, material=Material.CABIN, bgr=colour,
        ),
    ]  # fmt: skip
    mirror = side * 0.98
    parts += [
        box((x_screen - 0.35, x_screen - 0.2), y, (z_belt, z_belt + 0.14), Material.PAINT, colour)
        for y in ((mirror - 0.04, mirror + 0.12), (-mirror - 0.12, -mirror + 0.04))
    ]
    return (length, width, height), parts + _wheels(length, width, 0.33, (-0.29, 0.31))


def _truck(rng: np.random.Generator) -> tuple[_Size, list[Part]]:
    length, width, height = _jitter(rng, *_SIZES["truck"])
    half, side, colour = 0.5 * length, 0.5 * width, _paint(rng)
    cab = rng.uniform(1.8, 2.3)
    cab_height = min(height, rng.uniform(2.3, 2.8))
    cargo = (0.8, 0.8, 0.8) if rng.random() < 0.6 else _paint(rng)
    parts = [
        box((-half, half - cab - 0.15), (-side, side), (0.9, height), Material.CARGO, cargo),
        box((half - cab, half), (-side + 0.05, side - 0.05), (0.4, 0.55 * cab_height),
            Material.PAINT, colour),
        box((half - cab, half), (-side + 0.05, side - 0.05), (0.55 * cab_height, cab_height),
            Material.CABIN, colour, taper=(0.0, 0.35, 0.1, 0.1)),
        box((-half, half - cab), (-0.5, 0.5), (0.5, 0.9), Material.METAL, (0.1, 0.1, 0.1)),
    ]  # fmt: skip
    return (length, width, height), parts + _wheels(length, width, 0.5, (-0.32, 0.36))


def _bus(rng: np.random.Generator) -> tuple[_Size, list[Part]]:
    length, width, height = _jitter(rng, *_SIZES["bus"])
    half, side = 0.5 * length, 0.5 * width
    parts = [
        box((-half, half), (-side, side), (0.3, height), Material.BUS, _paint(rng),
            taper=(0.05, 0.15, 0.05, 0.05)),
    ]  # fmt: skip
    return (length, width, height), parts + _wheels(length, width, 0.5, (-0.28, 0.32))


def _person(
    rng: np.random.Generator, height: float, hip: float, lean: float
) -> tuple[list[Part], _Size]:
    """Torso, arms and head above `hip`, leaning forward by `lean` metres at the shoulders."""
    cloth, skin = _paint(rng), (0.42, 0.52, 0.70)
    neck, half = 0.84 * height, rng.uniform(0.17, 0.24)
    torso = Part(
        bottom=(-0.12, 0.12, -half + 0.03, half - 0.03),
        top=(lean - 0.1, lean + 0.12, -half, half),
        z0=hip, z1=neck, material=Material.CLOTH, bgr=cloth,
    )  # fmt: skip
    head = box((lean - 0.08, lean + 0.12), (-0.07, 0.07), (neck + 0.03, height), Material.SKIN,
               skin, taper=(0.03, 0.03, 0.03, 0.03))  # fmt: skip
    return [torso, head], cloth


def _pedestrian(rng: np.random.Generator) -> tuple[_Size, list[Part]]:
    length, width, height = _jitter(rng, *_SIZES["pedestrian"])
    hip = 0.48 * height
    parts, cloth = _person(rng, height, hip, 0.02)
    trousers, stride = _paint(rng), rng.uniform(0.3, 1.0) * (length - 0.2)
    length = stride + 0.24
    for sign in (-1.0, 1.0):
        foot, arm = sign * 0.5 * stride, -sign * 0.35 * stride
        parts.append(
            Part(
                bottom=(foot - 0.09, foot + 0.11, sign * 0.12 - 0.07, sign * 0.12 + 0.07),
                top=(-0.1, 0.1, sign * 0.1 - 0.09, sign * 0.1 + 0.09),
                z0=0.0, z1=hip, material=Material.CLOTH, bgr=trousers,
            )
        )  # fmt: skip
        parts.append(
            Part(
                bottom=(arm - 0.05, arm + 0.05, sign * 0.5 * width - 0.08 * (sign > 0),
                        sign * 0.5 * width + 0.08 * (sign < 0)),
                top=(-0.05, 0.05, sign * 0.24 - 0.05, sign * 0.24 + 0.05),
                z0=hip - 0.05, z1=0.82 * height, material=Material.CLOTH, bgr=cloth,
            )
        )  # fmt: skip
    return (length, width, height), parts


def _cyclist(rng: np.random.Generator) -> tuple[_Size, list[Part]]:
    length, width, height = _jitter(rng, *_SIZES["cyclist"])
    half, hip = 0.5 * length, 0.95
    parts, cloth = _person(rng, height, hip, rng.uniform(0.1, 0.4))
    black = (0.06, 0.06, 0.06)
    for x in (-half + 0.33, half - 0.33):
        parts.append(
            Part(bottom=(x - 0.18, x + 0.18, -0.025, 0.025),
                 top=(x - 0.33, x + 0.33, -0.025, 0.025), z0=0.0, z1=0.4,
                 material=Material.TYRE, bgr=black)
        )  # fmt: skip
    parts += [
        box((-half + 0.4, half - 0.4), (-0.03, 0.03), (0.35, 0.9), Material.METAL, _paint(rng)),
        box(
            (half - 0.5, half - 0.4),
            (-0.5 * width, 0.5 * width),
            (0.95, 1.02),
            Material.METAL,
            black,
        ),
        box((-0.15, 0.25), (-0.18, 0.18), (0.35, hip), Material.CLOTH, _paint(rng)),
        box(
            (0.1, half - 0.42),
            (-0.5 * width + 0.06, 0.5 * width - 0.06),
            (1.0, 1.1),
            Material.CLOTH,
            cloth,
        ),
    ]
    return (length, width, height), parts


_BUILDERS: dict[str, Callable[[np.random.Generator], tuple[_Size, list[Part]]]] = {
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "pedestrian": _pedestrian,
    "cyclist": _cyclist,
}


def build_body(
    class_name: str, rng: np.random.Generator, *, emergency: bool = False
) -> tuple[_Size, list[Part]]:
    """Return the size (length, width, height) in metres and the parts of one road user.

    Args:
        class_name: One of `CLASSES`.
        rng: Draws the size, the kind and the colours.
        emergency: Adds a beacon bar and emergency paint to a vehicle.
    """
    size, parts = _BUILDERS[class_name](rng)
    if not emergency:
        return size, parts
    white = (0.88, 0.88, 0.9)
    parts = [
        Part(bottom=p.bottom, top=p.top, z0=p.z0, z1=p.z1, material=p.material, bgr=white)
        if p.material in (Material.PAINT, Material.CABIN, Material.CARGO) else p
        for p in parts
    ]  # fmt: skip
    length, width, height = size
    beacon = box((-0.1, 0.25), (-0.35 * width, 0.35 * width), (height, height + 0.16),
                 Material.BEACON, (0.9, 0.3, 0.1))  # fmt: skip
    return (length, width, height + 0.16), [*parts, beacon]
