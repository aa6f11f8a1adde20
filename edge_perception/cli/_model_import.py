"""`models import`: a foreign ONNX file becomes a bundle; everything that is assumed is printed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, Backend, backends
from edge_perception.cli._told import told
from edge_perception.core.errors import ConfigurationError, ModelError
from edge_perception.core.json_file import read_json_object
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.models.adapters import adapters
from edge_perception.models.adapters._boxes import BoxDecoder
from edge_perception.models.adapters._coco import ROAD_USERS
from edge_perception.models.decided import decoder_of
from edge_perception.models.folders import USER_FOLDER
from edge_perception.models.manifest import Bundle, Manifest
from edge_perception.models.not_onnx import what_folder_it_is
from edge_perception.releases.first_look import (
    FirstLook,
    check_scores,
    look,
    read_picture,
    write_drawing,
)
from edge_perception.releases.first_sweep import look_at_sweep
from edge_perception.releases.importing import import_model
from edge_perception.releases.label_files import read_labels
from edge_perception.releases.recognising import (
    NAMED_LABELS,
    Recognised,
    recognise,
    values_said,
)

# The picture that a camera model is tried on where none is given.
_SCENE_SEED, _SCENE_S = 3, 2.0
_NAMED = 6  # classes in a text


def add_import(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the import."""
    parser.add_argument("file", type=Path, help="the ONNX file")
    parser.add_argument(
        "--adapter",
        default="",
        metavar="NAME",
        help="family of the model, where it is not recognised: "
        f"{', '.join(sorted(adapters().specs))}",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="say something instead of having it guessed, such as size=640x640, color=bgr, "
        "mean=[0,0,0] or input.NAME=[[1]]; the names are those that the import prints; repeatable",
    )
    parser.add_argument("--name", default="", help="name of the bundle")
    parser.add_argument("--version", default="", help="semantic version, for example 1.0.0")
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="[NAME=]TENSOR",
        help="tensor of the graph to publish as a feature, also an intermediate one; repeatable",
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        help="JSON with manifest fields that replace what the adapter says of the model",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help=f"class names, one a line, or CSV, YAML, JSON, .pbtxt; or {' or '.join(NAMED_LABELS)}",
    )
    parser.add_argument(
        "--part",
        type=Path,
        action="append",
        default=[],
        help="further ONNX file of the same network, such as the head of CenterPoint; repeatable",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="file that belongs to the model: YAML of Autoware, OpenPCDet or PaddleDetection, JSON "
        "of transformers or mmdeploy, Python of mmdetection or mmdetection3d (read, never run)",
    )
    parser.add_argument(
        "--module",
        type=Path,
        help="adapter in WebAssembly that goes into the bundle (--adapter wasm, and its options in "
        "--manifest)",
    )
    parser.add_argument(
        "--picture", type=Path, help="photo that a camera model is tried on (a simulated street)"
    )
    parser.add_argument(
        "--drawing", type=Path, help="PNG or JPEG of what it found there (beside the bundle)"
    )
    parser.add_argument(
        "--into", type=Path, default=USER_FOLDER, help="folder of bundles (%(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="overwrite a bundle of that name")
    parser.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="NAME",
        help=f"runtime: {', '.join(sorted(backends().specs))} (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_import(args: argparse.Namespace) -> tuple[Bundle, dict[str, Any]]:
    """Import the file; returns the bundle and what is to be said of it.

    Raises:
        ConfigurationError: an option does not fit.
        ModelError: it cannot be imported; the text says which options decide.
    """
    for path in (args.file, args.manifest, args.picture, args.module, args.config, *args.part):
        if path is not None and not path.is_file():
            got = "a folder" if path.is_dir() else "none"
            raise ConfigurationError(f"{path}: expected a file, got {got}{_of_folder(args, path)}")
    labels = _labels(args.labels)
    said = values_said(args.assume)
    if args.labels in NAMED_LABELS:
        said["labels"] = args.labels
    recognised = _recognise(args, said, labels)
    look_at = _Look(args, recognised)
    bundle = import_model(
        args.file,
        adapter=recognised.adapter.name if recognised else args.adapter,
        into=args.into.expanduser(),
        name=args.name,
        version=args.version,
        features=_features(args.feature),
        labels=labels,
        manifest=read_json_object(args.manifest) if args.manifest else None,
        replace=args.replace,
        backend=args.backend,
        recognised=recognised,
        trial=look_at,
        files={args.module.name: args.module.read_bytes()} if args.module else None,
    )
    return bundle, look_at.report


def _of_folder(args: argparse.Namespace, path: Path) -> str:
    return f": {what_folder_it_is(path)}" if path == args.file and path.is_dir() else ""


def _recognise(
    args: argparse.Namespace, said: dict[str, Any], labels: list[str]
) -> Recognised | None:
    """Return what the file is; None: a manifest says all of it by hand."""
    if args.adapter:
        spec = adapters()[args.adapter]
        if spec.recognise is None and spec.describe is None:
            if said:
                raise ConfigurationError(
                    f"--assume: adapter '{spec.name}' recognises nothing; --manifest says it all"
                )
            return None
    recognised = recognise(
        args.file,
        adapter=args.adapter,
        said=said,
        labels=labels,
        backend=args.backend,
        config=args.config,
        parts=args.part,
    )
    if not args.json:
        family = f"{recognised.family}, read by adapter '{recognised.adapter.name}'"
        print(told(f"{args.file.name}: {family}"))
        width = max(len(row.name) for row in recognised.assumptions)
        for row in recognised.assumptions:
            print(told(f"  {row.name:{width}}  {row.value}  ({row.why})"))
    return recognised


class _Look:
    """Tries a model on a picture before it is written, and remembers what it found."""

    def __init__(self, args: argparse.Namespace, recognised: Recognised | None) -> None:
        self._args = args
        self.report: dict[str, Any] = {}
        if recognised is not None:
            self.report = {
                "family": recognised.family,
                "assumptions": [vars(row) for row in recognised.assumptions],
            }

    def __call__(self, manifest: Manifest, session: Backend) -> None:
        """Run it; raises ModelError where its boxes cannot be right."""
        if manifest.role == "audio":
            check_scores(manifest, session)
        if manifest.role not in ("camera", "lidar"):
            return
        args = self._args
        if manifest.role == "lidar":
            seen = look_at_sweep(manifest, session, *simulated_sweep())
        else:
            bgr = read_picture(args.picture) if args.picture else simulated_picture()
            seen = look(manifest, session, bgr)
        path = args.drawing or args.into.expanduser() / f"{manifest.name}.import.png"
        write_drawing(path, seen.drawing)
        if seen.faults:
            raise ModelError(
                f"{args.file.name}: the boxes are not plausible: {'; '.join(seen.faults)}; nothing "
                f"was imported; {path} shows the picture"
            )
        self.report |= {
            "picture": str(args.picture) if args.picture else "a simulated street",
            "drawing": str(path),
            "objects": _counts(seen),
        }


def unplaced(bundle: Bundle) -> str:
    """Say where fusion would make no object of what a detector publishes; empty: it does."""
    manifest = bundle.manifest
    if manifest.role != "camera":
        return ""
    decoder = decoder_of(manifest)
    if not isinstance(decoder, BoxDecoder) or decoder.names_road_users:
        return ""  # its boxes are in space, or fusion places them
    names = ", ".join(manifest.labels[:_NAMED]) + (", …" if manifest.labels[_NAMED:] else "")
    known = ", ".join(sorted(set(ROAD_USERS.values())))
    return told(
        f"none of its classes ({names}) is a road user by a name that fusion knows ({known}): its "
        'boxes become no objects of the fused view; --assume \'classes={"NAME": "car"}\' says '
        "what they are"
    )


def simulated_picture() -> NDArray[np.uint8]:
    """Return a simulated street, (H, W, 3), BGR: what is always there to try a model on."""
    from edge_perception.simulation.generate import generate_frame
    from edge_perception.simulation.scenario_file import load_scenario

    scenario = replace(load_scenario("straight_road"), sensors=("camera",))
    image = generate_frame(scenario, _SCENE_SEED, _SCENE_S).image
    assert image is not None
    return image.bgr


def simulated_sweep() -> tuple[PointCloud, Geometry]:
    """Return a sweep of the same street, and where its sensor sits."""
    from edge_perception.simulation.generate import generate_frame, lidar_pose
    from edge_perception.simulation.scenario_file import load_scenario

    scenario = replace(load_scenario("straight_road"), sensors=("lidar",))
    cloud = generate_frame(scenario, _SCENE_SEED, _SCENE_S).cloud
    assert cloud is not None
    return cloud, Geometry(T_base_sensor=lidar_pose(scenario))


def _counts(seen: FirstLook) -> dict[str, int]:
    names = [item.class_name for item in seen.objects]
    return {name: names.count(name) for name in sorted(set(names))}


def _labels(text: str | None) -> list[str]:
    if text is None:
        return []
    if text in NAMED_LABELS:
        return list(NAMED_LABELS[text])
    path = Path(text)
    if not path.is_file():
        raise ConfigurationError(
            f"--labels: expected a file or {' or '.join(NAMED_LABELS)}, got '{text}'"
        )
    return read_labels(path)


def _features(texts: list[str]) -> dict[str, str] | None:
    """`neck=1024` names the feature, `1024` alone takes the tensor's name."""
    if not texts:
        return None
    pairs = [(text.partition("=")[0], text.partition("=")[2] or text) for text in texts]
    for name, tensor in pairs:
        if not name or not tensor:
            raise ConfigurationError(f"--feature: expected [NAME=]TENSOR, got '{name}={tensor}'")
    return dict(pairs)
