"""Simulated test frames with ground truth, rendered once and kept on disk.

Seeds start where neither training nor the choice of thresholds has ever looked.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import edge_perception.simulation
from edge_perception.core.types import AudioBlock, Geometry, ImageFrame, PointCloud
from edge_perception.samples.images import decoded
from edge_perception.simulation.audio import generate_audio
from edge_perception.simulation.camera import Visibility, pinhole_of
from edge_perception.simulation.generate import generate_frame, lidar_pose
from edge_perception.simulation.scenario import Scenario, random_scenario
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.soiling import LENSES
from edge_perception.simulation.world import World

FIRST_SEED = 2_000_000  # training uses seeds below 1,000,000, thresholds those from there on
LISTEN_S = 1.6  # sound before the moment of the frame
SIREN_SNR_DB = 0.0
BLOCK_S = 0.1
_START_NS = 1_000_000_000_000
LEAST_HITS = 5  # LiDAR returns that show an object
_IMAGE, _LENS = "jpeg_", "lens_"  # names of what is kept
_LEAST_PIXELS, _LEAST_SHARE, _MOST_CUT = 88, 0.25, 0.6  # of an object the camera shows


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is there, base frame, and who could know."""

    class_name: NDArray[np.str_]  # (M,)
    center_m: NDArray[np.float32]  # (M, 3)
    in_lidar: NDArray[np.bool_]  # (M,)
    in_camera: NDArray[np.bool_]  # (M,)


@dataclass(frozen=True, kw_only=True)
class SampleFrame:
    """One moment: what the sensors deliver and the truth about it."""

    seed: int
    weather: str
    light: str
    cloud: PointCloud
    images: dict[int, ImageFrame]  # by how much older than the sweep it is, ms
    lidar: Geometry
    camera: Geometry
    microphones: Geometry
    blocks: tuple[AudioBlock, ...]  # end at the moment of the frame
    sounds: dict[str, float]  # class to bearing (rad) of what sounds in the last window
    truth: Truth
    soiled: dict[str, ImageFrame]  # the image of 0 ms through each of LENSES that was asked for


def load_frame(
    seed: int,
    folder: Path,
    *,
    delays_ms: tuple[int, ...] = (),
    lenses: bool = False,
    clear_day: bool = False,
) -> SampleFrame:
    """Return the frame of a seed from the folder, rendered where it is not there yet.

    Args:
        seed: fixes scenario, scene and noise.
        folder: cache; may be deleted at any time.
        delays_ms: further images wanted, this much older than the sweep.
        lenses: whether images through soiled lenses are wanted.
        clear_day: by clear day in the place of the weather and the light of the scenario.
    """
    scenario = random_scenario(seed)
    name = f"{seed}"
    if clear_day:
        scenario, name = by_clear_day(scenario), f"{seed}_clear_day"
    path = folder / simulator_digest() / f"{name}.npz"
    delays, soiled = (0, *delays_ms), tuple(LENSES) if lenses else ()
    wanted = [*(f"{_IMAGE}{delay}" for delay in delays), *(_LENS + lens for lens in soiled)]
    stored = _read(path, wanted) if path.exists() else None
    if stored is None:
        stored = _render(scenario, seed, delays, soiled)
        write_stored(path, stored)
    return _frame(scenario, seed, stored)


def by_clear_day(scenario: Scenario) -> Scenario:
    """Return the same by clear day; nothing else is drawn anew."""
    sounds = tuple(sound for sound in scenario.sounds if sound != "rain")
    return replace(scenario, weather="clear", light="day", sounds=sounds)


@cache
def simulator_digest(renderer: Path = Path(__file__)) -> str:
    """Return what names the simulator's code, so that no frame of an older one is used.

    Args:
        renderer: the file that says what is kept of a frame.
    """
    digest = hashlib.sha256()
    for path in [*sorted(Path(edge_perception.simulation.__path__[0]).glob("*.py")), renderer]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def moment(seed: int) -> float:
    """Return at what time of its drive a seed's frame is taken, s."""
    return float(stream(seed, "moment").uniform(2.0, 5.0))


