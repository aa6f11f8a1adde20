"""Sounds that siren heads and their thresholds are chosen on, and how a rule does on them.

Frames are those of `edge_perception evaluate` with other seeds; streets are those of `hearing` with
other seeds. Nothing here is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_perception.evaluation.frames import LISTEN_S, moment
from edge_perception.simulation.audio import generate_audio
from edge_perception.simulation.scenario import random_scenario
from training.hearing import CONFIRM, street
from training.sounds import RATE_HZ
from training.streams import Stream, heard, read_streams, write_streams

FRAMES, STREETS = 200, 30
FRAME_SEED, STREET_SEED = 1_000_000, 1_100_000
ONSET_S = 2.5  # of street, before a siren begins
_WINDOW_S, _HOP_S = 0.985, 0.1

Scores = Callable[[Stream], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The clips, as the frozen network hears them."""

    frames: Sequence[Stream]  # 1.6 s; the last window says whether a siren is in it
    sirens: Sequence[Stream]  # 5 s at 0 dB
    streets: Sequence[Stream]  # 5 s without one
    onsets: Sequence[Stream]  # a siren begins after ONSET_S


def choice(net: nn.Module, folder: Path) -> Choice:
    """Return the clips, from the folder where they are there."""
    folder.mkdir(parents=True, exist_ok=True)

    def kept(name: str, count: int, make: Callable[[int], Stream]) -> list[Stream]:
        path = folder / f"choice_{name}.npz"
        made = read_streams(path) if path.exists() else []
        for number in range(len(made), count):
            made.append(make(number))
            if len(made) % 15 == 0 or len(made) == count:
                write_streams(path, made)
        return made[:count]

    return Choice(
        frames=kept("frames", FRAMES, lambda n: _frame(net, FRAME_SEED + n)),
        sirens=kept("sirens", STREETS, lambda n: heard(net, _street(n, siren=True), (0.0, 5.0))),
        streets=kept("streets", STREETS, lambda n: heard(net, _street(n, siren=False), (0.0, 0.0))),
        onsets=kept("onsets", STREETS, lambda n: _onset(net, n)),
    )


def frame_sound(seed: int) -> tuple[NDArray[np.float32], bool]:
    """Return what is heard before the moment of a frame, (N, C), and whether a siren is at its end.

    A siren in it is as loud as all else.
    """
    end_s = moment(seed)
    start_s = end_s - LISTEN_S
    sound = generate_audio(random_scenario(seed), seed, LISTEN_S, start_s=start_s, snr_db=0.0)
    return sound.samples, any(
        e.class_name == "siren" for e in sound.events(end_s - _WINDOW_S, end_s)
    )


def _frame(net: nn.Module, seed: int) -> Stream:
    samples, present = frame_sound(seed)
    wave = np.round(samples * 32767) / 32767
    return heard(net, wave.mean(axis=1), (0.0, LISTEN_S if present else 0.0))


def _street(number: int, *, siren: bool) -> NDArray[np.float64]:
    return street(number, siren=siren, seed=STREET_SEED).mean(axis=1).astype(np.float64)


def _onset(net: nn.Module, number: int) -> Stream:
    """A street and then one with a siren; what is no siren is as loud in both."""
    before, after = _street(number, siren=False), _street(number, siren=True)
    before = before[: round(ONSET_S * RATE_HZ)]
    before = before / (before.std() + 1e-9) * after.std() / np.sqrt(2)
    return heard(net, np.concatenate([before, after]), (ONSET_S, ONSET_S + 5.0))


def base_scores(stream: Stream) -> NDArray[np.float64]:
    """Return what the network for single windows says."""
    return 1.0 / (1.0 + np.exp(-stream.logits[:, 0].astype(np.float64)))


def mean_scores(stream: Stream, windows: int = 15) -> NDArray[np.float64]:
    """Return the mean of its log-odds over windows, as `mean_windows` of a manifest takes it."""
    odds = np.clip(stream.logits[:, 0].astype(np.float64), -3.0, 3.0)
    least = int(np.ceil(0.25 * windows))
    means = [odds[max(0, i + 1 - windows) : i + 1].mean() for i in range(len(odds))]
    return np.array([1 / (1 + np.exp(-m)) * (i + 1 >= least) for i, m in enumerate(means)])


def events(
    scores: NDArray[np.float64], threshold: float, release: float, confirm: int = CONFIRM
) -> NDArray[np.bool_]:
    """Return in which windows a siren is reported."""
    run, active, told = 0, False, []
    for score in scores:
        run = run + 1 if score >= threshold else 0
        if run >= confirm:
            active = True
        elif score < release:
            active = False
        told.append(active)
    return np.array(told)


def judged(
    on: Choice, negatives: Mapping[str, Sequence[Stream]], scores: Scores, threshold: float,
    release: float, confirm: int = CONFIRM,
) -> dict:  # fmt: skip
    """Return how a rule does: false clips by kind, F1 of frames, streets, and how late it is."""

    def told(stream: Stream) -> NDArray[np.bool_]:
        return events(scores(stream), threshold, release, confirm)

    false = {kind: sum(told(s).any() for s in group) for kind, group in negatives.items()}
    wanted = np.array([s.siren[-1] > 0 for s in on.frames])
    found = np.array([told(s)[-1] for s in on.frames])
    after, early = [], 0
    for stream in on.onsets:
        windows = np.flatnonzero(told(stream))
        ends_s = _WINDOW_S + _HOP_S * windows - ONSET_S
        early += bool((ends_s < 0).any())
        after.append(float(ends_s[ends_s >= 0][0]) if (ends_s >= 0).any() else np.inf)
    return {
        "threshold": threshold,
        "false": int(sum(false.values())),
        "of": sum(len(group) for group in negatives.values()),
        "f1": round(float(2 * (wanted & found).sum() / (wanted.sum() + found.sum())), 3),
        "precision": round(float((wanted & found).sum() / max(found.sum(), 1)), 3),
        "recall": round(float((wanted & found).sum() / wanted.sum()), 3),
        "sirens_heard": int(sum(told(s).any() for s in on.sirens)),
        "streets": int(sum(told(s).any() for s in on.streets)),
        "told_after_s": [
            round(float(q), 1) for q in np.percentile(after, [50, 90], method="lower")
        ],
        "told_early": early,
        "by_kind": {k: int(v) for k, v in sorted(false.items(), key=lambda i: -i[1]) if v},
    }
