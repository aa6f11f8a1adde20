"""`edge-perception optimize quantize`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge_perception.cli._optimize_told import repeated, tell
from edge_perception.cli._optimize_variants import (
    check_each_target,
    gate_of,
    target_folder,
    write_chosen,
    write_each,
)
from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError

METHOD_NAMES = (
    "minmax", "percentile", "entropy", "mse", "symmetric", "per_tensor", "corrected", "nncf",
    "dynamic", "fp16", "int4",
)  # fmt: skip
LABELLED_ROLES = ("camera", "lidar")


def say(text: str) -> None:
    """Tell what is being done."""
    print(text, file=sys.stderr, flush=True)


def quantize(args: argparse.Namespace) -> int:
    """Calibrate, try, choose, write."""
    from edge_perception.optimize.bag_frames import FrameStore
    from edge_perception.optimize.calibration import check_domain, check_frames, check_light
    from edge_perception.optimize.candidates import Trials
    from edge_perception.optimize.findings import Outcome
    from edge_perception.optimize.methods import Quantiser, prepared
    from edge_perception.optimize.quantizing import Quantizing, digest_of

    bundle = whole_bundle(args.model, args.folder)
    target = target_folder(args, f"{bundle.manifest.name}_int8")
    methods = args.method or METHOD_NAMES
    if args.each:
        check_each_target(args, target, methods)
    if not args.bag:
        raise ConfigurationError(
            "--bag: expected recordings to calibrate with, got none; ranges of random data say "
            "nothing of what the model will see"
        )
    outcome = Outcome(step="quantize", subject=bundle.manifest.name, command=repeated())
    where = ", ".join(path.name for path in args.bag)
    with ExitStack() as stack:
        store = stack.enter_context(FrameStore())
        taken, judged = split_frames(store, bundle, args)
        calibrating = [frame.inputs for frame in taken]
        check_frames(calibrating, outcome, where)
        if not outcome.passed:
            return tell(outcome, args) and 2
        outcome.figures["calibration"] = {
            "recordings": [path.name for path in args.bag], "frames": len(calibrating),
            "slices": store.slices(), "sha256": digest_of(calibrating),
        }  # fmt: skip
        quantiser = Quantiser(prepared(read_model(bundle)), calibrating)
        golden = golden_frames(bundle)
        others = {"the golden inputs": golden} if golden else {}
        if args.judge_bag:
            others["the judged frames"] = [frame.inputs for frame in judged]
        check_domain(quantiser, others, outcome, where)
        check_light([f.tags for f in taken], [f.tags for f in judged], outcome, where)
        if not outcome.passed:
            return tell(outcome, args) and 2
        judge = make_judge(args, bundle, store, (taken, judged), stack)
        about = f"{outcome.figures['calibration']['sha256']} {judged_by(args)}"
        trials = stack.enter_context(Trials(bundle, judge, args.work, about))
        outcome.figures["judge"] = {"measure": judge.what, "frames": judge.frames}
        outcome.figures["gate_points"] = args.gate
        run = Quantizing(quantiser, trials, gate=gate_of(args), outcome=outcome, say=say)
        best = run.run(
            methods, mixed=not args.no_mixed,
            progress=Progress(len(quantiser.layers), "layers"),
        )  # fmt: skip
        outcome.figures["base"] = {
            "p50_ms": trials.base_ms(), "bytes": len(read_model(bundle)),
            "score_points": best.verdict.base if best else None,
        }  # fmt: skip
        if best is not None:
            written = write_chosen(args, bundle, target, best, outcome)
            outcome.figures["bundle"] = written.manifest.name
            say(f"{written.manifest.name} is in {written.path}")
            if args.each:
                outcome.figures["bundles"] = write_each(args, bundle, target, run.tried, outcome)
    return tell(outcome, args)


def whole_bundle(text: str, folders: Sequence[Path]) -> Any:
    """Return the bundle that is named.

    Raises:
        ConfigurationError: it is none.
    """
    from edge_perception.optimize.sources import OnnxSource, open_source

    source = open_source(text, folders=folders)
    if not isinstance(source, OnnxSource) or source.bundle is None:
        raise ConfigurationError(
            f"{text}: expected a bundle, whose manifest says how frames are prepared; "
            "`edge-perception models import` makes one of an ONNX file"
        )
    return source.bundle


def read_model(bundle: Any) -> bytes:
    """Return the graph of a bundle, with all of its weights."""
    from edge_perception.models.loading import whole_model

    return whole_model(bundle)


def split_frames(store: Any, bundle: Any, args: argparse.Namespace) -> tuple[list, list]:
    """Return frames to calibrate or train with, and others to judge on."""
    from edge_perception.encoders import encoders
    from edge_perception.optimize.bag_frames import FrameStore, read_frames

    say(f"frames of {', '.join(map(str, args.bag))}")
    stateful = encoders()[bundle.manifest.role].stateful
    most = args.frames if args.judge_bag else 2 * args.frames
    read_frames(
        store, bundle, args.bag, most=most, params_files=args.params_file,
        progress=Progress(most, "frames"),
    )  # fmt: skip
    frames = list(store.frames)
    if args.judge_bag:
        before = len(frames)
        read_frames(
            store, bundle, args.judge_bag, most=args.judge_frames, params_files=args.params_file
        )
        return frames, store.frames[before:]
    assert isinstance(store, FrameStore)
    if stateful:  # what is decided of a window depends on those before it
        half = len(frames) // 2
        return frames[:half], frames[half:]
    return frames[::2], frames[1::2]


def golden_frames(bundle: Any) -> list:
    """Return the golden inputs of a bundle as frames; none where it has none."""
    from edge_perception.models.golden import read_golden

    return [read_golden(bundle)[0]] if bundle.manifest.golden is not None else []


def make_judge(
    args: argparse.Namespace,
    bundle: Any,
    store: Any,
    frames: tuple[Sequence[Any], Sequence[Any]],
    stack: ExitStack,
) -> Any:
    """Return what judges: mAP where there are labels, agreement where there are none.

    Args:
        args: of the command.
        bundle: the model before.
        store: keeps graph inputs.
        frames: those that are calibrated or trained with, and the others.
        stack: closes what is opened.
    """
    from edge_perception.core.share import share_file
    from edge_perception.evaluation.recorded import RecordedFrames
    from edge_perception.evaluation.rig import load_set
    from edge_perception.optimize.judging import AgreementJudge, LabelledJudge, with_role

    if args.skip and not args.simulated:
        raise ConfigurationError("--skip: expected --simulated with it, got none")
    role = bundle.manifest.role
    taken, judged = frames
    recordings = args.judge_bag or args.bag
    labelled, why = [], ""
    if role in LABELLED_ROLES and args.judge != "agreement":
        for path in recordings:
            try:
                labelled.append(RecordedFrames(path, None, args.params_file))
            except ConfigurationError as error:
                why = str(error)
    wants_labels = args.judge == "labels" or args.simulated
    if wants_labels and (role not in LABELLED_ROLES or not (labelled or args.simulated)):
        raise ConfigurationError(
            f"--judge labels: {why or f'a model of role {role} has none'}; --judge agreement "
            "compares decisions"
        )
    unlabelled = "" if labelled or args.simulated else "no labels"
    models = None
    if not unlabelled:
        models = load_set(args.models or share_file("models/bev_lite"))
        own = models.bundle(role).manifest.feature_space
        if own != bundle.manifest.feature_space and not (args.models or wants_labels):
            unlabelled = "no set of models that it belongs to (--models)"
    if models is None or unlabelled:
        say(f"{unlabelled}: judged by the agreement of decisions")
        return AgreementJudge(bundle, judged[: args.judge_frames])
    judge = LabelledJudge(with_role(models, bundle), role, store)
    stack.callback(judge.close)
    share = max(1, args.judge_frames // max(len(labelled), 1))
    used = {frame.frame.stamp_ns for frame in taken}
    for recording in labelled if not args.simulated else []:
        judge.add_recorded(recording, share, used)
    if args.simulated:
        judge.add_simulated(args.simulated, args.cache.expanduser(), skip=args.skip)
    if not judge.frames:
        raise ConfigurationError("--judge labels: no labelled frame can be used")
    return judge


def judged_by(args: argparse.Namespace) -> str:
    """Return what names the frames that candidates are judged on."""
    bags = [_stamped(path.resolve()) for path in (args.judge_bag or args.bag)]
    return f"{bags} {args.judge_frames} {args.simulated} {args.skip} {args.judge}"


def _stamped(recording: Path) -> str:
    """Return what names a recording until it is written again."""
    files = sorted(recording.iterdir()) if recording.is_dir() else [recording]
    stats = [file.stat() for file in files if file.exists()]
    return f"{recording} {[(stat.st_size, stat.st_mtime_ns) for stat in stats]}"
