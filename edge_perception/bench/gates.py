"""Do the gates tell good sets of another feature space from bad ones, and how soon?

The bundled set and its 8-bit variants run once on rendered drives. Seeded trials then play these
decisions to the gate that the model manager uses: good ones as they are or as of a set trained
anew, bad ones changed in one of eight ways. Each kind is also tried once as a real set, with the
fault in the graphs. At last a bad set is committed in running nodes without a trial, and the watch
has to go back by itself: `rollback_frames` are the camera frames, at 20 Hz, stamped between its
decision and the stamp from which the old set serves, `rollback_cycles` the same time in groups of
frames at 10 Hz, which a set changes between.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, say
from edge_perception.core.errors import EdgePerceptionError

NAME = "gates"
HELP = "good and bad model sets against the gates: passed, stopped, in how many frames"
LEAST_PASSED, LEAST_STOPPED, MOST_FRAMES = 0.95, 0.99, 300
_DRIVES, _DRIVE_FRAMES = 6, 100
_DRIVES_QUICK, _DRIVE_FRAMES_QUICK = 2, 30
_TRIALS, _TRIALS_QUICK = 100, 10
_CYCLE_MS = 100.0
_PIECE_FRAMES = (20, 100)  # of a drive, before another one goes on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument("--trials", type=int, help="of good sets and of each kind (100, quick: 10)")
    parser.add_argument("--slo", default="", help="the operator's file (config/slo.yaml)")
    parser.add_argument(
        "--rollbacks", type=int, help="changes that the watch undoes (5, quick: 1; 0: none)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and save; 1 where a bound is not met."""
    from edge_perception.bench._bad_decisions import kinds
    from edge_perception.bench._gate_rollback import measure
    from edge_perception.releases.slo_file import read_slo

    slo = read_slo(args.slo)
    trials = args.trials or (_TRIALS_QUICK if args.quick else _TRIALS)
    rollbacks = args.rollbacks if args.rollbacks is not None else (1 if args.quick else 5)
    with tempfile.TemporaryDirectory(prefix="bench_gates_") as folder:
        streams, real = _real(Path(folder), slo, quick=args.quick)
        found = {"good": [_trial(streams, slo, "", seed) for seed in range(trials)]}
        say(f"good: {_passed(found['good'])} of {trials} passed")
        for kind in kinds():
            found[kind] = [_trial(streams, slo, kind, seed) for seed in range(trials)]
            say(f"{kind}: {trials - _passed(found[kind])} of {trials} stopped")
        back, unmeasured = [], ""
        try:  # in running nodes: what was found before it must not be lost with it
            back = measure(Path(folder), rollbacks) if rollbacks else []
        except EdgePerceptionError as error:
            unmeasured = str(error)
            say(f"rollbacks were not measured: {unmeasured}")
    summary = summarise(found, real, back)
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summary,
        "real": {name: vars(item) for name, item in real.items()},
        "trials": {name: [vars(item) for item in items] for name, items in found.items()},
        "rollbacks": back,
        "rollbacks_unmeasured": unmeasured,
    }
    deliver(result, args)
    return 0 if met(summary) and not unmeasured else 1


def summarise(
    found: dict[str, list[Any]], real: dict[str, Any], back: list[dict[str, float]]
) -> dict[str, Any]:
    """Return the shares that passed and that were stopped, and in how many frames."""
    bad = {name: items for name, items in found.items() if name != "good"}
    frames = [item.frames for items in bad.values() for item in items if not item.passed]
    frames += [item.frames for name, item in real.items() if name != "good" and not item.passed]
    return {
        "trials": len(found["good"]),
        "good_passed": _passed(found["good"]) / len(found["good"]),
        "bad_stopped": {n: 1.0 - _passed(items) / len(items) for n, items in bad.items()},
        "frames_to_stop_p99": float(np.percentile(frames, 99)) if frames else float("nan"),
        "frames_to_stop_max": max(frames, default=0),
        "real_good_passed": real["good"].passed,
        "real_bad_stopped": {n: not item.passed for n, item in real.items() if n != "good"},
        "rollback_frames": max((item["frames"] for item in back), default=None),
        "rollback_cycles": max((item["ms"] / _CYCLE_MS for item in back), default=None),
        "rollback_ms": max((item["ms"] for item in back), default=None),
    }


