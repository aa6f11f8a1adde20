"""`edge-perception fleet loop`: simulated drives to a proposed release, by the parts of a fleet.

drive → mine → upload → collect → export → label (by the simulator's truth) → training set →
candidate → better by the margin? → proposed in the registry, or refused with the reason. Each step
is the one that a fleet takes; only the roads, and who labels, are the simulator's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import edge_perception
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file

_LABELLER = "simulator"
_KINDS = ("uncertainty", "disagreement", "entropy", "margin", "doubt", "nearmiss")
_FOLDER = Path("training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--simulated", action="store_true", required=True, help="roads and labels of the simulator"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it; resumes")
    parser.add_argument("--models", type=Path, help="that serve (default: bev_lite)")
    parser.add_argument("--robots", type=int, default=10, help="each with a drive (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a drive (%(default)s)")
    parser.add_argument("--seed", type=int, default=7000, help="of the first drive (%(default)s)")
    parser.add_argument("--storage", default="", help="for samples (default: a folder of --out)")
    parser.add_argument("--registry", default="", help="(default: a folder of --out)")
    parser.add_argument("--keys", type=Path, help="of the registry (default: made in --out)")
    parser.add_argument("--key", type=Path, help="that signs bundles (default: made in --out)")
    parser.add_argument("--team", default="perception")
    parser.add_argument("--candidate", type=Path, help="bundle by hand, instead of training one")
    parser.add_argument("--training-python", help="Python with PyTorch (default: found)")
    parser.add_argument("--steps", type=int, default=200, help="of training (%(default)s)")
    parser.add_argument("--margin", type=float, default=0.0, metavar="POINTS", help="of mAP")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--held-out", type=float, default=0.5, help="share of the robots")


def run(args: argparse.Namespace) -> int:
    """Go around once; 1: the candidate is refused."""
    if args.robots < 2 or not 1.0 <= args.seconds <= 120.0 or not 0.0 < args.held_out < 1.0:
        raise ConfigurationError(
            "--robots, --seconds, --held-out: expected at least 2, 1 to 120 s, and above 0 and "
            f"below 1, got {args.robots}, {args.seconds:g}, {args.held_out:g}"
        )
    args.models = args.models or share_file("models/bev_lite")
    args.out.mkdir(parents=True, exist_ok=True)
    python = None if args.candidate else training_python(args.training_python)
    drives = _drive(args)
    _mine(args, drives)
    _upload(args, drives)
    _collect(args)
    labels = _export(args)
    _label(labels, drives)
    made = _gather(args)
    candidate = args.candidate or _train(args, made, str(python))
    evidence, better = _judge(args, made, candidate)
    if not better:
        say("refused", evidence["reason"])
        return 1
    _propose(args, candidate, evidence)
    return 0


def say(step: str, text: str) -> None:
    """Print a step and what came of it."""
    print(f"{step:10} {text}", flush=True)


def training_python(asked: str | None) -> str:
    """Return a Python that has PyTorch: asked for, that of `make setup-training`, or this one.

    Raises:
        ConfigurationError: there is none, or the scripts of the repository are not here.
    """
    root = _root()
    beside = root / ".venv-training" / "bin" / "python"
    own = sys.executable if importlib.util.find_spec("torch") else ""
    found = asked or (str(beside) if beside.is_file() else own)
    if not found or not (root / _FOLDER / "finetune.py").is_file():
        raise ConfigurationError(
            "training: expected PyTorch (`make setup-training`, or --training-python) and the "
            "folder training/ of the repository; --candidate BUNDLE goes on without"
        )
    return found


def _root() -> Path:
    """Return the checkout that this package is of."""
    return Path(edge_perception.__file__).resolve().parent.parent


def _drive(args: argparse.Namespace) -> dict[str, Path]:
    """Render a drive a robot; those that are there stay."""
    from edge_perception.samples.drive import simulate_drive, write_drive
    from edge_perception.simulation.scenario import random_scenario

    drives = {}
    begun_s = time.monotonic()
    for number in range(args.robots):
        seed = args.seed + number
        path = args.out / "drives" / f"robot-{number:02}_{seed}_{args.seconds:g}s.mcap"
        path.parent.mkdir(exist_ok=True)
        if not path.is_file():
            drive = simulate_drive(
                random_scenario(seed), seed, args.seconds, progress=lambda _: None
            )
            write_drive(drive, path)
        drives[f"robot-{number:02}"] = path
    say("drives", f"{len(drives)} of {args.seconds:g} s, {time.monotonic() - begun_s:.0f} s")
    return drives


def _mine(args: argparse.Namespace, drives: dict[str, Path]) -> None:
    from edge_perception.evaluation.moments import find_moments
    from edge_perception.recordings.doubts import DoubtLimits
    from edge_perception.recordings.ring import RingOptions
    from edge_perception.recordings.triggers import TriggerOptions

    count = 0
    models = args.models.resolve()
    # Drives are short here, so that more is worth a look than on the road.
    limits = DoubtLimits(entropy_bits=0.6, margin=0.15, doubt_score=0.8, lasting=2)
    overrides: dict[str, object] = {"fusion.model": f"{models.name}/fusion"}
    overrides["fusion.model_folders"] = [str(models.parent)]
    for role in ("camera", "lidar", "audio"):
        overrides[f"{role}_encoder.model"] = f"{models.name}/{role}"
        overrides[f"{role}_encoder.model_folders"] = [str(models.parent)]
    for robot, path in drives.items():
        folder = _events(args, robot)
        if not folder.is_dir():
            half = folder.with_name("events.partial")
            shutil.rmtree(half, ignore_errors=True)
            find_moments(
                path,
                half,
                ring=RingOptions(before_s=0.6, after_s=0.6),
                triggers=TriggerOptions(kinds=_KINDS, uncertain_objects=3, doubts=limits),
                overrides=overrides,
            )
            half.rename(folder)
        count += len(list(folder.glob("*.mcap")))
    say("mined", f"{count} files of doubtful moments")
    if not count:
        raise ConfigurationError("mined nothing: expected doubtful moments; more --seconds help")


def _events(args: argparse.Namespace, robot: str) -> Path:
    return Path(args.out) / "robots" / robot / "events"


def _upload(args: argparse.Namespace, drives: dict[str, Path]) -> None:
    from edge_perception.fleet.places import ObjectPlace
    from edge_perception.fleet.sample_ledger import SampleLedger
    from edge_perception.fleet.uploading import Uploader

    place, sent, there = ObjectPlace(_storage(args)), 0, 0
    for robot in drives:
        folder = _events(args, robot)
        ledger = SampleLedger(folder.parent / "samples.db")
        uploader = Uploader(robot, folder, place, ledger)
        for path in uploader.waiting():
            new = uploader.upload(path, time.time_ns()) is not None
            sent, there = sent + new, there + (not new)
        ledger.close()
    say("uploaded", f"{sent} new to {_storage(args)}" + (f", {there} were there" if there else ""))


def _storage(args: argparse.Namespace) -> str:
    return args.storage or str(args.out.resolve() / "storage")


def _collect(args: argparse.Namespace) -> None:
    from edge_perception.fleet.collecting import Collector
    from edge_perception.fleet.places import ObjectPlace

    place = ObjectPlace(_storage(args))
    found = Collector(place, args.out / "collected", url=place.url).collect()
    for text in found.refused:
        say("refused", text)
    say("collected", f"{len(found.new)} new, {found.known} known")


def _export(args: argparse.Namespace) -> Path:
    from edge_perception.evaluation.mining import NUSCENES, MinedSet, recordings_in

    folder = args.out / f"set-{time.time_ns()}"
    mined = MinedSet(folder)
    count = sum(mined.add_if_usable(path) for path in recordings_in([args.out / "collected"]))
    mined.write()
    for text in mined.left_out:
        say("left out", text)
    say("exported", f"{count} moments with pre-labels to {folder}")
    return folder / NUSCENES


def _label(labels: Path, drives: dict[str, Path]) -> None:
    """Do what a person with a labelling tool would: put what is there in place of the guess."""
    from edge_perception.evaluation.returned import take_back
    from edge_perception.recordings.reader import open_recording
    from edge_perception.samples.truth import read_ground_truth

    data = json.loads(labels.read_text(encoding="utf-8"))
    truths = {robot: read_ground_truth(open_recording(path)) for robot, path in drives.items()}
    boxes: list[dict[str, Any]] = []
    for sample in data["sample"]:
        truth = truths[sample["robot"]]
        shown = next((s for s in truth.sweeps if s.stamp_ns == sample["stamp_ns"]), None)
        if shown is None:
            raise ConfigurationError(f"{sample['token']}: the drive has no such sweep")
        boxes += [_annotation(sample, box) for box in truth.frames[shown.frame].boxes]
    data["sample_annotation"] = boxes
    edited = labels.with_name("labelled.json")
    edited.write_text(json.dumps(data, indent=1), encoding="utf-8")
    taken = list(take_back(edited, labels.parent, labelled_by=_LABELLER))
    say("labelled", f"{sum(n for _, n, _ in taken)} boxes in {len(taken)} recordings")


def _annotation(sample: dict[str, Any], box: Any) -> dict[str, Any]:
    import math

    length, width, height = box.size_m
    return {
        "sample_token": sample["token"],
        "category_name": box.class_name,
        "translation": list(box.center_m),
        "size": [width, length, height],
        "rotation": [math.cos(box.yaw_rad / 2), 0.0, 0.0, math.sin(box.yaw_rad / 2)],
        "num_lidar_pts": box.points,
    }


def _gather(args: argparse.Namespace) -> Path:
    from edge_perception.evaluation.mining import recordings_in
    from edge_perception.evaluation.training_set import HELD_OUT, TRAIN, gather

    file = args.out / "training_set.json"
    paths = list(recordings_in([args.out / "collected"]))
    found, left_out = gather(paths, file, held_out=args.held_out)
    for text in left_out:
        say("left out", text)
    say(
        "set",
        f"{found.frames(TRAIN)} frames to train on, {found.frames(HELD_OUT)} held out, "
        f"{found.digest[:12]}",
    )
    return file


def _train(args: argparse.Namespace, made: Path, python: str) -> Path:
    from edge_perception.evaluation.training_set import read_set

    out = args.out.resolve() / f"candidate-{read_set(made).digest[:12]}-{args.steps}"
    command = [python, "-m", "training.finetune", str(made.resolve())]
    command += ["--models", str(args.models.resolve()), "--out", str(out)]
    command += ["--steps", str(args.steps)]
    say("training", f"{args.steps} steps")
    done = subprocess.run(command, cwd=_root(), env=dict(os.environ), check=False)
    if done.returncode:
        raise ConfigurationError(f"training: ended with {done.returncode}: {' '.join(command)}")
    return out


def _judge(args: argparse.Namespace, made: Path, candidate: Path) -> tuple[dict[str, Any], bool]:
    from edge_perception.core.schema import decode
    from edge_perception.evaluation.better import Margin
    from edge_perception.evaluation.candidate import (
        candidate_set,
        compare_on_recordings,
        evidence,
        read_current,
    )
    from edge_perception.evaluation.training_set import HELD_OUT, frames_of, read_set

    given = {"map_points": args.margin, "confidence": args.confidence}
    margin = decode(Margin, given, "margin")
    current = read_current(args.models)
    proposed = candidate_set(current, candidate)
    found = read_set(made)
    frames = list(frames_of(made, found, HELD_OUT))
    compared = compare_on_recordings(current, proposed, frames, margin)
    left_out = [text for _, recording in frames for text in recording.left_out]
    for text in left_out:
        say("left out", text)
    data = {"training_set": found.digest, "part": HELD_OUT}
    told = evidence(compared, current, proposed, data, left_out)
    (args.out / "evidence.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    say("judged", compared.reason)
    return told, compared.better


def _propose(args: argparse.Namespace, candidate: Path, evidence: dict[str, Any]) -> None:
    from edge_perception.fleet.keys import KeyFolder
    from edge_perception.fleet.places import ObjectPlace
    from edge_perception.fleet.publishing import publish_release
    from edge_perception.fleet.registry import Registry, make_registry, utc_now
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.signing import (
        generate_key,
        read_key,
        sign_bundle,
        write_key,
    )

    place = ObjectPlace(args.registry or str(args.out.resolve() / "registry"))
    keys = KeyFolder(args.keys or args.out / "keys")
    if not args.registry and not place.has("metadata/1.root.json"):
        (args.out / "keys" / "root.json").write_bytes(make_registry(place, keys, utc_now()))
        new = Registry(place, keys, utc_now())
        new.add_team(args.team, keys.make(args.team), 1)
        new.publish()
    key = args.key or args.out / "release.pem"
    if not args.key and not key.is_file():
        write_key(key, generate_key())
    bundle = load_bundle(candidate)
    sign_bundle(bundle, [read_key(key)])
    bases = [load_bundle(args.models / bundle.manifest.role)]
    document = publish_release(bundle, place, bases=bases, evidence=evidence)
    registry = Registry(place, keys, utc_now())
    registry.add(args.team, document, "dev")
    registry.publish()
    say("proposed", f"{document.name} {document.version} in channel dev of {place.url}")
