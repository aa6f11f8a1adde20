"""Log-mel patches of synthetic windows, made once, kept on disk and varied at every use.

A window of sound costs many times what a step of the small network does on it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig
from edge_perception.simulation import sounds as simulator
from training import (
    hard_any,
    hard_calls,
    hard_machines,
    hard_music,
    hard_parts,
    hard_sounds,
    hard_tones,
    mixtures,
    sounds,
)
from training.mixtures import mixture

CACHE = Path("training_out/cache/sounds")
_MAKERS = (simulator, sounds, mixtures, hard_sounds, hard_parts, hard_any, hard_calls,
           hard_machines, hard_music, hard_tones)  # fmt: skip
_CHUNK = 250
_OFFSET = 0.001  # as `log_offset` of the patches

Sample = dict[str, NDArray]


def made_patch(config: LogMelConfig, index: int) -> Sample:
    """Return window `index` as a patch (frames, mels), labels (K,) and certain (K,)."""
    rng = np.random.default_rng([4, index])
    samples, labels, certain = mixture(rng, config.patch_samples)
    patch = LogMel(config).frames(samples.astype(np.float32))
    return {
        "patch": patch,
        "labels": labels.astype(np.float32),
        "certain": certain.astype(np.float32),
    }


class Pool:
    """The first so many windows, from disk where they are there."""

    def __init__(self, config: LogMelConfig, size: int) -> None:
        folder = CACHE / synthesiser_digest()
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [_chunk(config, folder, first) for first in range(0, size, _CHUNK)]
        self._all = {n: np.concatenate([c[n] for c in chunks])[:size] for n in chunks[0]}

    def drawn(self, rng: np.random.Generator) -> Sample:
        """Return one of them as another microphone, elsewhere, would have heard it."""
        sample = self._at(int(rng.integers(len(self._all["patch"]))))
        patch = np.exp(sample["patch"]) - _OFFSET
        labels, certain = sample["labels"].copy(), sample["certain"].copy()
        if rng.random() < 0.25:  # with the sounds of another window
            other = self._at(int(rng.integers(len(self._all["patch"]))))
            share = np.exp(rng.uniform(-0.7, 0.7))
            levels = [float(p.mean()) for p in (patch, np.exp(other["patch"]) - _OFFSET)]
            scale = share * levels[0] / max(levels[1], 1e-9)
            patch = patch + scale * (np.exp(other["patch"]) - _OFFSET)
            labels = np.maximum(labels, other["labels"])
            certain = np.minimum(certain, other["certain"])
        gain = np.interp(np.arange(patch.shape[1]), np.linspace(0, patch.shape[1], 6),
                         rng.normal(0, 0.25, 6) + rng.normal(0, 0.7))  # fmt: skip
        patch = np.log(np.maximum(patch, 0.0) * np.exp(gain) + _OFFSET)
        if rng.random() < 0.4:  # a burst in one band hides it there
            first = int(rng.integers(0, patch.shape[1] - 6))
            patch[:, first : first + int(rng.integers(1, 6))] = float(np.median(patch))
        return {"patch": patch.astype(np.float32)[None], "labels": labels, "certain": certain}

    def _at(self, index: int) -> Sample:
        return {name: array[index] for name, array in self._all.items()}


def synthesiser_digest() -> str:
    """Return what tells windows of one synthesiser from those of another."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in _MAKERS)
    return hashlib.sha256(sources).hexdigest()[:12]


def _chunk(config: LogMelConfig, folder: Path, first: int) -> Sample:
    path = folder / f"{first:07d}.npz"
    if not path.exists():
        made = [made_patch(config, index) for index in range(first, first + _CHUNK)]
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            patch=np.stack([m["patch"] for m in made]).astype(np.float16),
            labels=np.stack([m["labels"] for m in made]),
            certain=np.stack([m["certain"] for m in made]),
        )
        partial.rename(path)
        print(f"{first + _CHUNK} windows", flush=True)
    with np.load(path) as data:
        return {name: data[name].astype(np.float32) for name in data}
