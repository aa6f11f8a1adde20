"""``edge-perception evaluate``: what a model set reaches on frames with ground truth.

Simulated ones, or those of labelled recordings (--recording).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.core.whole_file import write_whole

NAME = "evaluate"
HELP = "AP, sounds and calibration of a model set, for every subset of the sensors"
_QUICK, _EXTRA_SHARE = 40, 0.2
_DRIVES, _QUICK_DRIVES = 16, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--models", type=Path, help="folder with the four bundles (default: bev_lite)"
    )
    parser.add_argument(
        "--recording",
        "--recordings",
        dest="recording",
        type=Path,
        action="append",
        default=[],
        help="labelled recording instead of simulated frames; repeatable",
    )
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help="labels of the one recording"
    )
    parser.add_argument(
        "--candidate",
        type=Path,
        metavar="FOLDER",
        help="bundle, or folder of bundles by role: is it better than --models? 1 where it is not",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="POINTS",
        help="of mAP that it must be better by (%(default)s)",
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of that difference (%(default)s)"
    )
    parser.add_argument(
        "--training-set",
        type=Path,
        metavar="FILE",
        help="of `mine gather`: the candidate is judged on what it holds out",
    )
    parser.add_argument(
        "--labelled",
        choices=("auto", "around", "view"),
        default="auto",
        help="where the objects of --recording are labelled: all around, or only what the camera "
        "shows; auto: the second where no label lies outside of the images",
    )
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--int8", type=Path, help="the same set quantised, to be compared")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument(
        "--drift-reference",
        type=Path,
        metavar="FOLDER",
        help="also make reference statistics of these --recording, a file a source",
    )
    parser.add_argument("--plots", type=Path, help="folder for the pictures")
    parser.add_argument("--frames", type=int, default=1000, help="simulated frames (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} frames")
    parser.add_argument(
        "--extra",
        type=int,
        help="of them with late images, wrong calibrations and INT8 (default: a fifth)",
    )
    parser.add_argument(
        "--real",
        type=int,
        default=8,
        metavar="SWEEPS",
        help="labelled real sweeps, where there are any, whose altered copies are tried too; "
        "0: none (%(default)s)",
    )
    parser.add_argument(
        "--rigs",
        type=int,
        help="of them seen by rigs of up to six cameras and two LiDARs (default: a fifth)",
    )
    parser.add_argument(
        "--drives",
        type=int,
        help="simulated drives of 8 s for tracks and sirens, and a quarter of them again with six "
        f"cameras; 0: none (default: {_DRIVES}, with --quick {_QUICK_DRIVES})",
    )
    parser.add_argument(
        "--processes", type=int, choices=(1, 2, 3, 4), default=2, help="at once (%(default)s)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("~/.cache/edge_perception/evaluation"),
        help="folder for rendered frames (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the frames, print the tables, write JSON and pictures."""
    args.models = args.models or share_file("models/bev_lite")
    if args.candidate:
        if args.labelled != "auto":
            raise ConfigurationError("--labelled: with --candidate nothing reads it")
        return _candidate(args)
    if args.training_set:
        raise ConfigurationError("--training-set: is of --candidate only")
    if args.recording:
        return _recorded(args)
    for name, given in (
        ("--ground-truth", args.ground_truth),
        ("--params-file", args.params_file),
        ("--labelled", args.labelled != "auto"),
        # Drift is told from frames that follow one another, and simulated ones do not.
        ("--drift-reference", args.drift_reference),
    ):
        if given:
            raise ConfigurationError(f"{name}: is of --recording only; without it nothing reads it")
    return _simulated(args)


def _recorded(args: argparse.Namespace) -> int:
    from edge_perception.evaluation.recorded import RecordedFrames, evaluate_recordings
    from edge_perception.evaluation.recorded_tables import lines
    from edge_perception.evaluation.report import without_nan

    if args.ground_truth and len(args.recording) > 1:
        raise ConfigurationError("--ground-truth: expected one --recording, got several")
    recordings = [
        RecordedFrames(path, args.ground_truth, args.params_file) for path in args.recording
    ]
    report = evaluate_recordings(args.models, recordings, labelled=args.labelled)
    for line in lines(report):
        print(line)
    if args.plots:
        from edge_perception.evaluation.plots import recorded_reliability

        args.plots.mkdir(parents=True, exist_ok=True)
        recorded_reliability(args.plots / "reliability.png", report)
        print(args.plots / "reliability.png")
    _write_json(args.json, without_nan(report))
    return _references(args) if args.drift_reference else 0


def _write_json(path: Path | None, document: Any) -> None:
    if path is not None:
        write_whole(path, json.dumps(document, indent=1).encode())
        print(path)


def _candidate(args: argparse.Namespace) -> int:
    """Say whether a candidate is better by the margin; 1: it is not, or that is not shown."""
    from edge_perception.core.schema import decode
    from edge_perception.evaluation.better import Margin
    from edge_perception.evaluation.candidate import candidate_set, evidence, read_current

    given = {"map_points": args.margin, "confidence": args.confidence}
    margin = decode(Margin, given, "margin")
    if args.training_set and args.recording:
        raise ConfigurationError("--training-set, --recording: expected one of them, got both")
    current = read_current(args.models)
    candidate = candidate_set(current, args.candidate)
    found, data, left_out = _compared(args, current, candidate, margin)
    told = evidence(found, current, candidate, data, left_out)
    for text in left_out:
        print(f"left out: {text}")
    for name, (before, after) in found.classes.items():
        print(f"{name:12} {before:5.1f}  {after:5.1f}  {after - before:+5.1f}")
    print(found.reason)
    _write_json(args.json, told)
    return 0 if found.better else 1


