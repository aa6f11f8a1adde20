"""Seconds of sound with labels of every window: what the head over time is trained on.

A clip is told by its group and number alone. Groups are the kinds of `hard_sounds`, sirens in
synthetic and in simulated streets, and streets without one. What the frozen network says of each
window is kept beside the log-mel cells, as it costs more than a step of the head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_perception.encoders.audio.log_mel import LogMel
from edge_perception.simulation.audio import generate_audio
from edge_perception.simulation.scenario import Emergency, Scenario, random_scenario
from training import siren_kinds, sounds
from training.audio import CONFIG
from training.hard_sounds import HARD
from training.patches import synthesiser_digest
from training.sounds import RATE_HZ, Wave, normalised

CACHE = Path("training_out/cache/streams")
CLIP_S = 7.0
SAMPLES = round(CLIP_S * RATE_HZ)
CELL_FRAMES = 5  # log-mel frames whose mean is a cell of time
FLOOR = float(np.log(CONFIG.log_offset))  # log-mel of digital silence
SIRENS, SCENES, STREETS = "sirens", "scenes", "streets"  # groups beside the kinds of HARD
SEED = 600_000  # simulated scenes from here on; held out are those from 1,000,000 on
_HEARD_S, _UNHEARD_S = 0.3, 0.1  # of a siren in a window that has one, and that has none
_SAVED = 8  # clips that are made between two writes
_HIDDEN_DB = -3.0  # below the rest nobody says whether it is heard


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One clip as the runtime would hear it. W windows, one each 0.1 s; cells of 50 ms."""

    mel: NDArray[np.float16]  # (C, 64): the first cell has CELL_FRAMES - 1 frames of silence
    logits: NDArray[np.float16]  # (W, K) of the frozen network
    embedding: NDArray[np.float16]  # (W, 32)
    siren: NDArray[np.float16]  # (W,): 1, 0, or -1 where nobody can say
    kinds: tuple[str, ...]  # of HARD, that are in it


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of CLIP_S as sound."""

    wave: Wave  # full scale 1
    span_s: tuple[float, float] | None  # when a siren sounds; None: where it does nobody can say
    kinds: tuple[str, ...] = ()  # of HARD, that are in it


def clip(group: str, number: int) -> Clip:
    """Make a clip."""
    rng = np.random.default_rng([9, _groups().index(group), number])
    if group in HARD:
        wave, kinds = _hard(rng, group)
        return Clip(wave=wave, span_s=(0.0, 0.0), kinds=kinds)
    if group == STREETS and number % 2:
        return Clip(wave=_street(rng), span_s=(0.0, 0.0))
    kinds = ()
    if group == SIRENS:
        wave, span_s, level_db, kinds = _siren(rng)
    else:
        wave, span_s, level_db = _scene(rng, number, siren=group == SCENES)
    return Clip(wave=wave, span_s=span_s if level_db >= _HIDDEN_DB else None, kinds=kinds)


def heard(
    net: nn.Module, wave: Wave, span_s: tuple[float, float] | None, kinds: Sequence[str] = ()
) -> Stream:
    """Return what the runtime and the frozen network make of (N,) samples.

    Args:
        net: log-mel patch to logits and embedding.
        wave: samples.
        span_s: when the siren sounds; None: where it does nobody can say.
        kinds: what else is in it.
    """
    frames = LogMel(CONFIG).frames(wave.astype(np.float32))
    hop, length = CONFIG.patch_hop_frames, CONFIG.patch_frames
    starts = range(0, len(frames) - length + 1, hop)
    patches = torch.from_numpy(np.stack([frames[s : s + length] for s in starts])[:, None])
    with torch.no_grad():
        logits, embedding = net(patches)
    ahead = np.full((CELL_FRAMES - 1, frames.shape[1]), FLOOR, np.float32)
    whole = np.concatenate([ahead, frames])
    whole = whole[: len(whole) // CELL_FRAMES * CELL_FRAMES]
    labels = []
    for s in starts:
        begin = s * CONFIG.hop_s
        end = begin + CONFIG.patch_samples / RATE_HZ
        active = 0.0 if span_s is None else min(end, span_s[1]) - max(begin, span_s[0])
        sure = span_s is not None and (active >= _HEARD_S or active < _UNHEARD_S)
        labels.append(float(active >= _HEARD_S) if sure else -1.0)
    return Stream(
        mel=whole.reshape(-1, CELL_FRAMES, whole.shape[1]).mean(axis=1).astype(np.float16),
        logits=logits.numpy().astype(np.float16),
        embedding=embedding.numpy().astype(np.float16),
        siren=np.array(labels, np.float16),
        kinds=tuple(kinds),
    )


def streams(net: nn.Module, group: str, count: int, folder: Path) -> list[Stream]:
    """Return the first clips of a group, from disk where they are there.

    Args:
        net: the frozen network.
        group: which.
        count: how many.
        folder: where they are kept, `cache_folder`.
    """
    path = folder / f"{group.replace(' ', '_')}.npz"
    kept = read_streams(path) if path.exists() else []
    for first in range(len(kept), count, _SAVED):
        made = (clip(group, number) for number in range(first, min(first + _SAVED, count)))
        kept += [heard(net, c.wave, c.span_s, c.kinds) for c in made]
        write_streams(path, kept)
        print(f"{group}: {len(kept)} of {count} clips", flush=True)
    return kept[:count]


def write_streams(path: Path, clips: Sequence[Stream]) -> None:
    """Write clips of equal length."""
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        mel=np.stack([s.mel for s in clips]),
        logits=np.stack([s.logits for s in clips]),
        embedding=np.stack([s.embedding for s in clips]),
        siren=np.stack([s.siren for s in clips]),
        kinds=np.array(["|".join(s.kinds) for s in clips]),
    )
    partial.rename(path)


def read_streams(path: Path) -> list[Stream]:
    """Read what `write_streams` wrote."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data}
    return [
        Stream(
            mel=arrays["mel"][i],
            logits=arrays["logits"][i],
            embedding=arrays["embedding"][i],
            siren=arrays["siren"][i],
            kinds=tuple(k for k in str(arrays["kinds"][i]).split("|") if k),
        )
        for i in range(len(arrays["mel"]))
    ]


