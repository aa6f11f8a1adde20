"""Features of rigs with several cameras and LiDARs: `python -m training.surround`.

Made by the bundled encoders as the runtime runs them, and kept by scene on disk.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry
from edge_perception.encoders import modality_of
from edge_perception.evaluation.rig import Rig, load_set, miscalibrated
from edge_perception.models.merging import merged
from edge_perception.simulation.generate import generate_rig
from edge_perception.simulation.scenario import Camera, Lidar, Scenario, random_scenario
from edge_perception.simulation.world import World
from training.samples import CLASSES
from training.simulated import scene_time

CACHE = Path("training_out/cache/surround")
FIRST_SEED = 60_000  # scenes that no network was trained on
HELD_OUT_SEED = 1_100_000
_SIZE = (512, 288)  # px
_LEAST_HITS, _LEAST_PIXELS = 5, 25
_REACH_M = 40.0  # farther objects are not asked of cameras alone


@dataclass(frozen=True, kw_only=True)
class RigFeatures:
    """What the encoders make of one scene, by source, and the truth."""

    bev: Mapping[str, NDArray[np.float16]]  # (24, 96, 64)
    seen: Mapping[str, NDArray]  # (1, 96, 64)
    shows: Mapping[str, NDArray[np.bool_]]  # (M,)
    boxes: NDArray[np.float32]  # (M, 9)
    labels: NDArray[np.int64]

    def of(self, modality: str) -> list[str]:
        """Return the sources of a modality."""
        return [name for name in self.bev if modality_of(name) == modality]

    def merged(self, sources: list[str]) -> NDArray[np.float32]:
        """Return the one feature that the fusion graph is given, (24, 96, 64)."""
        bevs = [self.bev[name].astype(np.float32)[None] for name in sources]
        weights = [self.seen[name].astype(np.float32)[None] for name in sources]
        return merged(bevs, weights, "mean")[0]


def random_rig(seed: int) -> Scenario:
    """Return a random scenario with six cameras around and one or two LiDARs, all at random.

    Neighbours lie about 60 degrees apart; fields of view are 45 to 100 degrees, so that some rigs
    leave gaps and others overlap.
    """
    scenario = random_scenario(seed)
    rng = np.random.default_rng([seed, 21])
    first, fov = rng.uniform(-30, 30), rng.uniform(50, 90)
    cameras = []
    for index in range(6):
        yaw = (first if rng.random() < 0.5 else 0.0) + 60.0 * index + rng.normal(0, 5)
        cameras.append(
            Camera(
                name="camera" if not index else f"camera_{index}",
                width=_SIZE[0], height=_SIZE[1],
                horizontal_fov_deg=float(np.clip(fov + rng.normal(0, 8), 45, 100)),
                position_m=(
                    float(rng.uniform(-0.5, 1.8)), float(rng.normal(0, 0.3)),
                    float(rng.uniform(1.3, 2.2)),
                ),
                yaw_deg=float((yaw + 180.0) % 360.0 - 180.0),
                dirty_lens=float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 0.3)])),
            )
        )  # fmt: skip
    lidars = [
        Lidar(
            name="lidar" if not index else f"lidar_{index}",
            model="pandar64" if rng.random() < (0.75, 0.4)[index] else "spinning32",
            position_m=(
                float(rng.uniform(-0.3, 1.4)) if not index else float(rng.uniform(-2.0, 2.0)),
                0.0, float(rng.uniform(1.6, 2.2)),
            ),
            dropout=float(rng.choice([0.0, 0.0, rng.uniform(0, 0.3)])),
        )
        for index in range(2)
    ]  # fmt: skip
    return replace(
        scenario, camera=cameras[0], more_cameras=tuple(cameras[1:]), lidar=lidars[0],
        more_lidars=tuple(lidars[1:]),
    )  # fmt: skip


def simulate(rig: Rig, seed: int) -> RigFeatures:
    """Render the scene of a seed and run the encoders on it; calibrations are slightly wrong."""
    scenario = random_rig(seed)
    frames = generate_rig(scenario, seed, scene_time(seed), world=World(scenario, seed))
    rng = np.random.default_rng([seed, 22])
    bev, seen, shows = {}, {}, {}
    boxes = np.zeros((0, 9), np.float32)
    labels = np.zeros(0, np.int64)
    for name, frame in frames.items():
        if frame.image is not None:
            turned = miscalibrated(
                frame.camera_geometry, float(rng.normal(0, 0.4)), (0.0, 0.0, 1.0)
            )
            feature = rig.feature("camera", frame.image, turned)
            shows[name] = np.array(
                [
                    o.visibility is not None
                    and o.visibility.pixels >= _LEAST_PIXELS
                    and o.visibility.visible_fraction > 0.25
                    and o.visibility.truncation < 0.6
                    for o in frame.objects
                ],
                bool,
            )
        else:
            feature = rig.feature("lidar", frame.cloud, Geometry(T_base_sensor=frame.T_base_lidar))
            shows[name] = np.array([o.lidar_hits >= _LEAST_HITS for o in frame.objects], bool)
        bev[name] = feature.tensors["bev"][0].astype(np.float16)
        seen[name] = feature.tensors["seen"][0]
        items = [o.box for o in frame.objects]
        boxes = np.array(
            [(*b.center_m, *b.size_m, b.yaw_rad, *b.velocity_mps[:2]) for b in items], np.float32
        ).reshape(-1, 9)
        labels = np.array([CLASSES.index(b.class_name) for b in items], np.int64)
    return RigFeatures(bev=bev, seen=seen, shows=shows, boxes=boxes, labels=labels)


def cached(rig: Rig, seed: int) -> RigFeatures:
    """Return the features of a seed, computed once."""
    path = CACHE / f"{seed:07d}.npz"
    if not path.exists():
        _save(path, simulate(rig, seed))
    return load(path)


def load(path: Path) -> RigFeatures:
    """Read what was kept."""
    with np.load(path) as data:
        found: dict[str, dict[str, NDArray]] = {"bev": {}, "seen": {}, "shows": {}}
        for key in data:
            kind, _, name = key.partition(" ")
            if name:
                found[kind][name] = data[key]
        return RigFeatures(**found, boxes=data["boxes"], labels=data["labels"])


def _save(path: Path, item: RigFeatures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"boxes": item.boxes, "labels": item.labels}
    for kind in ("bev", "seen", "shows"):
        arrays |= {f"{kind} {name}": values for name, values in getattr(item, kind).items()}
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(partial, **arrays)
    partial.rename(path)


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument("--models", type=Path, default=Path("models/bev_lite"))
    arguments = parser.parse_args()
    rig = Rig(load_set(arguments.models))
    seeds = [
        *range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.held_out),
        *range(FIRST_SEED, FIRST_SEED + arguments.frames),
    ]
    for count, seed in enumerate(seeds, 1):
        cached(rig, seed)
        if count % 50 == 0:
            print(f"{count}/{len(seeds)}", flush=True)


if __name__ == "__main__":
    main()
