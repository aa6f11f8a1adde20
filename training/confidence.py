"""Fit the scores of a fusion model to what is right: `python -m training.confidence`.

On frames as `edge-perception evaluate` makes them, with seeds that it does not use, through the
code of the vehicle: the pictures that the network learns from are of other lenses and places. The
subsets in a report of `training.fusion` are written anew; `training.bundle` reads them there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.evaluation.frames import SampleFrame, load_frame
from edge_perception.evaluation.matching import CLASSES, COUNTED_AT, Judged, judge_frame
from edge_perception.evaluation.pool import run_all
from edge_perception.evaluation.rig import SUBSETS, Rig, load_set, subset_of
from edge_perception.evaluation.trials import Plan
from edge_perception.models.manifest import Bundle, load_bundle
from training.calibrate import fit, logit
from training.lidar import OUT
from training.variants import SET

FIRST_SEED = 1_600_000  # neither training nor `evaluate` goes there
LEAST_SCORE = 0.1  # weaker ones are not published, and there are so many that they would decide
LOCATING = tuple(name for name in SUBSETS if name != "audio")
THRESHOLDS = np.arange(0.05, 0.8, 0.01)
AS_GOOD = 0.01  # less of F1 than the best: of a few hundred objects it is known to 0.02


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame's detections by subset, judged against what is there and what could be known."""

    there: dict[str, Judged]
    known: dict[str, Judged]


class Judge:
    """Runs frames through a set."""

    def __init__(self, plan: Plan) -> None:
        cv2.setNumThreads(1)
        self._cache, self._rig = plan.cache, Rig(load_set(plan.models))

    def __call__(self, seed: int) -> Frame:
        """Judge the frame of a seed."""
        frame = load_frame(seed, self._cache)
        features, truth = self._rig.features(frame), frame.truth
        there, known = {}, {}
        for subset in LOCATING:
            objects = self._rig.fuse(subset_of(features, subset)).objects
            there[subset] = judge_frame(objects, truth, wanted=truth.in_camera | truth.in_lidar)
            known[subset] = judge_frame(objects, truth, wanted=could_be_known(frame, subset))
        return Frame(there=there, known=known)


def could_be_known(frame: SampleFrame, subset: str) -> NDArray[np.bool_]:
    """Return which objects one of the sensors of a subset sees, (M,)."""
    seen = np.zeros(len(frame.truth.in_camera), bool)
    for name, shows in (("camera", frame.truth.in_camera), ("lidar", frame.truth.in_lidar)):
        if name in subset.split("+"):
            seen |= shows
    return seen


def calibrated(frames: Sequence[Frame], fusion: Bundle, subset: str) -> dict[str, Any]:
    """Return temperature, bias and class thresholds, as in a manifest."""
    now = fusion.manifest.postprocessing["subsets"][subset]
    there = Judged.joined([frame.there[subset] for frame in frames])
    known = Judged.joined([frame.known[subset] for frame in frames])
    picked = there.counts[:, COUNTED_AT] & (there.score >= LEAST_SCORE)
    temperature, bias = fit(logits(there, now)[picked], there.hit[picked, COUNTED_AT])
    scores = 1.0 / (1.0 + np.exp(-logits(known, now) / temperature - bias))
    return {
        "temperature": round(temperature, 3),
        "bias": round(bias, 3),
        "class_thresholds": {
            name: best_threshold(known, scores, label) for label, name in enumerate(CLASSES)
        },
    }


def logits(judged: Judged, now: dict[str, Any]) -> NDArray[np.float64]:
    """Return what the network said, of scores with the calibration that the bundle has now."""
    return (logit(judged.score.astype(np.float64)) - now["bias"]) * now["temperature"]


def best_threshold(judged: Judged, scores: NDArray[np.float64], label: int) -> float:
    """Return a threshold of a class whose F1 is as good as the best, nearest to half of that.

    F1 is flat there. Where scores are frequencies, what is right less often than half of F1 lowers
    it (Lipton et al., 2014). The lowest would do as well here, but not on the sweeps of others,
    where what has a low score is right less often still.
    """
    mine = (judged.label == label) & judged.counts[:, COUNTED_AT]
    wanted = int((judged.wanted_label == label).sum())

    def f1(threshold: float) -> float:
        told = mine & (scores >= threshold)
        return 2 * judged.hit[told, COUNTED_AT].sum() / max(told.sum() + wanted, 1)

    of_all = np.array([f1(threshold) for threshold in THRESHOLDS])
    good = THRESHOLDS[of_all >= of_all.max() - AS_GOOD]
    return round(float(good[np.argmin(np.abs(good - of_all.max() / 2))]), 3)


def main() -> None:
    """Write the subsets of a report anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", help="name of a fusion head in training_out")
    parser.add_argument("--models", type=Path, default=SET, help="the set with this head")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=OUT / "cache" / "frames")
    arguments = parser.parse_args()
    seeds = [(FIRST_SEED + number,) for number in range(arguments.frames)]
    frames = run_all(
        Judge, Plan(models=arguments.models, cache=arguments.cache), seeds,
        processes=arguments.processes, chunk=4,
        progress=lambda count: print(f"{count} of {len(seeds)}") if count % 50 == 0 else None,
    )  # fmt: skip
    fusion = load_bundle(arguments.models / "fusion")
    path = OUT / f"{arguments.report}_report.json"
    report = json.loads(path.read_text())
    for subset in LOCATING:
        report["simulated_held_out"]["subsets"][subset] = calibrated(frames, fusion, subset)
        print(subset, report["simulated_held_out"]["subsets"][subset], flush=True)
    path.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
