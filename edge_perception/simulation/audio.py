"""What microphones on the vehicle hear: distance, Doppler, delays, echoes and clipping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import UNKNOWN, AudioBlock, SoundEvent
from edge_perception.simulation import sounds
from edge_perception.simulation.propagation import (
    HEAD_S,
    SPEED_OF_SOUND_MPS,
    Path,
    propagate,
    reverberate,
)
from edge_perception.simulation.scenario import Scenario
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.sounds import SAMPLE_RATE_HZ
from edge_perception.simulation.world import World

_STEP_S = 0.02  # bearings are given this often
# RMS one metre from the source, full scale 1 at the microphone.
_LEVEL = {"siren": 4.0, "car_horn": 2.2, "vehicle": 0.5, "speech": 0.25}
_DIFFUSE_LEVEL = {"street": 0.02, "rain": 0.03}


@dataclass(frozen=True, kw_only=True)
class SoundTrack:
    """One source over the recording, as heard at the centre of the microphones."""

    class_name: str  # siren, car_horn, vehicle or speech
    spans_s: tuple[tuple[float, float], ...]  # when it is heard, since the start of the drive
    time_s: NDArray[np.float32]  # (K,)
    bearing_rad: NDArray[np.float32]  # (K,), about +z of the base frame, 0: ahead
    distance_m: NDArray[np.float32]  # (K,)


@dataclass(frozen=True, kw_only=True)
class SimulatedAudio:
    """A recording with the truth about it."""

    start_ns: int  # stamp of the start of the drive; t = 0 of all times here
    start_s: float  # time of the first sample
    samples: NDArray[np.float32]  # (N, C), -1 to 1
    sample_rate_hz: int
    tracks: tuple[SoundTrack, ...]

    def events(self, start_s: float, end_s: float, *, share: float = 0.3) -> tuple[SoundEvent, ...]:
        """Return what sounds in a window for at least `share` of it, with the bearing mid-way."""
        result = []
        for track in self.tracks:
            heard = sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in track.spans_s)
            if heard < share * (end_s - start_s) or heard <= 0.0:
                continue
            middle = 0.5 * (start_s + end_s)
            nearest = int(np.abs(track.time_s - middle).argmin())
            result.append(
                SoundEvent(
                    class_name=track.class_name,
                    score=1.0,
                    window_start_ns=self.start_ns + round(start_s * 1e9),
                    window_end_ns=self.start_ns + round(end_s * 1e9),
                    bearing_rad=float(track.bearing_rad[nearest])
                    if len(track.bearing_rad)
                    else UNKNOWN,
                )
            )
        return tuple(result)

    def blocks(self, block_s: float = 0.1, *, frame_id: str = "microphone") -> list[AudioBlock]:
        """Return the recording in consecutive blocks; a shorter rest is left out."""
        size = round(block_s * self.sample_rate_hz)
        first = round(self.start_s * self.sample_rate_hz)
        return [
            AudioBlock(
                stamp_ns=self.start_ns + round((first + at) * 1e9 / self.sample_rate_hz),
                frame_id=frame_id,
                samples=self.samples[at : at + size],
                sample_rate_hz=self.sample_rate_hz,
                first_sample_index=first + at,
            )
            for at in range(0, len(self.samples) - size + 1, size)
        ]


@dataclass(frozen=True, kw_only=True)
class _Source:
    class_name: str
    wave: NDArray[np.float32]
    spans_s: tuple[tuple[float, float], ...]  # when it sounds, at the source
    path: Path


def generate_audio(
    scenario: Scenario, seed: int, duration_s: float, *, start_s: float = 0.0,
    start_ns: int = 1_000_000_000_000, snr_db: float | None = None, world: World | None = None,
) -> SimulatedAudio:  # fmt: skip
    """Return what the microphones hear, with labels.

    Args:
        scenario: What kind of drive; its emergency vehicle sounds its siren.
        seed: Fixes every number together with the scenario.
        duration_s: Length of the recording.
        start_s: Time of its first sample since the start of the drive.
        start_ns: Stamp of the start of the drive.
        snr_db: Scales sirens and horns so that their power over the recording is this much above
            that of everything else; None keeps the levels of the scene.
        world: The world of this scenario and seed, where the caller has built it already.
    """
    world = world or World(scenario, seed)
    rng = stream(seed, "audio", round(start_s * 1e6))
    count = round(duration_s * SAMPLE_RATE_HZ)
    microphones = np.array(scenario.microphones.positions_m, np.float64)
    loud: list[NDArray[np.float32]] = []
    quiet: list[NDArray[np.float32]] = []
    tracks = []
    for source in _sources(world, rng, start_s, count):
        heard = propagate(source.wave, source.path, microphones, start_s, count)
        level = _LEVEL[source.class_name] * float(rng.uniform(0.6, 1.5))
        (loud if source.class_name in ("siren", "car_horn") else quiet).append(heard * level)
        tracks.append(_track(source, microphones.mean(axis=0), start_s, duration_s))
    wet, decay = float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.08, 0.35))
    shape = (count, len(microphones))
    zero = np.zeros(shape, np.float32)
    foreground = reverberate(sum(loud, zero), stream(seed, "echo"), wet=wet, decay_s=decay)
    background = reverberate(sum(quiet, zero), stream(seed, "echo", 1), wet=wet, decay_s=decay)
    background = background + _diffuse(scenario, rng, shape)
    if snr_db is not None and loud:
        power = float(np.mean(background**2)) / max(float(np.mean(foreground**2)), 1e-12)
        foreground = foreground * np.float32(np.sqrt(power * 10 ** (snr_db / 10)))
    mixed = (foreground + background) * np.float32(10 ** (rng.uniform(-6, 6) / 20))
    return SimulatedAudio(
        start_ns=start_ns,
        start_s=start_s,
        samples=np.clip(mixed, -1.0, 1.0).astype(np.float32),
        sample_rate_hz=SAMPLE_RATE_HZ,
        tracks=tuple(tracks),
    )


def _diffuse(
    scenario: Scenario, rng: np.random.Generator, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return noise without direction: the microphone itself, wind, street and rain."""
    total = rng.standard_normal(shape).astype(np.float32) * np.float32(0.0006)
    wind = 0.0006 * scenario.ego_speed_mps
    for channel in range(shape[1]):
        gust = sounds.shaped_noise(rng, shape[0], lambda f: 1.0 / (1.0 + (f / 120.0) ** 2))
        total[:, channel] += np.float32(wind) * gust
    for name, level in _DIFFUSE_LEVEL.items():
        if name not in scenario.sounds:
            continue
        make = {"street": sounds.street, "rain": sounds.rain}[name]
        common = make(shape[0], rng)
        loudness = np.float32(level * rng.uniform(0.3, 1.6))
        for channel in range(shape[1]):
            own = make(shape[0], rng)
            total[:, channel] += loudness * (0.5 * common + 0.87 * own)
    return total