def met(summary: dict[str, Any]) -> bool:
    """Whether the bounds that the gates promise are met."""
    return bool(
        summary["good_passed"] >= LEAST_PASSED
        and min(summary["bad_stopped"].values()) >= LEAST_STOPPED
        and summary["frames_to_stop_max"] <= MOST_FRAMES
        and summary["real_good_passed"]
        and all(summary["real_bad_stopped"].values())
    )


def _passed(items: Sequence[Any]) -> int:
    return sum(item.passed for item in items)


def _real(folder: Path, slo: Any, *, quick: bool) -> tuple[list[Any], dict[str, Any]]:
    """Run the real sets; return decisions of both good ones by drive, and the real trials."""
    from edge_perception.bench import _gate_sets as sets
    from edge_perception.bench._bad_decisions import kinds
    from edge_perception.core.share import share_file
    from edge_perception.models.manifest import load_bundle

    drives = _DRIVES_QUICK if quick else _DRIVES
    frames = _DRIVE_FRAMES_QUICK if quick else _DRIVE_FRAMES
    pairs = []
    for number in range(drives):
        pairs.append(sets.render(sets.FIRST_SEED + number + 1, frames))
        say(f"rendered drive {number + 1} of {drives}, {frames} frames")
    bundles = {role: load_bundle(share_file(f"models/bev_lite/{role}")) for role in sets.ROLES}
    int8 = {r: load_bundle(share_file(f"models/bev_lite_int8/{r}")) for r in sets.LOCATING}
    with sets.WholeSet(bundles) as current:
        ours = [[current.decide(pair) for pair in drive] for drive in pairs]
    with sets.WholeSet({**bundles, **int8}) as other:
        theirs = [[other.decide(pair) for pair in drive] for drive in pairs]
    flat = [pair for drive in pairs for pair in drive]
    known = [decided for drive in ours for decided in drive]
    real = {}
    for kind in ("good", *kinds()):
        made = {**bundles, **int8} if kind == "good" else sets.bad_set(bundles, folder, kind)
        with sets.WholeSet(made) as candidate:
            real[kind] = sets.try_set(candidate, flat, known, slo)
        say(f"real set, {kind}: {real[kind]}")
    streams = [
        ([d.objects for d in one], [d.objects for d in two])
        for one, two in zip(ours, theirs, strict=True)
    ]
    return streams, real


def _trial(streams: list[Any], slo: Any, kind: str, seed: int) -> Any:
    """Run one seeded trial; no kind: a good set."""
    from edge_perception.bench._bad_decisions import kinds, retrained
    from edge_perception.bench._decision_trials import decide

    rng = np.random.default_rng((seed, sum(kind.encode())))
    current, candidate = _pieces(rng, streams)
    changes = [retrained(rng)] if seed % 2 else []
    if kind:
        changes.append(kinds()[kind](rng, current))

    def changed(objects: Any) -> Any:
        for change in changes:
            objects = change(objects)
        return objects

    return decide((changed(objects) for objects in candidate), current, slo=slo)


def _pieces(rng: np.random.Generator, streams: list[Any]) -> tuple[list[Any], list[Any]]:
    """Put pieces of drives one after another, each from a random moment on."""
    from edge_perception.bench._gate_sets import to_and_fro

    current: list[Any] = []
    candidate: list[Any] = []
    while len(current) <= MOST_FRAMES:
        ours, theirs = streams[int(rng.integers(len(streams)))]
        count = int(rng.integers(*_PIECE_FRAMES))
        indices = to_and_fro(len(ours), first=int(rng.integers(2 * len(ours))))
        for index in [next(indices) for _ in range(count)]:
            current.append(ours[index])
            candidate.append(theirs[index])
    return current, candidate
