"""Train the head over time of the audio encoder: `python -m training.siren`.

The network for single windows stays as it is bundled, as its embeddings feed the fusion model. The
head tells a siren from what has gathered over 4 s. `--folds 5` leaves kinds of sounds out in turn,
which says what kinds that nobody thought of would do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from edge_perception.encoders.audio.log_mel import LogMel
from edge_perception.models.manifest import load_bundle
from training.audio import CONFIG
from training.hard_sounds import HARD
from training.lidar import OUT
from training.loop import Plan, train
from training.nets import LongAudioNet, SirenHead
from training.siren_choice import Choice, Scores, base_scores, choice, judged, mean_scores
from training.sounds import CLASSES
from training.streams import (
    CELL_FRAMES,
    FLOOR,
    SCENES,
    SIRENS,
    STREETS,
    Stream,
    cache_folder,
    clip,
    streams,
)
from training.variants import SET, audio_net

CELLS = 80  # of 50 ms, that the head looks at
HISTORY_FRAMES = CELLS * CELL_FRAMES - CONFIG.patch_frames  # of log-mel, before the patch
CLIPS = {SIRENS: 400, SCENES: 160, STREETS: 200}
HARD_CLIPS = 20  # of each kind
_PER_WINDOW = 2  # cells from one window to the next
_IN_WINDOW = 20  # cells that end with the first window
# How often a sample is of a group; the rest is of the kinds of HARD.
_OF_SIRENS, _OF_SCENES, _OF_STREETS = 0.36, 0.11, 0.13
# The widest kinds, and what is taken for a siren most often.
_OFTEN = {"cry": 3.0, "notes": 3.0, "strings": 2.0, "game tune": 2.0, "solo": 2.0, "yowl": 2.0}
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
THRESHOLD = 0.6  # of the bundled head
_SURE = 0.98  # of a label, so that no score is pushed to the end

Clips = Mapping[str, Sequence[Stream]]
Sample = dict[str, NDArray]


def history(stream: Stream, window: int, begun: int = 0) -> Sample:
    """Return what the head is given at a window of a stream that began with window `begun`."""
    end = _PER_WINDOW * window + _IN_WINDOW
    first = max(end - CELLS, _PER_WINDOW * begun)
    cells = np.full((CELLS, stream.mel.shape[1]), FLOOR, np.float32)
    cells[first - end :] = stream.mel[first:end]
    if begun and first == _PER_WINDOW * begun:  # one frame of it, and silence
        cells[first - end] = 0.8 * FLOOR + 0.2 * cells[first - end]
    return {
        "cells": cells,
        "embedding": stream.embedding[window].astype(np.float32),
        "logits": stream.logits[window].astype(np.float32),
    }


class SirenSamples(Dataset):
    """Moments of the clips, varied; sample i depends on i and the clips alone."""

    def __init__(self, clips: Clips, left_out: Sequence[str] = ()) -> None:
        """Leave out whatever has a sound of these kinds in it."""
        kept = {
            name: [s for s in group if not set(s.kinds) & set(left_out)]
            for name, group in clips.items()
            if name not in left_out
        }
        self._clips = {name: group for name, group in kept.items() if group}
        self._kinds = [name for name in self._clips if name in HARD]
        shares = np.array([_OFTEN.get(name, 1.0) for name in self._kinds])
        self._shares = shares / shares.sum()

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([11, index])
        while True:
            stream = self._drawn(rng)
            sure = np.flatnonzero(stream.siren >= 0)
            if len(sure):
                break
        window = int(rng.choice(sure))
        begun, how = 0, rng.random()
        if how < 0.55:  # the stream has just begun, or not long ago
            begun = max(window - int(rng.integers(0, 13 if how < 0.4 else 41)), 0)
        sample = history(stream, window, begun)
        sample["cells"] = _varied(rng, sample["cells"])
        sample["siren"] = np.float32(stream.siren[window])
        return sample

    def _drawn(self, rng: np.random.Generator) -> Stream:
        how = rng.random()
        if how < _OF_SIRENS:
            group = SIRENS
        elif how < _OF_SIRENS + _OF_SCENES:
            group = SCENES
        elif how < _OF_SIRENS + _OF_SCENES + _OF_STREETS:
            group = STREETS
        else:
            group = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
        clips = self._clips[group]
        return clips[int(rng.integers(len(clips)))]


def _varied(rng: np.random.Generator, cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the same as another microphone, elsewhere, would have heard it."""
    bins = cells.shape[1]
    gain = rng.normal(0, 0.5) + np.interp(
        np.arange(bins), np.linspace(0, bins, 6), rng.normal(0, 0.25, 6)
    )
    offset = np.exp(FLOOR)
    loud = np.log(np.maximum(np.exp(cells) - offset, 0.0) * np.exp(gain) + offset)
    varied = np.roll(np.where(cells > FLOOR + 1e-3, loud, cells), int(rng.integers(-1, 2)), axis=1)
    if rng.random() < 0.3:  # something hides a band
        low = int(rng.integers(0, bins - 6))
        varied[:, low : low + int(rng.integers(1, 6))] = np.median(varied)
    return varied.astype(np.float32)