def _track(source: _Source, ear: NDArray, start_s: float, duration_s: float) -> SoundTrack:
    times = start_s + np.arange(0.0, duration_s + _STEP_S, _STEP_S)
    offset = source.path(times) - ear
    distance = np.linalg.norm(offset, axis=1)
    late = float(distance.mean()) / SPEED_OF_SOUND_MPS
    end = start_s + duration_s
    heard = [(max(a + late, start_s), min(b + late, end)) for a, b in source.spans_s]
    return SoundTrack(
        class_name=source.class_name,
        spans_s=tuple((a, b) for a, b in heard if b > a),
        time_s=times.astype(np.float32),
        bearing_rad=np.arctan2(offset[:, 1], offset[:, 0]).astype(np.float32),
        distance_m=distance.astype(np.float32),
    )


def _sources(world: World, rng: np.random.Generator, start_s: float, count: int) -> list[_Source]:
    head = round(HEAD_S * SAMPLE_RATE_HZ)
    size = count + head + 8
    always = ((start_s - HEAD_S, start_s + count / SAMPLE_RATE_HZ + 1.0),)
    scenario, result = world.scenario, []
    for index, actor in enumerate(world.actors):
        if actor.emergency and scenario.emergency is not None:
            # One siren over the whole drive: its own stream, cut where this recording starts.
            skip = round(start_s * SAMPLE_RATE_HZ)
            wave = sounds.siren(scenario.emergency.siren, size + skip, stream(world.seed, "siren"))
            result.append(
                _Source(class_name="siren", wave=wave[skip:], spans_s=always,
                        path=_path_of(world, index, 1.5))
            )  # fmt: skip
    if "horn" in scenario.sounds:
        wave, spans = sounds.horn(size, rng)
        when = tuple((a + start_s - HEAD_S, b + start_s - HEAD_S) for a, b in spans)
        path = _path_of(world, _pick(world, rng, ("car", "truck", "bus")), 0.7)
        result.append(_Source(class_name="car_horn", wave=wave, spans_s=when, path=path))
    if "engine" in scenario.sounds:
        for index in _nearest(world, start_s, ("car", "truck", "bus"), 3):
            wave = sounds.engine(size, rng, speed_mps=world.actors[index].speed_mps)
            path = _path_of(world, index, 0.5)
            result.append(_Source(class_name="vehicle", wave=wave, spans_s=always, path=path))
    if "speech" in scenario.sounds:
        wave = sounds.speech(size, rng)
        path = _path_of(world, _pick(world, rng, ("pedestrian",)), 1.6)
        result.append(_Source(class_name="speech", wave=wave, spans_s=always, path=path))
    return result


def _pick(world: World, rng: np.random.Generator, classes: tuple[str, ...]) -> int | None:
    """Return one of the nearest road users of these classes, None where there is none."""
    near = _nearest(world, 0.0, classes, 5)
    return int(rng.choice(near)) if near else None


def _nearest(world: World, t_s: float, classes: tuple[str, ...], number: int) -> list[int]:
    ego = np.array(world.ego_position(t_s)[:2])
    found = [
        (float(np.hypot(*(np.array(actor.at(t_s)[:2]) - ego))), index)
        for index, actor in enumerate(world.actors)
        if actor.class_name in classes and not actor.emergency
    ]
    return [index for _, index in sorted(found)[:number]]


def _path_of(world: World, index: int | None, height_m: float) -> Path:
    """Return where a road user is over time, base frame; without one, a place beside the road."""

    def path(times: NDArray) -> NDArray:
        rows = []
        for t in times:
            x, y, yaw = world.ego_position(float(t))
            place = (15.0, -6.0) if index is None else world.actors[index].at(float(t))[:2]
            dx, dy = place[0] - x, place[1] - y
            c, s = np.cos(yaw), np.sin(yaw)
            rows.append((c * dx + s * dy, -s * dx + c * dy, height_m))
        return np.array(rows)

    return path
