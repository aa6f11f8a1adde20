"""What audio models take for a siren: `python -m training.hearing BUNDLE…`.

Every model listens through the runtime's own encoder. Sirens are the simulator's, 0 dB in the
sounds of a street; the clips without one are of `held_out_sounds`, and recordings where there are
any.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.schema import decode
from edge_perception.core.types import AudioBlock
from edge_perception.encoders import encoders
from edge_perception.encoders.audio.clip import ClipWindow, read_wav, run_blocks
from edge_perception.models.adapters.audio_tagger import (
    EventRule,
    SoundDecoder,
    TaggerOptions,
    log_odds,
)
from edge_perception.models.loading import LoadedModel, ModelOptions, open_bundle
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.simulation.audio import SAMPLE_RATE_HZ, generate_audio
from edge_perception.simulation.scenario import Emergency, Scenario
from training.held_out_sounds import HELD_OUT, clip

SIREN_SEED = 3_000_000
SIREN_CLIPS, CLIP_S = 30, 5.0
COUNTED = 3  # clips of each kind that make the hard negatives
LONG_CLIPS, LONG_S = 2, 20.0  # of each kind, for false alarms per hour
CONFIRM = 3  # windows in a row, for every model that does not ask for their mean
_SOUNDS = ("horn", "engine", "speech", "street", "rain")
# What sounds in the clips of the shared data, which are for evaluation alone.
RECORDED = {
    "siren_horn_voice": True, "car_engine": False, "car_horn": False, "rain": False,
    "street": False, "train": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Listener:
    """One model with what turns its outputs into scores."""

    name: str
    bundle: Bundle
    loaded: LoadedModel

    def windows(self, blocks: Iterable[AudioBlock]) -> list[ClipWindow]:
        """Run a clip through a fresh stream."""
        manifest, spec = self.bundle.manifest, encoders()["audio"]
        encoder = spec.make_encoder(manifest, self.loaded.backend)
        return list(run_blocks(encoder, spec.make_intake(manifest), blocks))  # type: ignore[arg-type]

    @property
    def rule(self) -> EventRule:
        """When the model tells a siren."""
        postprocessing = self.bundle.manifest.postprocessing
        return decode(TaggerOptions, postprocessing, "postprocessing").events["siren"]

    def siren(self, windows: Iterable[ClipWindow], *, whole: bool = False) -> float:
        """Return the highest threshold at which a siren would be told; 0: it never would.

        Args:
            windows: of a clip.
            whole: all of them together, where the rule takes a mean; else any run of them.
        """
        decoder = SoundDecoder(self.bundle.manifest)
        scores = np.array([decoder.event_scores(w.outputs)["siren"] for w in windows])
        if whole and self.rule.mean_windows > 1:
            return held_mean(scores, self.rule, least=len(scores))
        return held(scores) if self.rule.mean_windows == 1 else held_mean(scores, self.rule)


def blocks_of(samples: NDArray[np.float32]) -> Iterable[AudioBlock]:
    """Yield (N,) or (N, C) samples as a sound card would."""
    samples = samples.reshape(len(samples), -1)
    step = SAMPLE_RATE_HZ // 10
    for first in range(0, len(samples), step):
        yield AudioBlock(
            stamp_ns=first * 1_000_000_000 // SAMPLE_RATE_HZ,
            frame_id="microphone",
            samples=samples[first : first + step],
            sample_rate_hz=SAMPLE_RATE_HZ,
            first_sample_index=first,
        )


@cache  # every model hears the same
def street(
    number: int, *, siren: bool, snr_db: float = 0.0, seed: int = SIREN_SEED
) -> NDArray[np.float32]:
    """Return a simulated clip of a street, (N, C); with a siren so much above the rest."""
    rng = np.random.default_rng([seed, number])
    kinds = ("wail", "yelp", "hi_lo")
    # A horn counts as foreground: with a siren it would be what the 0 dB are of.
    sounds = tuple(s for s in _SOUNDS if rng.random() < 0.5 and not (siren and s == "horn"))
    scenario = Scenario(
        name="street",
        emergency=Emergency(siren=kinds[number % len(kinds)]) if siren else None,
        sounds=sounds,
        weather="rain" if "rain" in sounds else "clear",
        sensors=("audio",),
    )
    return generate_audio(scenario, seed + number, CLIP_S, snr_db=snr_db if siren else None).samples


def held(scores: NDArray[np.float64]) -> float:
    """Return the highest score that `CONFIRM` windows in a row reach; 0: there are not as many."""
    if len(scores) < CONFIRM:
        return 0.0
    return float(np.lib.stride_tricks.sliding_window_view(scores, CONFIRM).min(axis=1).max())


def held_mean(scores: NDArray[np.float64], rule: EventRule, *, least: int = 0) -> float:
    """Return the highest mean over windows of a rule that takes the mean; 0: too few windows.

    `least`: from which window on, where that is later than the rule has it.
    """
    odds = np.array([log_odds(float(score)) for score in scores])
    means = [
        odds[max(0, end - rule.mean_windows) : end].mean()
        for end in range(max(rule.least_windows, least), len(odds) + 1)
    ]
    return float(1.0 / (1.0 + np.exp(-max(means)))) if means else 0.0


def listen(listener: Listener, data: Path | None) -> dict:
    """Return the held scores of all clips, and false alarms per hour by kind."""
    found: dict = {"sirens": [], "streets": [], "negatives": {}, "recorded": {}}
    for number in range(SIREN_CLIPS):
        for name, siren in (("sirens", True), ("streets", False)):
            sound = street(number, siren=siren)
            found[name].append(listener.siren(listener.windows(blocks_of(sound))))
    per_hour = {}
    for kind in HELD_OUT:
        scores = [
            listener.siren(listener.windows(blocks_of(clip(kind, n, CLIP_S))))
            for n in range(COUNTED)
        ]
        found["negatives"][kind] = scores
        alarms = 0
        for number in range(COUNTED, COUNTED + LONG_CLIPS):
            windows = listener.windows(blocks_of(clip(kind, number, LONG_S)))
            alarms += starts(windows, "siren")
        per_hour[kind] = round(alarms * 3600 / (LONG_CLIPS * LONG_S), 1)
    found["false_sirens_per_hour"] = per_hour
    if data is not None:
        for name, siren in RECORDED.items():
            path = data / "audio" / f"{name}.wav"
            if path.is_file():
                windows = listener.windows(read_wav(path, pad_s=1.0))
                found["recorded"][name] = {
                    "siren_in_it": siren, "score": listener.siren(windows),
                    "events": starts(windows, "siren"),
                }  # fmt: skip
    return found


def starts(windows: Iterable[ClipWindow], name: str) -> int:
    """Return how often an event began."""
    count, before = 0, False
    for window in windows:
        now = any(event.class_name == name for event in window.sound_events)
        count += now and not before
        before = now
    return count


def threshold_for(sirens: Iterable[float], recall: float) -> float:
    """Return the highest threshold at which so many of the sirens are heard."""
    ordered = np.sort(np.asarray(list(sirens)))[::-1]
    return float(ordered[max(int(np.ceil(recall * len(ordered))) - 1, 0)])


def summary(found: Mapping, threshold: float) -> dict:
    """Return recall, F1 against streets without a siren, and false sirens at a threshold."""
    negatives = [score for scores in found["negatives"].values() for score in scores]
    heard = sum(score >= threshold for score in found["sirens"])
    false = sum(score >= threshold for score in found["streets"])
    recorded = [e for e in found["recorded"].values() if not e["siren_in_it"]]
    return {
        "threshold": threshold,
        "recall": heard / len(found["sirens"]),
        "f1_against_streets": 2 * heard / (heard + false + len(found["sirens"])),
        "false_sirens": sum(score >= threshold for score in negatives),
        "of_hard_negatives": len(negatives),
        "false_kinds": [k for k, s in found["negatives"].items() if max(s) >= threshold],
        "false_in_recordings": sum(e["score"] >= threshold for e in recorded),
        "of_recordings": len(recorded),
    }


def compared(found: Mapping[str, Mapping], shipped: Mapping[str, float]) -> dict:
    """Return each model at its own threshold, and all at the recall of the first one."""
    first = next(iter(found))
    recall = summary(found[first], shipped[first])["recall"]
    return {
        "own_threshold": {name: summary(f, shipped[name]) for name, f in found.items()},
        "same_recall": {
            name: summary(f, threshold_for(f["sirens"], recall)) for name, f in found.items()
        },
        "false_sirens_per_hour": {n: f["false_sirens_per_hour"] for n, f in found.items()},
        "recorded": {name: f["recorded"] for name, f in found.items()},
    }


def main() -> None:
    """Compare bundles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+", help="the first one is compared with")
    parser.add_argument("--threshold", type=float, help="of the first one, in place of its own")
    parser.add_argument("--data", type=Path, help="folder with audio/*.wav, for evaluation alone")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found, shipped = {}, {}
    for path in arguments.bundles:
        bundle = load_bundle(path)
        name = f"{bundle.manifest.name} {bundle.manifest.version}"
        loaded = open_bundle(bundle, ModelOptions(model="audio"))
        listener = Listener(name=name, bundle=bundle, loaded=loaded)
        found[name] = listen(listener, arguments.data)
        shipped[name] = listener.rule.threshold
        loaded.backend.close()
    if arguments.threshold:
        shipped[next(iter(found))] = arguments.threshold
    report = compared(found, shipped)
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps({"tables": report, "scores": found}, indent=1))


if __name__ == "__main__":
    main()
