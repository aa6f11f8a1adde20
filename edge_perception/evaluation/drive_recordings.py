"""Simulated drives as recordings, rendered once and kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_perception.evaluation.frames import simulator_digest
from edge_perception.simulation.rigs import with_rig
from edge_perception.simulation.scenario import (
    DIRECTIONS,
    SIRENS,
    Emergency,
    Scenario,
    random_scenario,
)
from edge_perception.simulation.seeding import stream

# Seeds that neither training nor single frames look at; those from 4,000,000 are to learn from.
FIRST_DRIVE = 5_000_000
SECONDS = 8.0
ONE_CAMERA, SURROUND = "1 camera", "6 cameras"
_SHARE_WITH_SIREN = 2 / 3


def drive_scenario(seed: int, rig: str = ONE_CAMERA) -> Scenario:
    """Return what kind of drive a seed is.

    Two of three have an emergency vehicle, from every side, among other traffic.
    """
    rng = stream(seed, "drive")
    emergency = None
    if rng.random() < _SHARE_WITH_SIREN:
        emergency = Emergency(
            direction=str(rng.choice(DIRECTIONS)),
            siren=str(rng.choice(SIRENS)),
            distance_m=float(rng.uniform(12.0, 45.0)),
            speed_mps=float(rng.uniform(2.0, 14.0)),
        )
    scenario = replace(random_scenario(seed), name=f"drive_{seed}", emergency=emergency)
    return with_rig(scenario, rig)


def recorded_drive(seed: int, rig: str, cache: Path, seconds: float = SECONDS) -> Path:
    """Return the recording of a drive, rendered where it is not in the cache yet."""
    folder = cache / f"drives_{simulator_digest(Path(__file__))}"
    path = folder / f"{rig.replace(' ', '_').replace(',', '')}_{seed}_{seconds:g}.mcap"
    if not path.exists():
        from edge_perception.samples.drive import simulate_drive, write_drive  # they need ROS

        folder.mkdir(parents=True, exist_ok=True)
        drive = simulate_drive(drive_scenario(seed, rig), seed, seconds, progress=lambda _: None)
        write_drive(drive, path)
    return path
