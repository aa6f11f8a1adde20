"""Write the bundles of a trained set: `python -m training.bundle --version 0.1.0`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_perception.encoders.camera.lift import lift_grid
from edge_perception.encoders.lidar.preprocess import rasterize
from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.writing import write_bundle
from training import audio, camera, lidar, siren, sounds, streams
from training.cards import card
from training.export import OPSET, differences, median_ms, to_onnx
from training.family import fields_of
from training.nets import (
    AudioNet,
    CameraNet,
    FusionNet,
    LidarNet,
    LongAudioNet,
    PhotoCameraNet,
    SirenHead,
    camera_net_of,
)
from training.photo import ORIGIN
from training.pictures import cached_picture
from training.rasters import limited
from training.samples import CLASSES
from training.simulated import HELD_OUT_SEED, cached_sweep
from training.variants import audio_net, camera_net, lidar_net

SET = Path("models/bev_lite")
GOLDEN_SEED = HELD_OUT_SEED + 203
BUDGET_MS = {"camera": 15.0, "lidar": 15.0, "audio": 2.0, "fusion": 6.0}
EVENTS = {
    "siren": {"labels": ["siren"], "threshold": 0.83, "release": 0.5, "mean_windows": 15},
    "car_horn": {"labels": ["car_horn"], "threshold": 0.75, "release": 0.5},
    "speech": {"labels": ["speech"], "threshold": 0.6, "release": 0.4},
}
EGO = {"ego_radius_m": 1.5}
MERGED = {"merge": "mean", "weight": "seen"}  # several cameras, several LiDARs
DATA = {
    "lidar": "simulated sweeps and PandaSet sequence 001 (4 frames, CC BY 4.0), augmented",
    "camera": "simulated images and PandaSet sequence 001 (4 frames, CC BY 4.0), augmented",
    "audio": "synthetic sounds",
    "fusion": "features of the encoders on simulated scenes and PandaSet sequence 001",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model of the set, ready to export."""

    net: nn.Module
    inputs: dict[str, NDArray]
    outputs: tuple[str, ...]
    manifest: dict[str, Any]  # what is special about this role
    input_fields: dict[str, dict[str, str]] = field(default_factory=dict)


def golden_lidar() -> NDArray[np.float32]:
    """Return the raster of a held-out simulated sweep."""
    sweep = cached_sweep(GOLDEN_SEED)
    return rasterize(sweep.xyz_m, limited(sweep.intensity, lidar.CONFIG), lidar.CONFIG)[None]


def lidar_part(report: dict) -> Part:
    """Describe the LiDAR encoder."""
    return Part(
        net=LidarNet(len(lidar.CONFIG.channels), len(CLASSES)),
        inputs={"raster": golden_lidar()},
        outputs=("bev", "heatmap", "boxes"),
        manifest={
            "adapter": "bev_center",
            "labels": list(CLASSES),
            "features": {"bev": "bev"},
            "preprocessing": plain(asdict(lidar.CONFIG)),
            "postprocessing": {**report["calibration"], **EGO},
        },
    )


def camera_part(report: dict) -> Part:
    """Describe the camera encoder."""
    picture = cached_picture(GOLDEN_SEED)
    return Part(
        net=CameraNet(len(CLASSES), len(camera.LIFT.heights_m)),
        inputs={
            "images": camera.image_tensor(picture.bgr)[None],
            "grid": lift_grid(picture.geometry, camera.LIFT, camera.PLACEMENT),
        },
        outputs=("bev", "heatmap", "boxes"),
        manifest={
            "adapter": "bev_center",
            "labels": list(CLASSES),
            "features": {"bev": "bev"},
            "preprocessing": {
                "image_input": "images",
                "size": list(camera.SIZE),
                "scale": camera.SCALE,
                "mean": list(camera.MEAN),
                "pad_value": 128.0,
                "lift_input": "grid",
                "lift": plain(asdict(camera.LIFT)),
            },
            "postprocessing": {**report["calibration"], **EGO},
        },
    )