def _compared(args: argparse.Namespace, current: Any, candidate: Any, margin: Any) -> Any:
    """Return the comparison, and on what it was made."""
    from edge_perception.evaluation.candidate import compare_on_recordings, compare_on_simulation
    from edge_perception.evaluation.frames import FIRST_SEED
    from edge_perception.evaluation.recorded import RecordedFrames
    from edge_perception.evaluation.training_set import HELD_OUT, file_sha256, frames_of, read_set

    if args.training_set:
        made = read_set(args.training_set)
        frames = list(frames_of(args.training_set, made, HELD_OUT))
        data = {"training_set": made.digest, "part": HELD_OUT}
        found = compare_on_recordings(current, candidate, frames, margin)
        return found, data, _left_out(frames)
    if args.recording:
        named = [
            (str(path), RecordedFrames(path, args.ground_truth, args.params_file))
            for path in args.recording
        ]
        rows = {path.name: file_sha256(path) for path in args.recording}
        found = compare_on_recordings(current, candidate, named, margin)
        return found, {"recordings": rows}, _left_out(named)
    count = _QUICK if args.quick else args.frames
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    progress = Progress(count, "frames")
    cache = args.cache.expanduser()
    found = compare_on_simulation(current, candidate, seeds, cache, margin, progress)
    return found, {"simulated": count, "first_seed": FIRST_SEED}, []


def _left_out(recordings: Any) -> list[str]:
    return [text for _, frames in recordings for text in frames.left_out]


def _references(args: argparse.Namespace) -> int:
    from edge_perception.observe.drift.making import make_references
    from edge_perception.observe.drift.writing import write_references

    models = args.models.resolve()
    overrides: dict[str, object] = {}
    for role in ("camera", "lidar", "audio"):
        overrides[f"{role}_encoder.model"] = f"{models.name}/{role}"
        overrides[f"{role}_encoder.model_folders"] = [str(models.parent)]
    made = make_references(args.recording, params_files=args.params_file, overrides=overrides)
    return write_references(made, args.drift_reference)


def _real(models: Any, most: int) -> dict[str, Any]:
    """Return the robustness tables of real sweeps, or why there is none."""
    from edge_perception.evaluation.rig import Rig
    from edge_perception.evaluation.robustness import real_sweeps, real_tables
    from edge_perception.samples.data import VARIABLE, data_folder

    if most < 1:
        return {"real": {"frames": 0, "why_not": "not asked for (--real 0)"}}
    sweeps = real_sweeps(data_folder())[-most:]  # the last ones are those that no model has seen
    if not sweeps:
        return {"real": {"frames": 0, "why_not": f"no labelled real sweeps ({VARIABLE})"}}
    rig = Rig(models)
    try:
        return real_tables(rig, sweeps)
    finally:
        rig.close()


def _driven(args: argparse.Namespace, drives: int) -> list[Any]:
    """Return the results of so many drives, and of a quarter of them with six cameras."""
    from edge_perception.evaluation.drive_recordings import FIRST_DRIVE, ONE_CAMERA, SURROUND
    from edge_perception.evaluation.drives import DrivePlan, run_drives

    if not drives:
        return []
    tasks = [(FIRST_DRIVE + index, ONE_CAMERA) for index in range(drives)]
    tasks += [(FIRST_DRIVE + index, SURROUND) for index in range(drives // 4)]
    plan = DrivePlan(models=args.models, cache=args.cache.expanduser())
    progress = Progress(len(tasks), "drives")
    return run_drives(plan, tasks, processes=args.processes, progress=progress)


def _simulated(args: argparse.Namespace) -> int:
    from edge_perception.evaluation.frames import FIRST_SEED
    from edge_perception.evaluation.report import build_report, without_nan
    from edge_perception.evaluation.rig import load_set
    from edge_perception.evaluation.tables import lines
    from edge_perception.evaluation.trials import Plan, run_trials

    frames = _QUICK if args.quick else args.frames
    extra = round(frames * _EXTRA_SHARE) if args.extra is None else args.extra
    rigs = round(frames * _EXTRA_SHARE) if args.rigs is None else args.rigs
    if frames < 1 or not 0 <= extra <= frames or not 0 <= rigs <= frames:
        raise ConfigurationError(
            f"--frames, --extra, --rigs: expected at least 1 and 0 to {frames}, got {frames}, "
            f"{extra} and {rigs}"
        )
    drives = args.drives
    if drives is None:
        drives = _QUICK_DRIVES if args.quick else _DRIVES
    if drives < 0:
        raise ConfigurationError(f"--drives: expected 0 or more, got {drives}")
    models = load_set(args.models)
    seeds = range(FIRST_SEED, FIRST_SEED + frames)
    plan = Plan(
        models=args.models,
        cache=args.cache.expanduser(),
        int8=args.int8,
        extra=frozenset(seeds[:extra]),
        rigs=frozenset(seeds[:rigs]),
    )
    results = run_trials(plan, seeds, processes=args.processes, progress=Progress(frames, "frames"))
    versions = {role: models.bundle(role).manifest.version for role in vars(models)}
    report = {
        "models": str(args.models),
        "versions": versions,
        "frames": frames,
        "frames_with_disturbances": extra,
        "first_seed": FIRST_SEED,
        **build_report(results, models, _driven(args, drives)),
    }
    report["robustness"] |= _real(models, args.real)
    for line in lines(report):
        print(line)
    if args.plots:
        from edge_perception.evaluation.plots import draw_all

        for path in draw_all(args.plots, report, results, models):
            print(path)
    _write_json(args.json, without_nan(report))
    return 0
