"""Where the threshold of the siren lies: `python -m training.siren_threshold BUNDLE`.

The highest at which F1 is 0.9, so that as little as can be is taken for a siren. Heard are frames
as `edge_perception evaluate` makes them, streets and the kinds of sounds that training knows, all
with seeds of their own; the clips of `held_out_sounds` are not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import load_bundle
from training import streams
from training.hard_sounds import HARD
from training.hearing import CLIP_S, Listener, blocks_of, street
from training.siren_choice import FRAME_SEED, STREET_SEED, frame_sound
from training.sounds import RATE_HZ

LEAST_F1 = 0.9
THRESHOLDS = np.round(np.arange(0.60, 0.96, 0.01), 2)
_STREETS, _OF_A_KIND = 45, 4


def frames(listener: Listener, count: int) -> Iterator[tuple[float, bool]]:
    """Yield the score of a siren at the end of a frame, and whether one sounds there."""
    for seed in range(FRAME_SEED, FRAME_SEED + count):
        samples, present = frame_sound(seed)
        windows = listener.windows(blocks_of(samples))
        yield listener.siren(windows[-listener.rule.mean_windows :], whole=True), present


def clips() -> Iterator[tuple[str, NDArray]]:
    """Yield what a clip is of, and its sound."""
    for number in range(_STREETS):
        yield "sirens", street(number, siren=True, seed=STREET_SEED)
        yield "streets", street(number, siren=False, seed=STREET_SEED)
    for kind in HARD:
        for number in range(_OF_A_KIND):
            yield "kinds", streams.clip(kind, number).wave[: round(CLIP_S * RATE_HZ)]


def rows(listener: Listener, count: int) -> list[dict]:
    """Return how each threshold does."""
    scores, present = map(np.array, zip(*frames(listener, count), strict=True))
    heard: dict[str, list[float]] = {"sirens": [], "streets": [], "kinds": []}
    for name, sound in clips():
        wave = np.asarray(sound, np.float32)
        heard[name].append(listener.siren(listener.windows(blocks_of(wave))))
    table = []
    for threshold in THRESHOLDS:
        found = scores >= threshold
        right = int((found & present).sum())
        told = {name: int((np.array(held) >= threshold).sum()) for name, held in heard.items()}
        table.append(
            {
                "threshold": float(threshold),
                "f1": 2 * right / max(int(found.sum() + present.sum()), 1),
                "recall": right / max(int(present.sum()), 1),
                **{f"told_{name}": f"{n} of {len(heard[name])}" for name, n in told.items()},
            }
        )
    return table


def main() -> None:
    """Print the table and the threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    loaded = open_bundle(bundle, ModelOptions(model="audio"))
    table = rows(Listener(name="audio", bundle=bundle, loaded=loaded), arguments.frames)
    loaded.backend.close()
    for row in table:
        print(row)
    enough = [row["threshold"] for row in table if row["f1"] >= LEAST_F1]
    print(f"highest with F1 {LEAST_F1}: {max(enough, default='none')}")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
