"""Rigs with several cameras and LiDARs: simulated frames, and what is left when a sensor fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import FusionLevel, Geometry, ImageFrame, PointCloud
from edge_perception.encoders import modality_of
from edge_perception.evaluation.frames import (
    LEAST_HITS,
    Truth,
    is_shown,
    jpeg_of,
    moment,
    simulator_digest,
    write_stored,
)
from edge_perception.evaluation.matching import Judged, judge_frame
from edge_perception.evaluation.rig import Rig
from edge_perception.samples.images import decoded
from edge_perception.simulation.camera import pinhole_of
from edge_perception.simulation.generate import generate_rig, lidar_pose_of
from edge_perception.simulation.rigs import RIGS, with_rig
from edge_perception.simulation.scenario import Scenario, random_scenario
from edge_perception.simulation.world import World

LARGEST = "6 cameras, 2 LiDARs"  # the sensors of every other rig are among its own
SURROUND = "6 cameras"  # the rig that the targets are about
ALL, LIDAR_LOST, CAMERA_LOST, DECISION = "all", "LiDAR lost", "one camera lost", "decision level"
TRIALS = (ALL, LIDAR_LOST, CAMERA_LOST, DECISION)
_START_NS = 1_000_000_000_000


@dataclass(frozen=True, kw_only=True)
class RigFrame:
    """One moment of the largest rig, by source: data, geometry and which objects it shows."""

    seed: int
    data: Mapping[str, ImageFrame | PointCloud]
    geometry: Mapping[str, Geometry]
    shows: Mapping[str, NDArray[np.bool_]]  # (M,)
    class_name: NDArray[np.str_]  # (M,)
    center_m: NDArray[np.float32]  # (M, 3)

    def truth(self, sources: Iterable[str]) -> Truth:
        """Return what is there and what these sources could know of it."""
        nothing = np.zeros(len(self.class_name), bool)
        seen = {"camera": nothing, "lidar": nothing}
        for source in sources:
            modality = modality_of(source)
            seen[modality] = seen[modality] | self.shows[source]
        return Truth(
            class_name=self.class_name, center_m=self.center_m,
            in_lidar=seen["lidar"], in_camera=seen["camera"],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RigTrial:
    """What fusion made of one moment with what a rig had left."""

    judged: Judged
    at_feature_level: bool  # and for all sources


def sources_of(rig: str) -> tuple[str, ...]:
    """Return the cameras and LiDARs of a rig."""
    cameras, lidars = RIGS[rig]
    return ("camera", *(c.name for c in cameras), "lidar", *(item.name for item in lidars))


def load_rig_frame(seed: int, folder: Path) -> RigFrame:
    """Return the largest rig's frame of a seed, rendered where it is not in the folder yet."""
    path = folder / simulator_digest(Path(__file__)) / f"{seed}.npz"
    if path.exists():
        with np.load(path) as data:
            stored = dict(data)
    else:
        stored = _render(seed)
        write_stored(path, stored)
    return _frame(seed, stored)


def _scenario(seed: int) -> Scenario:
    return with_rig(random_scenario(seed), LARGEST)


def _render(seed: int) -> dict[str, NDArray]:
    scenario = _scenario(seed)
    frames = generate_rig(
        scenario, seed, moment(seed), world=World(scenario, seed), start_ns=_START_NS
    )
    boxes = [item.box for item in frames["lidar"].objects]
    stored: dict[str, NDArray] = {
        "class_name": np.array([box.class_name for box in boxes], dtype="U16"),
        "center_m": np.array([box.center_m for box in boxes], np.float32).reshape(-1, 3),
    }
    for name, frame in frames.items():
        if frame.image is not None:
            stored[f"jpeg_{name}"] = jpeg_of(frame.image.bgr)
            shows = [is_shown(item.visibility) for item in frame.objects]
        else:
            cloud = frame.cloud
            assert cloud is not None
            assert cloud.intensity is not None
            near = np.abs(cloud.xyz_m).max(axis=1) < 300
            stored[f"xyz_cm_{name}"] = np.round(cloud.xyz_m[near] * 100).astype(np.int16)
            stored[f"intensity_{name}"] = cloud.intensity[near].astype(np.float16)
            shows = [item.lidar_hits >= LEAST_HITS for item in frame.objects]
        stored[f"shows_{name}"] = np.array(shows, bool)
    return stored


def _frame(seed: int, stored: Mapping[str, NDArray]) -> RigFrame:
    scenario = _scenario(seed)
    stamp_ns = _START_NS + round(moment(seed) * 1e9)
    data: dict[str, ImageFrame | PointCloud] = {}
    geometry = {}
    for camera in (scenario.camera, *scenario.more_cameras):
        pinhole = pinhole_of(camera)
        bgr = decoded(stored[f"jpeg_{camera.name}"], f"frame {seed}: {camera.name}")
        data[camera.name] = ImageFrame(stamp_ns=stamp_ns, frame_id=camera.name, bgr=bgr)
        geometry[camera.name] = Geometry(
            T_base_sensor=pinhole.T_base_camera, intrinsics=pinhole.intrinsics,
            image_size=(pinhole.width, pinhole.height),
        )  # fmt: skip
    for lidar in (scenario.lidar, *scenario.more_lidars):
        data[lidar.name] = PointCloud(
            stamp_ns=stamp_ns, frame_id=lidar.name,
            xyz_m=stored[f"xyz_cm_{lidar.name}"].astype(np.float32) / np.float32(100),
            intensity=stored[f"intensity_{lidar.name}"].astype(np.float32),
        )  # fmt: skip
        geometry[lidar.name] = Geometry(T_base_sensor=lidar_pose_of(lidar))
    return RigFrame(
        seed=seed, data=data, geometry=geometry,
        shows={name: stored[f"shows_{name}"] for name in data},
        class_name=stored["class_name"], center_m=stored["center_m"],
    )  # fmt: skip


def try_rigs(rig: Rig, frame: RigFrame) -> dict[tuple[str, str], RigTrial]:
    """Return every trial of every rig: (rig, one of TRIALS).

    What a rig could see with all its sensors is wanted in each of its trials. The camera that is
    lost is another one in each frame; LiDARs are lost all at once.
    """
    features = {
        name: rig.feature(modality_of(name), data, frame.geometry[name], source=name)
        for name, data in frame.data.items()
    }
    found = {}
    for name in RIGS:
        sources = sources_of(name)
        truth = frame.truth(sources)
        for trial, left in _left(sources, frame.seed).items():
            view = rig.fuse({s: features[s] for s in left}, with_model=trial != DECISION)
            found[name, trial] = RigTrial(
                judged=judge_frame(
                    view.objects, truth, wanted=truth.in_camera | truth.in_lidar
                ),
                at_feature_level=view.level == FusionLevel.FEATURE and not view.level_reason,
            )  # fmt: skip
    return found


def _left(sources: tuple[str, ...], seed: int) -> dict[str, tuple[str, ...]]:
    """Return the sources that are there in each trial."""
    cameras = [name for name in sources if modality_of(name) == "camera"]
    lost = cameras[seed % len(cameras)]
    return {
        ALL: sources,
        LIDAR_LOST: tuple(cameras),
        CAMERA_LOST: tuple(name for name in sources if name != lost),
        DECISION: sources,
    }