def _groups() -> list[str]:
    return [*HARD, SIRENS, SCENES, STREETS]


def cache_folder(net: nn.Module) -> Path:
    """Return where the clips are kept that these sources and this network make."""
    weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
    sources = b"".join(Path(str(m)).read_bytes() for m in (__file__, siren_kinds.__file__))
    digest = hashlib.sha256(synthesiser_digest().encode() + sources + weights)
    folder = CACHE / digest.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hard(rng: np.random.Generator, kind: str) -> tuple[Wave, tuple[str, ...]]:
    rest, wave = _rest(rng), HARD[kind](rng, SAMPLES)
    level_db, kinds = rng.uniform(0, 24), [kind]
    wave = normalised(wave + 1e-6)
    if rng.random() < 0.15:
        other = str(rng.choice(list(HARD)))
        wave = wave + rng.uniform(0.2, 1) * normalised(HARD[other](rng, SAMPLES) + 1e-6)
        kinds.append(other)
    wave = _by_microphones(rng, wave)
    return _somewhere(rng, rest + 10 ** (level_db / 20) * normalised(wave)), tuple(kinds)


def _siren(
    rng: np.random.Generator,
) -> tuple[Wave, tuple[float, float], float, tuple[str, ...]]:
    rest = _rest(rng)
    wave, span_s = siren_kinds.stream(rng, SAMPLES), (0.0, CLIP_S)
    how = rng.random()
    if how < 0.5:
        span_s = (rng.uniform(0.5, 4.5), CLIP_S)
    elif how < 0.65:
        span_s = (0.0, rng.uniform(2.0, 6.0))
    wave = _by_microphones(rng, wave * _gate(span_s))
    level_db = rng.normal(0, 1.5) if rng.random() < 0.4 else rng.uniform(-4, 22)
    total, kinds = rest + 10 ** (level_db / 20) * wave, []
    if rng.random() < 0.15:
        kinds.append(str(rng.choice(list(HARD))))
        other = normalised(HARD[kinds[0]](rng, SAMPLES) + 1e-6)
        total = total + 10 ** ((level_db - rng.uniform(0, 15)) / 20) * other
    return _somewhere(rng, total), span_s, level_db, tuple(kinds)


