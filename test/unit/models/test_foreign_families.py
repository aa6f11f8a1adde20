"""Every detector family: recognised by its published signature, its known boxes found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import SIZE, TRUTH, Signature, center, corners, onnx, share
from foreign_imports import PICTURE, bring, check

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, ModelError
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._yolo_levels_graph import ANCHORS
from edge_perception.releases.first_look import FirstLook, look, read_picture
from edge_perception.releases.importing import import_model
from edge_perception.releases.recognising import recognise, values_said

# What exporters of Ultralytics write, and those of YOLOv5.
ULTRALYTICS = {
    "description": "Ultralytics YOLO11n model trained on coco.yaml",
    "author": "Ultralytics",
    "stride": "32",
    "task": "detect",
    "batch": "1",
    "imgsz": "[64, 96]",
    "names": str(graphs.NAMES),
    "args": "{'nms': False}",
}
V5 = {"stride": "32", "names": "{0: 'person', 1: 'bicycle', 2: 'car', 3: 'tram'}"}
PAPER = {0: 1, 1: 2, 2: 3}  # number in COCO's paper of person, bicycle, car
INT64, UINT8 = onnx.TensorProto.INT64, onnx.TensorProto.UINT8


def yxyx(row: int) -> np.ndarray:
    box = corners(row) / np.tile(SIZE, 2)
    return box[[1, 0, 3, 2]]


def v7_end_to_end() -> np.ndarray:
    rows = [(0, *box, label, score) for label, score, box in TRUTH]
    return np.array([*rows, (0, 0, 0, 9, 9, 1, 0.001)], np.float32)


def paddle() -> np.ndarray:
    return np.array([(label, score, *box) for label, score, box in TRUTH], np.float32)


def rt_detr_ultralytics() -> np.ndarray:
    logits, boxes = graphs.queries(80, 300)
    return np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2).astype(np.float32)


def rt_detr_chosen() -> np.ndarray:
    head = np.zeros((1, 300, 6), np.float32)
    for row, (label, score, _) in enumerate(TRUTH):
        head[0, row] = (*share(row), score, label)
    return head


def two(names: tuple[str, str], columns: int) -> dict[str, np.ndarray]:
    return dict(zip(names, graphs.queries(columns), strict=True))


PADDLE_INPUTS = {"im_shape": (1, [1, 2]), "scale_factor": (1, [1, 2])}
ORIG = {"orig_target_sizes": (INT64, ["N", 2])}
# Name: signature, what must be said, what the family is called, its adapter, resize.
FAMILIES: dict[str, tuple[Signature, dict[str, Any], str, str, str]] = {
    "v5": (Signature({"output0": graphs.v5(4)}, metadata=V5), {}, "YOLOv5", "yolo", "center"),
    "v5 dynamic": (
        Signature({"output0": graphs.v5(4)}, metadata=V5, free=(0, 2, 3)),
        {"size": "96x64"},
        "YOLOv5",
        "yolo",
        "center",
    ),
    "v7 grid": (Signature({"output": graphs.v5()}), {}, "YOLOv5 or v7", "yolo", "center"),
    "v7 raw": (
        Signature(graphs.raw_levels(ANCHORS["v7"], 80)),
        {"anchors": "v7"},
        "raw levels",
        "yolo",
        "center",
    ),
    "v7 end to end": (
        Signature({"output": v7_end_to_end()}, follow_data=True),
        {"labels": "coco80"},
        "end to end",
        "detections",
        "center",
    ),
    "v8": (
        Signature({"output0": graphs.v8(4)}, metadata=ULTRALYTICS),
        {},
        "YOLO11n",
        "yolo",
        "center",
    ),
    "v9": (Signature({"output0": graphs.v8()}), {}, "YOLOv8 or later", "yolo", "center"),
    "v11 dynamic": (
        Signature({"output0": graphs.v8(4)}, metadata=ULTRALYTICS, free=(0, 2, 3)),
        {},
        "YOLO11n",
        "yolo",
        "center",
    ),
    "v10": (
        Signature({"output0": graphs.rows6()}, metadata=ULTRALYTICS),
        {},
        "YOLOv10",
        "detections",
        "center",
    ),
    "nanodet plus": (
        Signature({"output": graphs.nanodet((8, 16, 32, 64), 0.0)}, image="data"),
        {},
        "NanoDet-Plus",
        "nanodet",
        "stretch",
    ),
    "nanodet": (
        Signature({"output": graphs.nanodet((8, 16, 32), 0.5)}, image="data"),
        {},
        "NanoDet",
        "nanodet",
        "stretch",
    ),
    "picodet": (Signature(graphs.picodet(), image="image"), {}, "PicoDet", "nanodet", "stretch"),
    "paddle": (
        Signature(
            {"multiclass_nms3_0.tmp_0": paddle()},
            image="image",
            inputs=PADDLE_INPUTS,
            follow_data=True,
        ),
        {"normalise": "imagenet", "labels": "coco80"},
        "PaddleDetection",
        "detections",
        "stretch",
    ),
    "rt-detr deployed": (
        Signature(
            graphs.lists(
                ("boxes", "scores", "labels"),
                0,
                lambda r: corners(r) / np.tile(SIZE, 2),
                batch=True,
            ),
            inputs=ORIG,
            free=(0,),
            times="boxes",
        ),
        {"labels": "coco80"},
        "RT-DETR",
        "detections",
        "stretch",
    ),
    "rt-detr": (
        Signature(two(("logits", "pred_boxes"), 80), image="pixel_values"),
        {},
        "RT-DETR",
        "detr",
        "stretch",
    ),
    "rt-detr ultralytics": (
        Signature({"output0": rt_detr_ultralytics()}),
        {},
        "RT-DETR of Ultralytics",
        "detr",
        "stretch",
    ),
    "rt-detr ultralytics 8.4": (
        Signature(
            {"output0": rt_detr_chosen()},
            metadata={**ULTRALYTICS, "description": "Ultralytics rtdetr-l model"},
        ),
        {},
        "queries chosen inside",
        "detections",
        "stretch",
    ),
    "detr": (
        Signature(
            {"logits": graphs.detr_logits(PAPER), "pred_boxes": graphs.queries(3)[1]},
            image="pixel_values",
            inputs={"pixel_mask": (INT64, ["batch", 64, 64])},
            free=(0, 2, 3),
        ),
        {"size": "96x64"},
        "DETR",
        "detr",
        "stretch",
    ),
    "tensorflow ssd": (
        Signature(
            graphs.lists(
                ("detection_boxes:0", "detection_scores:0", "detection_classes:0"),
                1,
                yxyx,
                batch=True,
            ),
            image="image_tensor:0",
            image_type=UINT8,
            layout="NHWC",
            free=(0, 1, 2),
        ),
        {"size": "96x64", "labels": "coco80"},
        "TensorFlow",
        "detections",
        "stretch",
    ),
    "zoo ssd": (
        Signature(
            graphs.lists(
                ("bboxes", "scores", "labels"),
                1,
                lambda r: corners(r) / np.tile(SIZE, 2),
                batch=True,
            ),
            image="image",
        ),
        {"labels": "coco80"},
        "model zoo",
        "detections",
        "stretch",
    ),
    "torchvision": (
        Signature(
            graphs.lists(("boxes", "scores", "labels"), 1, corners, batch=False),
            layout="CHW",
            free=(1, 2),
            follow_data=True,
        ),
        {"size": "96x64", "labels": "coco80"},
        "torchvision",
        "detections",
        "corner",
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_known_boxes_of_a_family_are_found(tmp_path: Path, name: str) -> None:
    signature, said, family, adapter, resize = FAMILIES[name]
    path = graphs.write(tmp_path / "model.onnx", signature)
    bundle, seen, recognised = bring(path, said)
    assert family in recognised.family
    assert bundle.manifest.adapter == adapter
    assert [(s.dtype, s.shape) for s in bundle.manifest.inputs] == [("float32", (1, 3, 64, 96))]
    assert all(spec.dtype == "float32" for spec in bundle.manifest.outputs)
    check(seen, resize)
    rows = {row.name: row for row in recognised.assumptions}
    assert {"family", "layout", "color", "scale", "resize", "labels"} <= set(rows)
    assert all(row.why for row in recognised.assumptions)


@pytest.mark.parametrize("name", ["v8", "torchvision", "rt-detr"])
def test_half_precision(tmp_path: Path, name: str) -> None:
    signature, said, _, _, resize = FAMILIES[name]
    path = graphs.write(tmp_path / "half.onnx", signature, half=True)
    bundle, seen, _ = bring(path, said)
    assert bundle.manifest.runtime.precision == "fp16"
    check(seen, resize, within=0.3)


def test_nodes_in_the_wrong_order_are_sorted(tmp_path: Path) -> None:
    """As converters to half precision leave them; runtimes do not mind, the checker does."""
    path = graphs.write(tmp_path / "half.onnx", FAMILIES["v8"][0], half=True)
    model = onnx.load(str(path))
    backwards = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(backwards)
    onnx.save(model, str(path))
    check(bring(path, {})[1], "center", within=0.3)
    model.graph.node[0].input[0] = model.graph.node[0].output[0]  # a circle
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"half\.onnx: expected an ONNX model"):
        recognise(path)


@pytest.mark.parametrize("name", ["v8", "detr"])
def test_quantised(tmp_path: Path, name: str) -> None:
    signature, said, _, _, resize = FAMILIES[name]
    path = graphs.write(tmp_path / "int8.onnx", signature, quantised=True)
    bundle, seen, _ = bring(path, said)
    assert bundle.manifest.runtime.precision == "int8"
    check(seen, resize, within=0.1)


def test_weights_beside_the_file_come_into_the_bundle(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "inside.onnx", FAMILIES["v8"][0])
    apart = tmp_path / "apart.onnx"
    onnx.save(
        onnx.load(str(path)), str(apart), save_as_external_data=True, location="apart.data",
        size_threshold=0,
    )  # fmt: skip
    bundle, seen, _ = bring(apart, {})
    check(seen, "center")
    weights = (tmp_path / "apart.data").read_bytes()
    (tmp_path / "apart.data").write_bytes(weights[:-9])
    with pytest.raises(
        ModelError, match=rf"cut off or of another model: it has {len(weights) - 9}"
    ):
        recognise(apart)
    (tmp_path / "apart.data").unlink()
    assert not any(t.external_data for t in onnx.load(str(bundle.model_path)).graph.initializer)
    with pytest.raises(ModelError, match=r"weights are in apart\.data, which is not beside it"):
        recognise(apart)


# What nobody may guess: signature, what is said, what the refusal must name.
REFUSED: dict[str, tuple[Signature, dict[str, Any], str]] = {
    "anchors": (FAMILIES["v7 raw"][0], {}, "anchors=v5|v7|v7-tiny"),
    "labels": (FAMILIES["zoo ssd"][0], {}, "--labels FILE, coco80"),
    "size": (FAMILIES["v5 dynamic"][0], {}, "--assume size=WIDTHxHEIGHT"),
    "normalise": (FAMILIES["paddle"][0], {"labels": "coco80"}, "normalise=imagenet"),
    "family": (
        Signature(two(("logits", "pred_boxes"), 7), metadata={}),
        {"labels": "coco80"},
        "--assume family=detr|rtdetr|rfdetr",
    ),
    "two families": (
        Signature({"output": np.zeros((1, graphs.ROWS, 90), np.float32)}),
        {},
        "NanoDet (--adapter nanodet), YOLOv6 (--adapter yolo)",
    ),
    "an input": (
        Signature({"output0": graphs.v8()}, inputs={"mystery": (1, [1, 2])}),
        {},
        "--assume input.mystery=",
    ),
    "another task": (
        Signature({"output0": graphs.v8(36)}, metadata={**ULTRALYTICS, "task": "segment"}),
        {},
        "expected detect, got 'segment'",
    ),
    "names and classes": (
        Signature({"output0": graphs.v8(9)}, metadata=ULTRALYTICS),
        {},
        "the metadata name 4 classes",
    ),
    "names that are code": (
        Signature({"output0": graphs.v8(4)}, metadata={"names": "__import__('os').getcwd()"}),
        {},
        "expected JSON or a list",
    ),
    "no family": (
        Signature({"x": np.zeros((1, 5), np.float32)}),
        {},
        "expected a model of any family",
    ),
    "option": (FAMILIES["v8"][0], {"colour": "bgr"}, "has no such option, it has anchors"),
    "value": (FAMILIES["v8"][0], {"color": "blue"}, "color: expected one of bgr, rgb"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_guessed_in_silence(tmp_path: Path, name: str) -> None:
    signature, said, text = REFUSED[name]
    path = graphs.write(tmp_path / "model.onnx", signature)
    with pytest.raises(EdgePerceptionError) as caught:
        bring(path, said)
    assert text in str(caught.value)
    assert not (tmp_path / "models").exists()


# A wrong assumption, and what the plausibility of the boxes says of it.
WRONG = {
    "share read as px": ("rt-detr deployed", {"box_unit": "share"}, "outside"),
    "corners read as centres": ("torchvision", {"box": "yxyx", "box_unit": "share"}, "outside"),
    "px read as share": ("zoo ssd", {"box_unit": "px"}, "smaller than"),
    "classes from 0": ("zoo ssd", {"first_class": 0, "labels": "two"}, "class 3 of 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_boxes_that_cannot_be_right_are_told(tmp_path: Path, name: str) -> None:
    family, wrong, text = WRONG[name]
    signature, said, *_ = FAMILIES[family]
    path = graphs.write(tmp_path / "model.onnx", signature)
    said = {**said, **wrong}
    if said["labels"] == "two":
        said["labels"] = ["person", "bicycle", "car"]
    recognised = recognise(path, said=said)
    recognised.manifest["labels"] = (
        said["labels"] if isinstance(said["labels"], list) else list(COCO_LABELS)
    )
    seen: list[FirstLook] = []
    import_model(
        path,
        adapter=recognised.adapter.name,
        into=tmp_path / "models",
        recognised=recognised,
        trial=lambda manifest, session: seen.append(look(manifest, session, PICTURE)),
    )
    assert any(text in fault for fault in seen[0].faults), seen[0].faults
    assert seen[0].objects == ()


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        (("manifest.json", "model.onnx"), "a bundle, which nodes serve as it is"),
        (("best.onnx",), "it holds 'best.onnx': give that"),
        (("saved_model.pb", "variables"), "a SavedModel: python -m tf2onnx.convert --saved-model"),
        (("config.json", "model.safetensors"), "optimum-cli export onnx --model"),
        (("inference.json", "inference.pdiparams"), "--params_filename inference.pdiparams"),
        (("m.xml", "m.bin"), "a model of OpenVINO: give the ONNX file"),
        ((), "give the ONNX file in it"),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: tuple[str, ...], what: str
) -> None:
    for name in inside:
        (tmp_path / name).touch()
    assert main(["models", "import", str(tmp_path)]) != 0
    told = capsys.readouterr().err
    assert "expected a file, got a folder: " in told
    assert what in told


def test_what_is_said_goes_before_what_is_guessed(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "model.onnx", FAMILIES["v8"][0])
    said = values_said(["color=bgr", "mean=[0.5,0.5,0.5]", "score_threshold=0.7"])
    bundle, seen, recognised = bring(path, said)
    assert bundle.manifest.preprocessing["color"] == "bgr"
    assert [o.class_name for o in seen.objects] == ["car"]
    whys = {row.name: row.why for row in recognised.assumptions}
    assert whys["color"] == whys["mean"] == "said"
    for texts in (["color"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(ConfigurationError, match="NAME=VALUE"):
            values_said(texts)


def test_centre_and_share_of_the_encoders_are_what_they_say() -> None:
    assert center(0).tolist() == [25.0, 32.0, 30.0, 24.0]
    assert share(0).tolist() == pytest.approx([25 / 96, 0.5, 30 / 96, 24 / 64])


@pytest.mark.parametrize("said", ["", 'classes={"Auto": "car"}'])
def test_names_that_fusion_does_not_place_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    names = {0: "Fußgänger", 1: "Fahrrad", 2: "Auto", 3: "Auto"}
    signature = replace(FAMILIES["v8"][0], heads={"output0": graphs.v8(4)})
    signature = replace(signature, metadata={**signature.metadata, "names": str(names)})
    path = graphs.write(tmp_path / "auto.onnx", signature)
    command = ["models", "import", str(path), "--into", str(tmp_path / "models")]
    assert main([*command, *(["--assume", said] if said else [])]) == 0
    out = capsys.readouterr().out
    told = "none of its classes (Fußgänger, Fahrrad, Auto, Auto) is a road user" in out
    assert told == (not said)


def test_the_command_prints_what_it_assumes_and_draws_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = graphs.write(tmp_path / "mine.onnx", FAMILIES["v8"][0])
    command = ["models", "import", str(path), "--into", str(tmp_path / "models")]
    assert main(command) == 0
    out = capsys.readouterr().out
    for text in (
        "YOLO11n, read by adapter 'yolo'",
        'color                "rgb"',
        "found in a simul",
    ):
        assert text in out
    assert "1 car, 1 pedestrian" in out
    assert read_picture(tmp_path / "models" / "mine.import.png").shape[2] == 3
    wrong = [*command, "--name", "wrong", "--assume", "box_unit=share"]
    assert main(wrong) == 1
    assert "not plausible" in capsys.readouterr().err
    assert not (tmp_path / "models" / "wrong").exists()
    assert (tmp_path / "models" / "wrong.import.png").exists()  # shows why
    with pytest.raises(ModelError, match="expected a picture"):
        read_picture(path)