def siren_loss(head: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the binary cross-entropy."""
    logit = head(batch["cells"], batch["embedding"], batch["logits"])
    wanted = batch["siren"] * (2 * _SURE - 1) + (1 - _SURE)
    return {"siren": functional.binary_cross_entropy_with_logits(logit, wanted)}


def scores(head: nn.Module, stream: Stream) -> NDArray[np.float64]:
    """Return the score of a siren in every window of a stream."""
    given = [history(stream, window) for window in range(len(stream.siren))]
    arrays = (np.stack([g[name] for g in given]) for name in ("cells", "embedding", "logits"))
    with torch.no_grad():
        logit: Tensor = head(*(torch.from_numpy(a) for a in arrays))
    return torch.sigmoid(logit).numpy().astype(np.float64)


def folds(count: int) -> list[list[str]]:
    """Return the kinds of HARD in so many parts."""
    kinds = list(HARD)
    np.random.default_rng(3).shuffle(kinds)
    return [kinds[first::count] for first in range(count)]


@lru_cache
def clips() -> Clips:
    """Return all clips, from disk where they are there."""
    net = audio_net()[0].eval()
    counts = {**CLIPS, **dict.fromkeys(HARD, HARD_CLIPS)}
    return {name: streams(net, name, count, cache_folder(net)) for name, count in counts.items()}


def golden_frames() -> NDArray[np.float32]:
    """Return log-mel frames of a siren in a street that no head is trained on, (400, 64)."""
    wave = clip(SIRENS, 1 << 20).wave.astype(np.float32)
    frames: NDArray[np.float32] = LogMel(CONFIG).frames(wave)[-CELLS * CELL_FRAMES :]
    return np.ascontiguousarray(frames)


def cached(score: Scores) -> Scores:
    """Return the same, which scores each stream once."""
    kept: dict[int, NDArray[np.float64]] = {}

    def scored(stream: Stream) -> NDArray[np.float64]:
        if id(stream) not in kept:
            kept[id(stream)] = score(stream)
        return kept[id(stream)]

    return scored


def trained(plan: Plan, left_out: Sequence[str] = ()) -> nn.Module:
    """Train a head on all kinds but some."""
    torch.manual_seed(0)
    head = SirenHead(len(CLASSES))
    return train(plan, head, SirenSamples(clips(), left_out), siren_loss)


def folded(
    plan: Plan, on: Callable[[], Choice], count: int, only: Sequence[int] | None = None
) -> dict:
    """Train without a part of the kinds in turn; return what the rules do on the part left out.

    Args:
        plan: of each training; its name gets the number of the fold.
        on: gives frames and streets, which each head hears.
        count: of folds.
        only: the folds that are tried; none: all.
    """
    heads, unknown = [], []
    for number, left_out in enumerate(folds(count)):
        if only is not None and number not in only:
            continue
        heads.append(trained(replace(plan, name=f"{plan.name}_fold{number}of{count}"), left_out))
        unknown.append({kind: clips()[kind] for kind in left_out})
    heard = on()
    known = {kind: group for part in unknown for kind, group in part.items()}
    report = {
        "windows": judged(heard, known, base_scores, 0.6, 0.4),
        "mean of windows": judged(heard, known, mean_scores, 0.73, 0.5, confirm=1),
    }
    tells = [cached(partial(scores, head)) for head in heads]
    for threshold in THRESHOLDS:
        each = [
            judged(heard, part, told, threshold, release(threshold))
            for told, part in zip(tells, unknown, strict=True)
        ]
        report[f"head at {threshold}"] = _together(each)
    return report


def release(threshold: float) -> float:
    """Return the score below which a siren that was told is over."""
    return round(max(threshold - 0.2, 0.1), 2)


def _together(each: Sequence[dict]) -> dict:
    """Return false clips of all folds, and the mean of the rest."""
    summed = {name: sum(e[name] for e in each) for name in ("false", "of")}
    kinds = {kind: count for e in each for kind, count in e["by_kind"].items()}
    means = {
        name: np.round(np.mean([e[name] for e in each], axis=0), 3).tolist()
        for name in each[0]
        if name not in ("false", "of", "by_kind", "threshold")
    }
    return {**summed, **means, "by_kind": dict(sorted(kinds.items(), key=lambda i: -i[1]))}


def main() -> None:
    """Train, on all kinds or without a part of them in turn, and say what it does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--name", default="siren")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--folds", type=int, default=0, help="leave kinds out, in so many parts")
    parser.add_argument("--only", type=int, action="append", help="a fold; repeatable")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, choices=THRESHOLDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch, average=0.99,
        learning_rate=arguments.learning_rate, folder=OUT, workers=0, weight_decay=0.02,
    )  # fmt: skip
    net = audio_net()[0].eval()
    on = partial(choice, net, cache_folder(net))
    if arguments.folds:
        report = folded(plan, on, arguments.folds, arguments.only)
        (OUT / f"{plan.name}_folds_report.json").write_text(json.dumps(report, indent=1))
    else:
        head = trained(plan)
        told, heard = cached(partial(scores, head)), on()
        report = {f"head at {t}": judged(heard, {}, told, t, release(t)) for t in THRESHOLDS}
        whole = LongAudioNet(net, head, CELL_FRAMES).eval()
        torch.save(whole.state_dict(), OUT / f"{plan.name}.pt")
        written = card_report(plan.name, arguments.threshold, report)
        (OUT / f"{plan.name}_report.json").write_text(json.dumps(written, indent=1))
    for rule, found in report.items():
        print(rule, json.dumps(found), flush=True)


def card_report(name: str, threshold: float, known: Mapping[str, dict]) -> dict:
    """Return what `training.bundle` wants to know: of the head, of the folds, of the network."""
    path = OUT / f"{name}_folds_report.json"
    of_folds = json.loads(path.read_text()) if path.exists() else {}
    unknown = {rule: found for rule, found in of_folds.items() if not rule.startswith("head")}
    chosen = f"head at {threshold}"
    evaluation = load_bundle(SET / "audio").manifest.provenance.metrics["evaluation"]
    frozen = evaluation.get("frozen", evaluation)  # of a bundle that has no head yet
    return {
        "head": known[chosen],
        "threshold": threshold,
        "unknown_kinds": {**unknown, "head": of_folds[chosen]} if of_folds else {},
        "frozen": {n: frozen[n] for n in ("synthetic_held_out_f1", "clips", "windows")},
    }


if __name__ == "__main__":
    main()