def audio_part(report: dict) -> Part:
    """Describe the audio encoder."""
    if "head" in report:
        return long_audio_part(report)
    patch = audio.AudioSamples()[audio.HELD_OUT]["patch"]
    net = audio_net()[0] if report.get("from_bundle") else AudioNet(len(sounds.CLASSES))
    return Part(
        net=net,
        inputs={"log_mel": np.ascontiguousarray(patch[None])},
        outputs=("logits", "embedding"),
        manifest={
            "adapter": "audio_tagger",
            "labels": list(sounds.CLASSES),
            "features": {"embedding": "embedding"},
            "preprocessing": audio.PREPROCESSING,
            "postprocessing": {
                "scores": "logits",
                "activation": "sigmoid",
                "events": EVENTS,
                "confirm_windows": 3,
            },
        },
    )


def long_audio_part(report: dict) -> Part:
    """Describe the audio encoder as it is bundled, with a head over time that tells sirens."""
    frames = siren.golden_frames()
    threshold = report["threshold"]
    told = {"labels": ["siren"], "threshold": threshold, "release": siren.release(threshold)}
    shorter = audio_part({"from_bundle": True})
    return Part(
        net=LongAudioNet(shorter.net, SirenHead(len(sounds.CLASSES)), streams.CELL_FRAMES),
        inputs={
            "log_mel": frames[None, None, siren.HISTORY_FRAMES :],
            "history": frames[None, None, : siren.HISTORY_FRAMES],
        },
        outputs=shorter.outputs,
        manifest={
            **shorter.manifest,
            "preprocessing": {
                **audio.PREPROCESSING,
                "history_frames": siren.HISTORY_FRAMES,
                "history_input": "history",
            },
            "postprocessing": {
                **shorter.manifest["postprocessing"],
                "events": {**EVENTS, "siren": told},
            },
        },
    )


def golden_features(parts: dict[str, Part]) -> dict[str, NDArray]:
    """Return golden inputs of the fusion model: the golden outputs of the encoders."""
    values = {}
    with torch.no_grad():
        for role, output in (("camera", 0), ("lidar", 0), ("audio", 1)):
            arrays = (torch.from_numpy(a) for a in parts[role].inputs.values())
            raw = parts[role].net.eval()(*arrays)[output].numpy()
            values[role] = raw.astype(np.float16).astype(np.float32)  # compresses to half
    return {
        "camera_bev": values["camera"],
        "lidar_bev": values["lidar"],
        "audio_embedding": values["audio"],
        "presence": np.ones((1, 3), np.float32),
    }


def fusion_part(report: dict, inputs: dict[str, NDArray]) -> Part:
    """Describe the fusion model."""
    return Part(
        net=FusionNet(len(CLASSES), len(sounds.CLASSES)),
        inputs=inputs,
        outputs=("heatmap", "boxes", "sounds"),
        manifest={
            "adapter": "bev_center",
            "labels": list(CLASSES),
            "postprocessing": {
                **report["simulated_held_out"]["subsets"]["camera+lidar+audio"],
                "subsets": calibrations(report["simulated_held_out"]["subsets"]),
                **EGO,
            },
        },
        input_fields={
            "camera_bev": {"modality": "camera", "tensor": "bev", **MERGED},
            "lidar_bev": {"modality": "lidar", "tensor": "bev", **MERGED},
            "audio_embedding": {"modality": "audio", "tensor": "embedding", "merge": "mean"},
            "presence": {"modality": "presence"},
        },
    )


def calibrations(subsets: dict[str, Any]) -> dict[str, Any]:
    """Return the calibration of the subsets that locate objects; hearing alone does not."""
    return {name: entry for name, entry in subsets.items() if name != "audio"}