def _render(
    scenario: Scenario, seed: int, delays_ms: tuple[int, ...], lenses: tuple[str, ...]
) -> dict[str, NDArray]:
    world, t_s = World(scenario, seed), moment(seed)
    both = replace(scenario, sensors=("camera", "lidar"))
    frame = generate_frame(both, seed, t_s, start_ns=_START_NS, world=world)
    assert frame.cloud is not None
    assert frame.image is not None
    jpegs = {f"{_IMAGE}0": jpeg_of(frame.image.bgr)}
    only = replace(scenario, sensors=("camera",))
    for delay in delays_ms:
        if delay:
            image = generate_frame(only, seed, t_s - delay / 1e3, world=world).image
            assert image is not None
            jpegs[f"{_IMAGE}{delay}"] = jpeg_of(image.bgr)
    for lens in lenses:
        dirty, wet = LENSES[lens]
        soiled = replace(scenario.camera, dirty_lens=dirty, wet_lens=wet)
        behind = replace(only, camera=soiled)
        image = generate_frame(behind, seed, t_s, world=world).image
        assert image is not None
        jpegs[_LENS + lens] = jpeg_of(image.bgr)
    sound = generate_audio(
        scenario, seed, LISTEN_S, start_s=t_s - LISTEN_S, snr_db=SIREN_SNR_DB, world=world,
        start_ns=_START_NS,
    )  # fmt: skip
    events = sound.events(t_s - 0.985, t_s)
    cloud = frame.cloud
    objects = frame.objects
    return {
        **jpegs,
        "xyz_cm": np.round(np.clip(cloud.xyz_m, -300, 300) * 100).astype(np.int16),
        "intensity": np.asarray(_or_zeros(cloud.intensity, len(cloud.xyz_m)), np.float16),
        "sound": np.round(sound.samples * 32767).astype(np.int16),
        "rate_hz": np.array(sound.sample_rate_hz),
        "heard": np.array([e.class_name for e in events], dtype="U16"),
        "bearing_rad": np.array([e.bearing_rad for e in events], np.float32),
        "class_name": np.array([o.box.class_name for o in objects], dtype="U16"),
        "center_m": np.array([o.box.center_m for o in objects], np.float32).reshape(-1, 3),
        "in_lidar": np.array([o.lidar_hits >= LEAST_HITS for o in objects], bool),
        "in_camera": np.array([is_shown(o.visibility) for o in objects], bool),
    }


def is_shown(seen: Visibility | None) -> bool:
    """Return whether an image shows enough of an object for it to be asked for."""
    return (
        seen is not None
        and seen.pixels >= _LEAST_PIXELS
        and seen.visible_fraction > _LEAST_SHARE
        and seen.truncation < _MOST_CUT
    )


def _frame(scenario: Scenario, seed: int, stored: dict[str, NDArray]) -> SampleFrame:
    pinhole = pinhole_of(scenario.camera)
    stamp_ns = _START_NS + round(moment(seed) * 1e9)
    images, soiled = {}, {}
    for name, jpeg in stored.items():
        if name.startswith(_IMAGE):
            delay = int(name.removeprefix(_IMAGE))
            images[delay] = ImageFrame(
                stamp_ns=stamp_ns - delay * 1_000_000, frame_id="camera",
                bgr=decoded(jpeg, f"frame {seed}: {name}"),
            )  # fmt: skip
        elif name.startswith(_LENS):
            soiled[name.removeprefix(_LENS)] = ImageFrame(
                stamp_ns=stamp_ns, frame_id="camera", bgr=decoded(jpeg, f"frame {seed}: {name}")
            )
    return SampleFrame(
        seed=seed,
        weather=scenario.weather,
        light=scenario.light,
        cloud=PointCloud(
            stamp_ns=stamp_ns, frame_id="lidar",
            xyz_m=stored["xyz_cm"].astype(np.float32) / np.float32(100),
            intensity=stored["intensity"].astype(np.float32),
        ),
        images=images,
        lidar=Geometry(T_base_sensor=lidar_pose(scenario)),
        camera=Geometry(
            T_base_sensor=pinhole.T_base_camera, intrinsics=pinhole.intrinsics,
            image_size=(pinhole.width, pinhole.height),
        ),
        microphones=Geometry(microphones_m=np.array(scenario.microphones.positions_m)),
        blocks=_blocks(stored["sound"], int(stored["rate_hz"]), stamp_ns),
        sounds=dict(
            zip(stored["heard"].tolist(), stored["bearing_rad"].tolist(), strict=True)
        ),
        truth=Truth(
            class_name=stored["class_name"], center_m=stored["center_m"],
            in_lidar=stored["in_lidar"], in_camera=stored["in_camera"],
        ),
        soiled=soiled,
    )  # fmt: skip


def _blocks(samples: NDArray[np.int16], rate_hz: int, end_ns: int) -> tuple[AudioBlock, ...]:
    size = round(BLOCK_S * rate_hz)
    start_ns = end_ns - len(samples) * 1_000_000_000 // rate_hz
    return tuple(
        AudioBlock(
            stamp_ns=start_ns + first * 1_000_000_000 // rate_hz,
            frame_id="microphone",
            samples=samples[first : first + size].astype(np.float32) / np.float32(32767),
            sample_rate_hz=rate_hz,
            first_sample_index=first,
        )
        for first in range(0, len(samples), size)
    )


def jpeg_of(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as it is kept."""
    encoded: NDArray[np.uint8] = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return encoded


def _or_zeros(values: NDArray | None, count: int) -> NDArray:
    return np.zeros(count, np.float32) if values is None else values


def write_stored(path: Path, stored: dict[str, NDArray]) -> None:
    """Keep what was rendered of a frame, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    np.savez(partial, **stored)  # type: ignore[arg-type]
    partial.rename(path)


def _read(path: Path, wanted: list[str]) -> dict[str, NDArray] | None:
    with np.load(path) as data:
        if all(name in data for name in wanted):
            return dict(data)
    return None
