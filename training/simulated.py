"""Simulated sweeps, cached on disk: `python -m training.simulated --frames 600`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from edge_perception.simulation.lidar import MODELS
from edge_perception.simulation.lidar import sweep as lidar_sweep
from edge_perception.simulation.scenario import random_scenario
from edge_perception.simulation.world import Scene, World
from training.obstacles import with_obstacles
from training.samples import CLASSES, Sweep, load_sweep, save_sweep
from training.sensors import Sensor, draw_sensor, seen_by

CACHE = Path("training_out/cache/lidar")
ANY_CACHE = Path("training_out/cache/any_lidar")
HELD_OUT_SEED = 1_000_000  # seeds from here on are never trained on


def scene_boxes(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (M, 9) and labels (M,) of a scene."""
    states = [state.box for state in scene.actors]
    boxes = [(*b.center_m, *b.size_m, b.yaw_rad, *b.velocity_mps[:2]) for b in states]
    labels = [CLASSES.index(b.class_name) for b in states]
    return np.array(boxes, np.float32).reshape(-1, 9), np.array(labels, np.int64)


def scene_time(seed: int) -> float:
    """Return at what time of its drive a seed's scene is taken."""
    return float(np.random.default_rng([seed, 7]).uniform(0, 5))


def simulate_sweep(seed: int) -> Sweep:
    """Return the sweep of a random scene, LiDAR model and mounting."""
    rng = np.random.default_rng([seed, 7])
    scenario = random_scenario(seed)
    scene = World(scenario, seed).at(float(rng.uniform(0, 5)))  # that is scene_time(seed)
    place = (float(rng.uniform(-0.3, 1.4)), 0.0, float(rng.uniform(1.6, 2.2)))
    beams = MODELS["pandar64" if rng.random() < 0.75 else "spinning32"]
    return _swept(scene, scenario.weather, Sensor(beams=beams, position_m=place), rng)


def simulate_any(seed: int, *, obstacles: bool = True) -> Sweep:
    """Return the sweep of a seed's scene by any LiDAR anywhere; with obstacles, or as it is."""
    rng = np.random.default_rng([seed, 71])
    scenario = random_scenario(seed)
    world = World(scenario, seed)
    if obstacles:
        scene = with_obstacles(world.at(float(rng.uniform(0, 5))), rng)
    else:
        scene = world.at(scene_time(seed))
    return _swept(scene, scenario.weather, draw_sensor(rng), rng)


def _swept(scene: Scene, weather: str, sensor: Sensor, rng: np.random.Generator) -> Sweep:
    """Return what a sensor sees of a scene, base frame, some returns lost."""
    mounting = np.eye(4)
    mounting[:3, 3] = sensor.position_m
    cloud = lidar_sweep(
        scene,
        beams=sensor.beams,
        T_base_lidar=mounting,
        weather=weather,
        dropout=float(rng.choice([0.0, 0.0, rng.uniform(0, 0.3)])),
        rng=rng,
        stamp_ns=0,
    ).cloud
    assert cloud.intensity is not None
    keep = seen_by(sensor, cloud.xyz_m, rng)
    boxes, labels = scene_boxes(scene)
    return Sweep(
        xyz_m=cloud.xyz_m[keep] + mounting[:3, 3].astype(np.float32),
        intensity=cloud.intensity[keep],
        boxes=boxes,
        labels=labels,
    )


def cached_any(seed: int) -> Sweep:
    """Return what `simulate_any` makes of a seed, made once."""
    return _cached(ANY_CACHE, seed, simulate_any)


def cached_sweep(seed: int, *, renew: bool = False) -> Sweep:
    """Return the sweep of a seed, simulated once, or anew."""
    return _cached(CACHE, seed, simulate_sweep, renew=renew)


def _cached(folder: Path, seed: int, make: Callable[[int], Sweep], *, renew: bool = False) -> Sweep:
    path = folder / f"{seed:07d}.npz"
    if renew or not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_sweep(path, make(seed))
    return load_sweep(path)


def _fill(seed: int) -> int:
    cached_sweep(seed)
    return seed


def _fill_any(seed: int) -> int:
    cached_any(seed)
    return seed


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--any", action="store_true", help="LiDARs of any make, and obstacles")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    seeds = [*range(arguments.frames), *range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.held_out)]
    with Pool(arguments.processes) as pool:
        fill = _fill_any if arguments.any else _fill
        for count, _ in enumerate(pool.imap_unordered(fill, seeds, chunksize=8), 1):
            if count % 100 == 0:
                print(f"{count}/{len(seeds)}", flush=True)


if __name__ == "__main__":
    main()