def plain(value: Any) -> Any:
    """Tuples to lists, for JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def peak_memory_bytes(model: bytes, inputs: dict[str, NDArray]) -> int:
    """Return how much a process grows by loading and running a model."""
    code = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "peak = lambda: int(status().split('VmHWM:')[1].split()[0]) * 1024\n"
        "inputs = dict(np.load(sys.argv[2])); before = peak()\n"
        "o = ort.SessionOptions(); o.intra_op_num_threads = 1\n"
        "s = ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])\n"
        "[s.run(None, inputs) for _ in range(5)]; print(peak() - before)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        model_path, inputs_path = Path(folder) / "model.onnx", Path(folder) / "inputs.npz"
        model_path.write_bytes(model)
        np.savez(inputs_path, **inputs)
        command = [sys.executable, "-c", code, str(model_path), str(inputs_path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def write(
    role: str, part: Part, into: Path, *, version: str, release: int, space: str, report: dict
) -> None:
    """Export, check and write one bundle."""
    model = to_onnx(part.net, part.inputs, part.outputs)
    difference = differences(part.net, model, part.inputs, part.outputs)
    with torch.no_grad():
        results = part.net(*(torch.from_numpy(a) for a in part.inputs.values()))
    cost_ms = median_ms(model, part.inputs)
    metrics = {"evaluation": report, "onnx_against_pytorch": difference, "cpu_1_thread_ms": cost_ms}
    manifest = {
        "name": f"bev_lite_{role}",
        "role": role,
        "version": version,
        "release": release,
        **part.manifest,
        "inputs": [
            {"name": n, "dtype": "float32", "shape": list(a.shape), **part.input_fields.get(n, {})}
            for n, a in part.inputs.items()
        ],
        "outputs": [
            {"name": n, "dtype": "float32", "shape": list(r.shape)}
            for n, r in zip(part.outputs, results, strict=True)
        ],
        "feature_space": space,
        "compatible_with": [space] if role == "fusion" else [],
        "runtime": {"opset": OPSET, "precision": "fp32"},
        "resources": {"peak_memory_bytes": peak_memory_bytes(model, part.inputs)},
        "gates": {
            "warm_up_runs": 2, "absolute_tolerance": 2e-3, "relative_tolerance": 2e-3,
            "latency_ms": BUDGET_MS[role],
        },
        "provenance": {
            "licence": "Apache-2.0",
            "source": "edge_perception",
            "training_script": f"training/{role}.py",
            "data": DATA[role],
            "metrics": metrics,
            "model_card": "MODEL_CARD.md",
        },
    }  # fmt: skip
    text = card(role, version=version, report=report, part_inputs=manifest["inputs"],
                outputs=manifest["outputs"], cost_ms=cost_ms, size=len(model),
                memory=manifest["resources"]["peak_memory_bytes"],
                origin=ORIGIN if isinstance(part.net, PhotoCameraNet) else "")  # fmt: skip
    bundle = write_bundle(
        into / role, manifest=manifest, model=model, golden_inputs=part.inputs,
        files={"MODEL_CARD.md": text.encode()}, replace=True,
    )  # fmt: skip
    size = bundle.manifest.resources.disk_bytes
    print(f"{role}: model {len(model)} bytes, bundle {size} bytes, {cost_ms} ms, {difference}")


def renamed(
    bundle: Bundle,
    into: Path,
    *,
    version: str,
    release: int,
    space: str,
    report: dict | None = None,
) -> None:
    """Write a bundle again with the same weights.

    Args:
        bundle: which, of the set or a variant.
        into: its folder.
        version: the new one.
        release: the new one.
        space: feature space of the other encoders.
        report: of the audio model, with events as they are told now; none: nothing but the names
            is new.
    """
    before, role = bundle.manifest.version, bundle.manifest.role
    model = bundle.read(bundle.manifest.model)
    manifest = fields_of(bundle)
    manifest |= {"version": version, "release": release, "feature_space": space}
    title, *text = bundle.read("MODEL_CARD.md").decode().split("\n")
    # Of a bundle that was written again before, the weights are older than its version.
    name, _, origin = title.partition(", the weights of ")
    if report is not None:
        manifest["postprocessing"]["events"] = EVENTS
        manifest["provenance"]["metrics"]["evaluation"] = report
        _, *text = card(
            role, version=version, report=report, part_inputs=manifest["inputs"],
            outputs=manifest["outputs"], size=len(model),
            cost_ms=manifest["provenance"]["metrics"]["cpu_1_thread_ms"],
            memory=manifest["resources"]["peak_memory_bytes"],
        ).split("\n")  # fmt: skip
        manifest["changelog"] = f"{before} with other rules for its events"
    else:
        manifest["changelog"] = f"{origin or before} in the feature space {space}"
    title = f"{name.split(before)[0]}{version}, the weights of {origin or before}"
    write_bundle(
        into, manifest=manifest, model=model, golden_inputs=read_golden(bundle)[0],
        files={"MODEL_CARD.md": "\n".join([title, *text]).encode()}, replace=True,
    )  # fmt: skip


def heard(path: Path) -> dict:
    """Return what is known of the bundled audio model, with what `training.hearing` wrote of it.

    What other models were heard to do on the same clips, and are not in that file, is kept.
    """
    known = load_bundle(SET / "audio").manifest.provenance.metrics["evaluation"]
    tables, before = json.loads(path.read_text())["tables"], known.get("hearing", {})
    for name, table in tables.items():
        tables[name] = {
            **table,
            **{n: e for n, e in before.get(name, {}).items() if n not in table},
        }
    return {**known, "hearing": tables}


def main() -> None:
    """Write all four bundles; encoders and fusion belong together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--release", type=int, default=1)
    parser.add_argument("--into", type=Path, default=SET)
    parser.add_argument("--only", choices=tuple(BUDGET_MS), help="write one model")
    parser.add_argument("--feature-space", help="of one model that goes with others as they are")
    parser.add_argument(
        "--hearing", type=Path, help="what training.hearing wrote of the audio model"
    )
    parser.add_argument(
        "--same", choices=("camera", "lidar", "audio"), action="append", default=[],
        help="keep the bundled weights of an encoder; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--variant", type=Path, action="append", default=[],
        help="folder of a variant of such an encoder, written again in its place; repeatable",
    )  # fmt: skip
    for role in BUDGET_MS:
        parser.add_argument(f"--{role}", default=role, help="name of the weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space = arguments.feature_space or f"bev_lite-{arguments.version}"
    makers = {"camera": camera_part, "lidar": lidar_part, "audio": audio_part}
    if arguments.only:
        makers = {role: make for role, make in makers.items() if role == arguments.only}
    parts: dict[str, Part] = {}
    for role, make in makers.items():
        parts[role] = (
            bundled_part(role)
            if role in arguments.same
            else load(role, make, getattr(arguments, role))
        )
    if arguments.only in (None, "fusion"):
        known = read_golden(load_bundle(SET / "fusion"))[0] if arguments.only else None
        features = known or golden_features(parts)
        parts["fusion"] = load("fusion", lambda rep: fusion_part(rep, features), arguments.fusion)
    for role in arguments.same:
        told = role == "audio" and arguments.hearing is not None
        renamed(
            load_bundle(SET / role), arguments.into / role, version=arguments.version,
            release=arguments.release, space=space,
            report=heard(arguments.hearing) if told else None,
        )  # fmt: skip
        parts.pop(role, None)
    for path in arguments.variant:
        renamed(
            load_bundle(path), path, version=arguments.version, release=arguments.release,
            space=space,
        )  # fmt: skip
    for role, part in parts.items():
        report = json.loads((lidar.OUT / f"{getattr(arguments, role)}_report.json").read_text())
        if role == "audio" and arguments.hearing:
            report["hearing"] = heard(arguments.hearing)["hearing"]
        write(
            role, part, arguments.into, version=arguments.version, release=arguments.release,
            space=space, report=report,
        )  # fmt: skip


def bundled_part(role: str) -> Part:
    """Return a part of the set as it is, for the golden inputs of the fusion model."""
    net, inputs = {"camera": camera_net, "lidar": lidar_net, "audio": audio_net}[role]()
    outputs = tuple(spec.name for spec in load_bundle(SET / role).manifest.outputs)
    return Part(net=net, inputs=inputs, outputs=outputs, manifest={})


def load(role: str, make: Any, weights: str) -> Part:
    """Make a part and load its trained weights."""
    report = json.loads((lidar.OUT / f"{weights}_report.json").read_text())
    part: Part = make(report)
    trained = torch.load(lidar.OUT / f"{weights}.pt", weights_only=True)
    if role == "camera":  # which network it is, its weights tell
        net = camera_net_of(trained, len(CLASSES), len(camera.LIFT.heights_m))
        return replace(part, net=net.eval())
    part.net.load_state_dict(trained)
    part.net.eval()
    return part


if __name__ == "__main__":
    main()