def _scene(
    rng: np.random.Generator, number: int, *, siren: bool
) -> tuple[Wave, tuple[float, float], float]:
    """Return what the simulated vehicle hears, with a siren all the time or with none."""
    seed = SEED + 2 * number + siren
    base = random_scenario(seed)
    emergency = Emergency(
        siren=str(rng.choice(["wail", "yelp", "hi_lo"])),
        direction=str(rng.choice(["behind", "ahead", "left", "right"])),
        distance_m=rng.uniform(12, 60), speed_mps=rng.uniform(4, 15),
    )  # fmt: skip
    names = tuple(s for s in ("horn", "engine", "speech", "street", "rain") if rng.random() < 0.5)
    scenario = Scenario(
        name="street", weather="rain" if "rain" in names else "clear", sounds=names,
        ego_speed_mps=base.ego_speed_mps, emergency=emergency if siren else None,
        sensors=("audio",),
    )  # fmt: skip
    snr_db = float(rng.choice([0.0, rng.uniform(-3, 15)])) if siren else None
    wave = generate_audio(scenario, seed, CLIP_S, snr_db=snr_db).samples.mean(axis=1)
    return wave.astype(np.float64), (0.0, CLIP_S if siren else 0.0), snr_db or 0.0


def _street(rng: np.random.Generator) -> Wave:
    return _somewhere(rng, _rest(rng, often=True))


def _rest(rng: np.random.Generator, *, often: bool = False) -> Wave:
    """Return everything that is neither a siren nor like one, RMS 1."""
    wave = sounds.background(rng, SAMPLES)
    for kind, share in ((1, 0.2), (2, 0.4), (3, 0.3), (4, 0.15)):
        if rng.random() < share * (1.6 if often else 1.0):
            wave = wave + 10 ** (rng.uniform(-10, 15 if often else 6) / 20) * normalised(
                _long(rng, kind)
            )
    return normalised(wave)


def _long(rng: np.random.Generator, kind: int) -> Wave:
    if rng.random() < 0.5:
        return sounds.simulated(kind, rng, SAMPLES)
    make = (sounds.siren, sounds.horn, sounds.engine, sounds.speech, sounds.rain)[kind]
    pieces, total = [], 0
    while total < SAMPLES:  # the makers are for a window: several, one after another
        piece = make(rng, round(rng.uniform(0.8, 2.0) * RATE_HZ))
        gap = np.zeros(round(rng.uniform(0, 1.5 if kind in (1, 3) else 0.01) * RATE_HZ))
        pieces += [piece, gap]
        total += len(piece) + len(gap)
    return np.concatenate(pieces)[:SAMPLES] + 1e-6


def _gate(span_s: tuple[float, float]) -> Wave:
    t = np.arange(SAMPLES) / RATE_HZ
    ramp = 0.02
    return np.clip((t - span_s[0]) / ramp + 1, 0, 1) * np.clip((span_s[1] - t) / ramp + 1, 0, 1)


def _by_microphones(rng: np.random.Generator, wave: Wave) -> Wave:
    return sounds.several_microphones(rng, wave) if rng.random() < 0.4 else wave


def _somewhere(rng: np.random.Generator, wave: Wave) -> Wave:
    if rng.random() < 0.6:
        wave = sounds.reverberate(rng, wave)
    wave = sounds.coloured(rng, wave)
    wave = wave / (np.abs(wave).max() + 1e-9) * 10 ** (rng.uniform(-32, 2) / 20)
    return np.clip(wave, -1, 1)
