"""Exports as people have them: other heads, other inputs, plug-ins, files beside the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import NAMES, SIZE, TRUTH, Signature, center, corners, onnx
from foreign_imports import bring, check

from edge_perception.core.errors import EdgePerceptionError, ModelError
from edge_perception.models.adapters._boxes import Candidates
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._picture_config import read_picture_config
from edge_perception.models.adapters._yolo_levels_graph import ANCHORS
from edge_perception.releases.first_look import implausible
from edge_perception.releases.label_files import read_labels
from edge_perception.releases.recognising import recognise

ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": str(NAMES)}
UINT8, INT8 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8
IMAGENET = (("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225]))

CAFFE = (("Sub", [103.53, 116.28, 123.675]), ("Div", [57.375, 57.12, 58.395]))


def dense(strides: tuple[int, ...], classes: int, *, anchors: int = 1) -> tuple[Any, Any]:
    """Boxes (corners) and scores of all cells."""
    count = anchors * sum(-(-SIZE[0] // s) * -(-SIZE[1] // s) for s in strides)
    boxes, scores = np.zeros((1, count, 4), np.float32), np.zeros((1, count, classes), np.float32)
    boxes[..., 2:] = 5.0
    for row, (label, score, box) in enumerate(TRUTH):
        boxes[0, 3 * row + 2], scores[0, 3 * row + 2, label] = box, score
    return boxes, scores


def columns(strides: tuple[int, ...]) -> np.ndarray:
    """As YOLOv8 and later: centres and sizes over scores."""
    boxes, scores = dense(strides, len(NAMES))
    for row in range(len(TRUTH)):
        boxes[0, 3 * row + 2] = center(row)
    return np.concatenate([boxes, scores], axis=2).transpose(0, 2, 1)


def mmdet() -> dict[str, np.ndarray]:
    rows = np.array([[*box, score] for _, score, box in TRUTH], np.float32)
    return {"dets": rows[None], "labels": np.array([[label for label, *_ in TRUTH]], np.float32)}


def yolov4() -> dict[str, np.ndarray]:
    boxes, scores = dense((8, 16, 32), 80, anchors=3)
    return {"boxes": (boxes / np.tile(SIZE, 2))[:, :, None], "confs": scores}


def flat7(*order: str) -> np.ndarray:
    rows = []
    for label, score, box in TRUTH:
        parts = {"image": [0], "xyxy": box, "yxyx": np.array(box)[[1, 0, 3, 2]], "score": [score]}
        parts |= {"class": [label], "class1": [label + 1]}
        rows.append(np.concatenate([parts[name] for name in order]))
    return np.array(rows, np.float32)


def lists(names: tuple[str, str, str], first: int, **more: Any) -> dict[str, np.ndarray]:
    return graphs.lists(names, first, corners, batch=False, **more)


def by_stride(bins: int) -> dict[str, np.ndarray]:
    heads = {}
    for stride, (kinds, sides) in zip((8, 16, 32), graphs.gfl((8, 16, 32), 0.5), strict=True):
        wide = np.full((1, sides.shape[1], 4, bins), -30.0, np.float32)
        wide[..., :8] = sides.reshape(1, -1, 4, 8)
        heads[f"cls_pred_stride_{stride}"] = graphs.logit(kinds)
        heads[f"dis_pred_stride_{stride}"] = wide.reshape(1, -1, 4 * bins)
    return heads


def queries(columns: int) -> dict[str, np.ndarray]:
    return dict(zip(("logits", "pred_boxes"), graphs.queries(columns), strict=True))


def v8_joined() -> dict[str, np.ndarray]:
    """As the head gives its levels in training: sides and classes in one map."""
    maps = graphs.v8_maps(len(NAMES)).values()
    return {f"output{k}": np.concatenate(pair, axis=1) for k, pair in enumerate(maps)}


def v8_apart() -> dict[str, np.ndarray]:
    """As exporters for NPUs leave it: sides, classes and their sum, each a map, of each stride."""
    heads = {}
    for stride, (sides, kinds) in graphs.v8_maps().items():
        total = np.minimum((1 / (1 + np.exp(-kinds))).sum(axis=1, keepdims=True), 1.0)
        heads |= {f"box{stride}": sides, f"cls{stride}": kinds, f"sum{stride}": total}
    return heads


def libre(family: str) -> dict[str, str]:
    """What LibreYOLO writes beside whatever family it exports."""
    names = json.dumps({str(number): name for number, name in NAMES.items()})
    return {"libreyolo_version": "1.6.0", "model_family": family, "task": "detect", "names": names}


def anchored_columns() -> np.ndarray:
    """As `graphs.v8`, with three boxes a cell: those of the first anchor, and none."""
    head = graphs.v8()
    return np.concatenate([head, np.zeros_like(head), np.zeros_like(head)], axis=2)


HF = {"model_type": "deformable_detr", "id2label": {str(k): n for k, n in NAMES.items()}}
HF_PICTURE = {
    "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "size": {"height": 64, "width": 96},
}  # fmt: skip
PADDLE = """
arch: PicoDet
Preprocess:
- {interp: 2, keep_ratio: false, target_size: [64, 96], type: Resize}
- {is_scale: true, mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4], type: NormalizeImage}
- {type: Permute}
label_list: [person, bicycle, car]
"""
MMDET = """
import os
_base_ = ['base.py']
classes = ('person', 'bicycle', 'car')
metainfo = dict(classes=classes, secret=os.environ['HOME'])
model = dict(type='RTMDet', data_preprocessor=dict(std=[57.375, 57.12, 58.395]))
"""
MMDET_BASE = """
model = dict(data_preprocessor=dict(type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675],
                                    bgr_to_rgb=False), type='x')
test_pipeline = [dict(type='Resize', scale=(96, 64), keep_ratio=True),
                 dict(type='Pad', size=(96, 64), pad_val=dict(img=(114, 114, 114)))]
"""
# Name: signature, what is said, files beside (the first is --config), family, resize, and what of
# the preprocessing must be so.
EXPORTS: dict[str, tuple[Signature, dict, dict, str, str, dict]] = {
    "mean of caffe inside": (
        Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS, first=CAFFE),
        {}, {}, "YOLOv8 or later", "center", {"color": "bgr", "scale": 1.0, "mean": [0.0] * 3}),
    "means of unity, red first": (
        Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS,
                  first=(("Div", 255.0), *IMAGENET)),
        {}, {}, "YOLOv8 or later", "center", {"color": "rgb", "scale": 1.0}),
    "p2": (Signature({"output0": columns((4, 8, 16, 32))}, metadata=ULTRALYTICS), {}, {},
           "YOLOv8 or later", "center", {}),
    "two levels": (Signature({"output0": columns((16, 32))}, metadata=ULTRALYTICS), {}, {},
                   "YOLOv8 or later", "center", {}),
    "v8 in training": (Signature(v8_joined(), metadata=ULTRALYTICS), {}, {},
                       "YOLOv8 or later, raw levels", "center", {}),
    "v8 for an npu": (
        Signature(v8_apart(), raised=tuple(n for n in v8_apart() if n.startswith("cls"))),
        {}, {}, "YOLOv8 or later, raw levels", "center", {}),
    "v5 in maps": (Signature(graphs.v5_maps(ANCHORS["v5"])), {"anchors": "v5"}, {},
                   "YOLOv5 or v7, raw levels", "center", {}),
    "v5 in maps, raised": (
        Signature(graphs.v5_maps(ANCHORS["v7"], len(NAMES)), metadata={"names": str(NAMES)},
                  raised=("level8", "level16", "level32")),
        {"anchors": "v7"}, {}, "YOLOv5 or v7, raw levels", "center", {}),
    "libreyolo's picodet": (
        Signature({"output": columns((8, 16, 32)).transpose(0, 2, 1)}, metadata=libre("picodet")),
        {}, {}, "transposed", "stretch",
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
    "libreyolo's yolo9": (Signature({"output": columns((8, 16, 32))}, metadata=libre("yolo9")),
                          {}, {}, "YOLOv8 or later", "corner", {"pad_value": 114.0}),
    "libreyolo's yolo9, centred": (
        Signature({"output": columns((8, 16, 32))},
                  metadata={**libre("yolo9"), "letterbox_pad": "center"}),
        {}, {}, "YOLOv8 or later", "center", {}),
    "libreyolo's pp-yoloe": (
        Signature(dict(zip(("boxes", "scores"), dense((8, 16, 32), len(NAMES)), strict=True)),
                  metadata=libre("ppyoloe")),
        {}, {}, "PP-YOLOE", "stretch", {"mean": [0.485, 0.456, 0.406]}),
    "anchors in columns": (Signature({"output": anchored_columns()}), {}, {},
                           "YOLO with anchors", "center", {}),
    "names in the wrong order": (
        Signature(lists(("boxes", "labels", "scores"), 1), layout="CHW", whole=("scores",)),
        {"labels": "coco80"}, {}, "torchvision", "corner", {}),
    "corners in columns": (Signature({"output": graphs.corner_columns()}), {}, {},
                           "YOLOv8 or later", "center", {}),
    "corners in columns, shares": (
        Signature({"output": graphs.corner_columns()
                   / np.array([*SIZE, *SIZE, *[1.0] * 80]).reshape(-1, 1)}), {}, {},
        "YOLOv8 or later", "center", {}),
    "batch of four": (Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS, batch=4),
                      {}, {}, "YOLOv8 or later", "center", {}),
    "divides inside": (Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS,
                                 first=(("Div", 255.0),)),
                       {}, {}, "YOLOv8 or later", "center", {"scale": 1.0}),
    "whole numbers": (Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS,
                                image_type=UINT8, layout="HWC"),
                      {}, {}, "YOLOv8 or later", "center", {"scale": 1.0}),
    "v10 of two classes": (
        Signature({"output0": graphs.rows6()},
                  metadata={**ULTRALYTICS, "names": "['person', 'x', 'car']"}),
        {}, {}, "YOLOv10", "center", {}),
    "yolo11 suppressed inside": (
        Signature({"output0": graphs.rows6()},
                  metadata={**ULTRALYTICS, "description": "Ultralytics YOLO11n model"}),
        {}, {}, "YOLO11n (YOLOv10, or YOLO with nms=True)", "center", {}),
    "effdet's bench": (
        Signature({"detections": flat7("xyxy", "score", "class1")[None]}),
        {"labels": "coco80", "family": "effdet"}, {}, "EfficientDet of effdet", "corner",
        {"mean": [0.485, 0.456, 0.406]}),
    "a few rows of yolo": (
        Signature({"output0": graphs.rows6()[:, :100]}), {"labels": "coco80", "family": "yolo"},
        {}, "YOLOv10", "center", {}),
    "yolo-nas": (Signature(dict(zip("ab", dense((8, 16, 32), 80), strict=True))),
                 {"family": "yolonas"}, {}, "YOLO-NAS", "center", {"color": "rgb"}),
    "yolo-nas flat": (
        Signature({"graph2_flat_predictions": flat7("image", "xyxy", "score", "class")},
                  image_type=UINT8),
        {"labels": "coco80"}, {}, "YOLO-NAS", "center", {"scale": 1.0}),
    "pp-yoloe": (Signature({"tmp_16": dense((8, 16, 32), 80)[0],
                            "concat_14.tmp_0": dense((8, 16, 32), 80)[1].transpose(0, 2, 1)},
                           image="image"),
                 {"normalise": "imagenet"}, {}, "PP-YOLOE", "stretch",
                 {"mean": [0.485, 0.456, 0.406]}),
    "yolov4": (Signature(yolov4()), {}, {}, "YOLOv4", "stretch", {}),
    "mmdet": (Signature(mmdet(), whole=("labels",)), {},
              {"rtmdet.py": MMDET, "base.py": MMDET_BASE}, "mmdetection", "corner",
              {"color": "bgr", "mean": [103.53, 116.28, 123.675], "pad_value": 114.0}),
    "tensorflow 2": (
        Signature({
            **graphs.lists(("detection_boxes", "detection_scores", "detection_classes"), 1,
                           lambda r: (corners(r) / np.tile(SIZE, 2))[[1, 0, 3, 2]], batch=True),
            "raw_detection_boxes": np.zeros((1, 50, 4)),
            "raw_detection_scores": np.zeros((1, 50, 9)),
            "num_detections": np.array([3.0]),
        }, image="input_tensor", image_type=UINT8, layout="NHWC", free=(0, 1, 2)),
        {"size": "96x64", "labels": "coco91"}, {}, "TensorFlow", "stretch", {"scale": 1.0}),
    "ssd of tensorflow lite, converted": (
        Signature(graphs.lists(("StatefulPartitionedCall:3", "StatefulPartitionedCall:1",
                                "StatefulPartitionedCall:2"), 0,
                               lambda r: (corners(r) / np.tile(SIZE, 2))[[1, 0, 3, 2]], batch=True)
                  | {"StatefulPartitionedCall:0": np.array([3.0])},
                  image_type=UINT8, layout="NHWC"),
        {"labels": "coco80", "family": "tensorflow", "first_class": 0}, {}, "TensorFlow", "stretch",
        {"scale": 1.0}),
    "torchvision without names": (
        Signature(lists(("74", "76", "75"), 1), layout="CHW", whole=("75",), first=IMAGENET),
        {"labels": "coco80"}, {}, "torchvision", "corner", {"scale": 1 / 255}),
    "model zoo's faster rcnn": (
        Signature(lists(("6379", "6383", "6381"), 1), layout="CHW", whole=("6381",)),
        {"labels": "coco80", "family": "maskrcnn"}, {}, "maskrcnn-benchmark", "corner",
        {"color": "bgr", "scale": 1.0}),
    "efficientdet of automl": (
        Signature({"detections:0": flat7("image", "yxyx", "score", "class1")[None]},
                  image_type=UINT8, layout="NHWC"),
        {"labels": "coco80"}, {}, "EfficientDet", "corner", {"scale": 1.0}),
    "columns named": (
        Signature({"batchno_classid_score_x1y1x2y2": flat7("image", "class", "score", "xyxy")}),
        {"labels": "coco80", "color": "rgb", "scale": 1 / 255}, {}, "columns named", "center", {}),
    "nanodet by stride": (Signature(by_stride(8)), {}, {}, "NanoDet", "stretch",
                          {"color": "bgr", "mean": [103.53, 116.28, 123.675]}),
    "nanodet-g": (Signature(by_stride(11)), {}, {}, "NanoDet", "stretch", {}),
    "transformers": (Signature({**queries(4), "enc_topk_logits": queries(4)["logits"],
                                "enc_topk_bboxes": queries(4)["pred_boxes"] + np.inf},
                               image="pixel_values", free=(0, 1, 2, 3)), {},
                     {"config.json": json.dumps(HF),
                      "preprocessor_config.json": json.dumps(HF_PICTURE)},
                     "deformable DETR", "stretch", {"mean": [0.5, 0.5, 0.5]}),
    "paddle": (Signature({"fetch_name_0": flat7("class", "score", "xyxy")}, image="image",
                         inputs={"scale_factor": (1, [1, 2])}),
               {}, {"infer_cfg.yml": PADDLE}, "PaddleDetection", "stretch",
               {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}),
    "mmdeploy": (Signature(mmdet(), whole=("labels",)), {"labels": "coco80"},
                 {"pipeline.json": json.dumps({"pipeline": {"tasks": [{"transforms": [
                     {"type": "Resize", "keep_ratio": True},
                     {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": True},
                     {"type": "Pad", "pad_val": {"img": [114]}}]}]}})},
                 "mmdetection", "corner", {"color": "rgb", "mean": [1.0, 2.0, 3.0]}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_known_boxes_of_an_export_are_found(tmp_path: Path, name: str) -> None:
    signature, said, beside, family, resize, wanted = EXPORTS[name]
    path = graphs.write(tmp_path / "my model (1).onnx", signature)
    for file, text in beside.items():
        (tmp_path / file).write_text(text)
    config = tmp_path / next(iter(beside)) if beside else None
    bundle, seen, recognised = bring(path, said, config=config)
    assert family in recognised.family
    assert bundle.manifest.name == "my_model_1"
    check(seen, resize)
    for option, value in wanted.items():
        assert bundle.manifest.preprocessing[option] == pytest.approx(value), option


def with_plugin(path: Path, operator: str, attributes: dict[str, Any]) -> None:
    """Put TensorRT's suppression behind the two outputs, as exporters of YOLO do."""
    model = onnx.load(str(path))
    names = [value.name for value in model.graph.output]
    outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    model.graph.node.append(
        onnx.helper.make_node(operator, names, outputs, domain="TRT", **attributes)
    )
    del model.graph.output[:]
    shapes = ([1, 1], [1, 100, 4], [1, 100], [1, 100])
    for output, kind, shape in zip(outputs, (6, 1, 1, 6), shapes, strict=True):
        model.graph.output.append(onnx.helper.make_tensor_value_info(output, kind, shape))
    model.opset_import.append(onnx.helper.make_opsetid("TRT", 1))
    onnx.save(model, str(path))


def _turned(how: str, path: Path) -> Path:
    """A graph that turns BGR to RGB itself and divides by 255, as wrappers around YOLO do."""
    signature = Signature(
        {"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS, first=(("Div", 255.0),)
    )
    model = onnx.load(str(graphs.write(path, signature)))
    node = onnx.helper.make_node
    last = next(n for n in model.graph.node if n.op_type == "Cast")
    source, last.output[0] = last.output[0], "as_given"
    weights = {"turned": [2, 1, 0], "end": [-(2**62)], "axis": [1], "back": [-1]}
    thirds = ["red", "green", "blue"]
    nodes = {
        "gather": [node("Gather", ["as_given", "turned"], [source], axis=1)],
        "slice": [node("Slice", ["as_given", "back", "end", "axis", "back"], [source])],
        "split": [
            node("Split", ["as_given"], thirds, axis=1),
            node("Concat", thirds[::-1], [source], axis=1),
        ],
        "split, not turned": [
            node("Split", ["as_given"], thirds, axis=1),
            node("Concat", thirds, [source], axis=1),
        ],
    }[how]
    for k, step in enumerate(nodes):
        model.graph.node.insert(1 + k, step)
    constants = (onnx.numpy_helper.from_array(np.array(v), n) for n, v in weights.items())
    model.graph.initializer.extend(constants)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("how", ["gather", "slice", "split", "split, not turned"])
def test_an_order_of_colours_that_the_graph_turns_is_not_turned_twice(
    tmp_path: Path, how: str
) -> None:
    found = recognise(_turned(how, tmp_path / "model.onnx"))
    wanted = "rgb" if how == "split, not turned" else "bgr"
    assert found.manifest["preprocessing"]["color"] == wanted
    assert found.manifest["preprocessing"]["scale"] == 1.0  # what comes behind it is seen
    whys = {row.name: row.why for row in found.assumptions}
    assert ("turns it to rgb itself" in whys["color"]) is (wanted == "bgr")


def test_a_suppression_of_tensorrt_is_done_by_the_adapter(tmp_path: Path) -> None:
    boxes, scores = dense((8, 16, 32), 80)
    path = graphs.write(tmp_path / "yolov7-tiny.onnx", Signature({"b": boxes, "s": scores}))
    attributes = {"iou_threshold": 0.6, "score_threshold": 0.2, "box_coding": 0}
    with_plugin(path, "EfficientNMS_TRT", attributes)
    bundle, seen, recognised = bring(path, {})
    assert recognised.family == "YOLO end to end"
    assert bundle.manifest.postprocessing["overlap_threshold"] == pytest.approx(0.6)
    assert any(row.name == "suppression" for row in recognised.assumptions)
    check(seen, "center")
    with_plugin(path, "RotatedNMS_TRT", {})
    with pytest.raises(EdgePerceptionError, match="TRT::RotatedNMS_TRT: export it without"):
        recognise(path)


def test_a_newer_ir_version_is_written_as_one_that_runtimes_know(tmp_path: Path) -> None:
    signature = Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS)
    path = graphs.write(tmp_path / "new.onnx", signature)
    model = onnx.load(str(path))
    model.ir_version = 99
    onnx.save(model, str(path))
    bundle, seen, recognised = bring(path, {})
    check(seen, "center")
    assert ("ir_version", "10, the file has 99") in {
        (r.name, r.value) for r in recognised.assumptions
    }
    assert onnx.load(str(bundle.model_path)).ir_version == 10


def for_four(path: Path) -> None:
    """Make the graph one whose numbers of pictures are written into it."""
    model = onnx.load(str(path))
    (output,) = model.graph.output
    last = next(node for node in model.graph.node if output.name in node.output)
    last.output[0] = "once"
    four = onnx.numpy_helper.from_array(np.array([4, 1, 1], np.int64), "four")
    model.graph.initializer.append(four)
    model.graph.node.append(onnx.helper.make_node("Tile", ["once", "four"], [output.name]))
    output.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, str(path))


MASKS = {"output0": graphs.v8(4 + 32), "output1": np.zeros((1, 32, 40, 60), np.float32)}
REFUSED: dict[str, tuple[Signature, dict, str]] = {
    "masks": (Signature(MASKS), {}, "'output1' (1, 32, 40, 60) are prototypes of masks"),
    "masks of v5": (
        Signature({"output0": graphs.v5(36), "output1": MASKS["output1"]},
                  metadata={"names": str(NAMES)}), {}, "prototypes of masks"),
    "keypoints": (Signature({"output0": graphs.v8(1 + 51)}, metadata={"names": "['person']"}), {},
                  "51 numbers more than box and classes: keypoints"),
    "an angle": (Signature({"output0": graphs.v8(4 + 1)}, metadata={"names": str(NAMES)}), {},
                 "an angle"),
    "masks of rf-detr": (
        Signature({"dets": graphs.queries(91)[1], "labels": graphs.queries(91)[0],
                   "masks": np.zeros((1, 100, 16, 24))}), {}, "'masks' (1, 100, 16, 24) are masks"),
    "four pictures": (Signature({"output0": columns((8, 16, 32))}, batch=4), {},
                      "is made for 4 pictures at once"),
    "int8 in": (Signature({"output0": columns((8, 16, 32))}, image_type=INT8), {}, "got int8"),
    "mmdet alone": (Signature(mmdet(), whole=("labels",)), {"labels": "coco80"},
                    "--config FILE (pipeline.json of mmdeploy"),
    "lists without names": (Signature(lists(("a", "b", "c"), 1), whole=("c",)), {},
                            "family=torchvision"),
    "columns named alone": (
        Signature({"batchno_classid_score_x1y1x2y2": flat7("image", "class", "score", "xyxy")}),
        {"labels": "coco80"}, "--assume color=rgb|bgr"),
    "lists of shares": (
        Signature(lists(("detected_boxes", "detected_scores", "detected_classes"), 0)),
        {"labels": "coco80"}, "family=torchvision"),
    "255 inside, no mean": (
        Signature(queries(92), image="pixel_values", first=(("Div", 255.0),)), {},
        "takes no mean off: --assume mean=[0,0,0] where it does so later, or "
        "--assume mean=[123.675, 116.28, 103.53]; --assume std=[58.395, 57.12, 57.375]"),
    "two pictures": (
        Signature({"output0": graphs.v8()}, inputs={"before": (1, [1, 3, 64, 96])}), {},
        "'images' (1, 3, 64, 96), 'before' (1, 3, 64, 96) may each be the picture"),
    "a few rows, of whom": (
        Signature({"output": graphs.rows6()[:, :100]}), {"labels": "coco80"},
        "family: --assume family=yolo (of 0 to 1, letterbox, classes from 0) or effdet"),
    "a classifier": (Signature({"output0": np.zeros((1, 1000))}), {},
                     "'output0' (1, 1000) (1000 numbers a picture and no boxes: as of a class"),
    "segmentation": (Signature({"out": np.zeros((1, 19, 64, 96))}), {},
                     "(a map as large as the picture: as of segmentation or depth)"),
    "five axes": (Signature({"dets": np.zeros((1, 3, 6, 100, 32))}), {}, "any family that is"),
    "two heads": (Signature({"output0": graphs.v8(), "1902": graphs.v8()}), {},
                  '--assume outputs=["output0"] or ["1902"]'),
    "pp-yoloe of two kinds": (
        Signature({"tmp_16": dense((8, 16, 32), 80)[0],
                   "concat": dense((8, 16, 32), 80)[1].transpose(0, 2, 1)}), {},
        "normalise: --config infer_cfg.yml, or --assume normalise=imagenet (PicoDet, PP-YOLOE)"),
    "boxes and scores": (Signature(dict(zip("ab", dense((8, 16, 32), 80), strict=True))), {},
                         "family=yolo|yolox|yolonas|ppyoloe"),
    "libreyolo's fcos": (
        Signature({"output": columns((8, 16, 32))}, metadata=libre("fcos")), {"color": "rgb"},
        "scale: of 'fcos' it is not known: --assume scale="),
    "v5 in maps, anchors not said": (Signature(graphs.v5_maps(ANCHORS["v5"])), {},
                                     "--assume anchors=v5|v7|v7-tiny"),
    "by stride, unknown": (
        Signature({n.replace("_pred", ""): v for n, v in by_stride(8).items()}, image="i"), {},
        "family=nanodet|picodet"),
    "an input that is no number": (
        Signature({"output0": columns((8, 16, 32))}, inputs={"scale": (1, [1, 2])}),
        {"input.scale": "abc"}, "expected numbers such as [[1, 1]]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_detector_or_not_told_is_refused_by_name(tmp_path: Path, name: str) -> None:
    signature, said, text = REFUSED[name]
    path = graphs.write(tmp_path / "model.onnx", signature)
    if name == "four pictures":
        for_four(path)
    with pytest.raises(EdgePerceptionError) as caught:
        bring(path, said)
    assert text in str(caught.value)


def test_a_second_picture_that_is_always_the_same_is_said_by_one_number(tmp_path: Path) -> None:
    signature = Signature(
        {"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS,
        inputs={"before": (1, [1, 3, 64, "width"])}, free=(0, 3),
    )  # fmt: skip
    path = graphs.write(tmp_path / "model.onnx", signature)
    bundle, seen, _ = bring(path, {"input.before": 0.5, "size": "96x64"})
    check(seen, "center")
    model = onnx.load(str(bundle.model_path))
    (constant,) = (t for t in model.graph.initializer if t.name == "before")
    values = onnx.numpy_helper.to_array(constant)
    assert values.shape == (1, 3, 64, 96)
    assert (values == 0.5).all()


def test_a_batch_that_is_written_into_the_graph_is_named(tmp_path: Path) -> None:
    """As a Reshape to 4 pictures in the middle: the graph does not even run with one."""
    signature = Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS, batch=4)
    path = graphs.write(tmp_path / "model.onnx", signature)
    model = onnx.load(str(path))
    cast = next(n for n in model.graph.node if n.op_type == "Cast")
    source, cast.output[0] = cast.output[0], "flat"
    model.graph.node.insert(1, onnx.helper.make_node("Reshape", ["flat", "four"], [source]))
    four = onnx.numpy_helper.from_array(np.array([4, 3, 64, 96]), "four")
    model.graph.initializer.append(four)
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="is made for 4 pictures at once and cannot take one"):
        recognise(path)


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        (
            "config.json",
            json.dumps({**HF, "model_type": "mask2former"}),
            "model_type: expected one",
        ),
        ("config.json", json.dumps({**HF, "id2label": {"0": "car"}}), "names 1"),
        ("config.json", "{", "expected JSON"),
        ("config.json", "[]", "expected PaddleDetection's infer_cfg.yml"),
        ("infer_cfg.yml", "Preprocess: [{type: Resize, target_size: 3}]", "not as exporters write"),
        ("rtmdet.py", "model = dict(", "expected Python"),
        ("rtmdet.py", "_base_ = 'rtmdet.py'", "is its own base"),
        ("rtmdet.py", "_base_ = './none.py'", "its base 'none.py' is not there"),
        ("rtmdet.py", "import os\nos.abort()\nmodel = dict(type=exit())", "data_preprocessor"),
    ],
)
def test_files_beside_that_say_something_else(
    tmp_path: Path, file: str, content: str, text: str
) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature(queries(4), image="pixel_values"))
    (tmp_path / file).write_text(content)
    with pytest.raises(EdgePerceptionError) as caught:
        recognise(path, config=tmp_path / file)
    assert text in str(caught.value)


@pytest.mark.parametrize("columns", [4, 80])
def test_placeholders_are_no_class_names(tmp_path: Path, columns: int) -> None:
    """Of as many classes as COCO has, a configuration without names does not say that they are."""
    path = graphs.write(tmp_path / "model.onnx", Signature(queries(columns), image="pixel_values"))
    unnamed = {str(k): f"LABEL_{k}" for k in range(columns)}
    (tmp_path / "config.json").write_text(json.dumps({**HF, "id2label": unnamed}))
    with pytest.raises(ModelError, match=r"only placeholders, LABEL_0 and so on: --labels FILE"):
        recognise(path, config=tmp_path / "config.json")
    names = [f"thing {k}" for k in range(columns)]
    told = recognise(path, config=tmp_path / "config.json", said={"labels": names})
    assert told.family == "deformable DETR"


def test_of_steps_that_come_twice_the_first_pads_and_a_square_is_the_size(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"type": "Resize", "keep_ratio": True, "size": [640, 640]},
        {"type": "Pad", "size": [640, 640], "pad_val": {"img": [114, 114, 114]}},
        {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": False},
        {"type": "Pad", "size_divisor": 32},
    ]
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps({"pipeline": {"tasks": [{"transforms": steps}]}}))
    told = read_picture_config(path).preprocessing
    assert told["pad_value"] == pytest.approx(114.0)
    assert told["size"] == [640, 640]
    steps[1]["size"] = [640, 384]  # its versions do not agree on which side comes first
    path.write_text(json.dumps({"pipeline": {"tasks": [{"transforms": steps}]}}))
    assert "size" not in read_picture_config(path).preprocessing
    python = tmp_path / "rtmdet.py"
    python.write_text(
        MMDET.replace("['base.py']", "[]").replace("std=", "mean=[1, 2, 3], std=")
        + "test_pipeline = [dict(type='Pad', size=(96, 64))]"
    )
    assert read_picture_config(python).preprocessing["size"] == [96, 64]


def test_paper_numbers_of_transformers_are_those_of_coco(tmp_path: Path) -> None:
    """`id2label` of DETR has N/A where COCO's paper has numbers that nothing is annotated with."""
    signature = Signature(
        {"logits": graphs.detr_logits({0: 1, 2: 3}), "pred_boxes": graphs.queries(3)[1]}
    )
    path = graphs.write(tmp_path / "detr.onnx", signature)
    names = iter(COCO_LABELS)
    absent = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    numbered = {k: "N/A" if k in absent else next(names) for k in range(91)}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr", "id2label": numbered}))
    bundle, seen, _ = bring(path, {}, config=tmp_path / "config.json")
    check(seen, "stretch")
    assert bundle.manifest.postprocessing["classes"]["person"] == "pedestrian"


@pytest.mark.parametrize(
    ("modules", "columns", "family", "mean"),
    [
        ((), 80, "RT-DETR or D-FINE", 0.0),
        (("decoder.layers.0.encoder_attn.sampling_offsets",), 80, "deformable DETR", 0.485),
        (("decoder.0.sampling_offsets", "enc_score_head"), 7, "RT-DETR", 0.0),
        (("decoder.0.sampling_offsets", "decoder/lqe_layers.0"), 7, "D-FINE or DEIM", 0.0),
        (("0.sampling_offsets", "enc_out_class_embed.0"), 91, "RF-DETR or LW-DETR", 0.485),
        (("decoder.0.ca_qpos_sine_proj", "class_labels_classifier"), 91, "conditional DETR", 0.485),
        (("embeddings.detection_tokens", "class_labels_classifier"), 8, "YOLOS", 0.485),
        (("class_labels_classifier",), 8, "DETR", 0.485),
    ],
)
def test_kin_of_detr_are_told_apart_by_their_modules(
    tmp_path: Path, modules: tuple[str, ...], columns: int, family: str, mean: float
) -> None:
    """Their outputs are alike, and pictures are normalised for some of them only."""
    heads = queries(columns)
    path = graphs.write(tmp_path / "model.onnx", Signature(heads, image="pixel_values"))
    model = onnx.load(str(path))
    for node, module in zip(model.graph.node, modules, strict=False):
        node.name = f"/m/model/{module}/Add"
    onnx.save(model, str(path))
    softmax = family in ("YOLOS", "DETR")
    labels = [f"thing {k}" for k in range(columns - softmax)]
    found = recognise(path, labels=labels)
    assert found.family == family
    assert found.manifest["preprocessing"].get("mean", [0.0])[0] == mean
    assert found.manifest["postprocessing"]["none_class"] is softmax


def test_rf_detr_that_was_trained_further_has_a_column_more_than_names(tmp_path: Path) -> None:
    logits, boxes = graphs.queries(4)
    logits[..., 3] = 5.0  # what is in that column says nothing
    path = graphs.write(tmp_path / "model.onnx", Signature({"dets": boxes, "labels": logits}))
    names = ["person", "bicycle", "car"]
    found = recognise(path, labels=names)
    assert found.manifest["postprocessing"]["none_class"] is True
    bundle, seen, _ = bring(path, {"labels": names})
    check(seen, "stretch")
    assert bundle.manifest.preprocessing["mean"] == [0.485, 0.456, 0.406]
    whole = recognise(path, labels=[*names, "tram"])
    assert whole.manifest["postprocessing"]["none_class"] is False


@pytest.mark.parametrize(
    ("size", "resize"),
    [
        ({"size": {"height": 64, "width": 96}, "do_pad": True}, "stretch"),
        ({"size": {"shortest_edge": 64, "longest_edge": 96}}, "letterbox"),
        ({"size": 64, "max_size": 96}, "letterbox"),  # before 4.26
        ({"size": 64, "do_pad": False}, "stretch"),
    ],
)
def test_a_height_and_a_width_stretch_pictures_however_several_are_padded(
    tmp_path: Path, size: dict[str, Any], resize: str
) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**HF_PICTURE, "do_pad": False, **size}))
    assert read_picture_config(path).preprocessing["resize"] == resize


@pytest.mark.parametrize(
    ("file", "text", "wanted"),
    [
        ("data.yaml", "train: x\nnames:\n  0: car\n  1: van", ["car", "van"]),
        ("data.yml", "names: [car, van]", ["car", "van"]),
        ("config.json", '{"id2label": {"0": "car", "2": "van"}}', ["car", "unused_1", "van"]),
        ("names.json", '["car", "van"]', ["car", "van"]),
        ("map.pbtxt", "item {\nid: 2 name: 'x'\ndisplay_name: \"van\"\n}\nitem {name: 'car' id: 1}",
         ["unused_0", "car", "van"]),
    ],
)  # fmt: skip
def test_class_names_in_the_files_that_people_have(
    tmp_path: Path, file: str, text: str, wanted: list[str]
) -> None:
    (tmp_path / file).write_text(text)
    assert read_labels(tmp_path / file) == wanted
    (tmp_path / file).write_text("[{}]")
    with pytest.raises(ModelError, match=r"expected (names|class names|numbers)"):
        read_labels(tmp_path / file)


@pytest.mark.parametrize("first", ["__background__", "N/A", "unused_0"])
def test_names_that_begin_with_the_background_are_counted_from_0(
    tmp_path: Path, first: str
) -> None:
    heads = lists(("boxes", "scores", "labels"), 1)
    path = graphs.write(tmp_path / "torchvision.onnx", Signature(heads, layout="CHW"))
    names = [first, "person", "bicycle", "car"]
    assert recognise(path, labels=names).manifest["postprocessing"]["first_class"] == 0
    assert recognise(path, labels=names[1:]).manifest["postprocessing"]["first_class"] == 1


def _maps(
    anchors: tuple[int, ...], classes: int, strides: tuple[int, ...] = (8, 16, 32)
) -> dict[str, np.ndarray]:
    """Two maps a stride: boxes and classes of so many anchors."""
    grids = zip(strides, anchors, strict=True)
    return {
        f"{what}_{stride}": np.zeros((1, a * width, 64 // stride, 96 // stride), np.float32)
        for stride, a in grids
        for what, width in (("box", 4), ("cls", classes))
    }


def _anchor_rows(names: tuple[str, str], count: int, classes: int) -> dict[str, np.ndarray]:
    widths = zip(names, (classes, 4), strict=True)
    return {name: np.zeros((1, count, width), np.float32) for name, width in widths}


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        (_anchor_rows(("cls_logits", "bbox_regression"), 9 * 129, 91),  # of torchvision's head
         r"'bbox_regression' has 1161 boxes, 9 a cell of strides 8 to 128: offsets from anchors"),
        (_anchor_rows(("conf", "loc"), 8732, 21), "'loc' has 8732 boxes: offsets from anchors"),
        (_maps((9, 9, 9), 80), "3 grids have a map of boxes and one of their classes"),
        (_maps((4, 6, 6), 21), "3 grids have a map of boxes and one of their classes"),  # SSD
        (_maps((1, 1, 1, 1), 80, strides=(4, 8, 16, 32)),
         "4 grids have a map of boxes and one of their classes"),
    ],
)  # fmt: skip
def test_offsets_from_anchors_are_refused_by_what_they_lack(
    tmp_path: Path, heads: dict[str, np.ndarray], told: str
) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature(heads))
    with pytest.raises(ModelError, match=told) as refused:
        recognise(path)
    assert "are not in the graph: export it with its postprocessing" in str(refused.value)


@pytest.mark.parametrize(
    ("passes", "family", "resize"),
    [
        (("Softmax",), "SSD of torchvision", "stretch"),  # each picture squeezed onto a square
        (("Softmax", "Sigmoid"), "torchvision", "corner"),  # RetinaNet on a transformer
        (("Sigmoid",), "torchvision", "corner"),
    ],
)
def test_torchvisions_ssd_alone_takes_pictures_that_are_squeezed(
    tmp_path: Path, passes: tuple[str, ...], family: str, resize: str
) -> None:
    heads = lists(("boxes", "scores", "labels"), 1)
    path = graphs.write(tmp_path / "m.onnx", Signature(heads, layout="CHW", passes=passes))
    _, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == family
    check(seen, resize)


def test_boxes_cut_at_the_edge_are_no_corners_in_the_wrong_order(tmp_path: Path) -> None:
    heads = lists(("boxes", "scores", "labels"), 1)
    path = graphs.write(tmp_path / "retina.onnx", Signature(heads, layout="CHW"))
    bundle, _, _ = bring(path, {"labels": "coco80"})
    boxes = np.array([[10.0, 10.0, 40.0, 50.0]] * 7 + [[96.0, 10.0, 96.0, 50.0]] * 3)
    found = Candidates(boxes=boxes, scores=np.full(10, 0.9), labels=np.zeros(10, np.int64))
    assert implausible(bundle.manifest, found) == []
    boxes[7:, 2] = 90.0
    assert "corners in the wrong order" in implausible(bundle.manifest, found)[0]


def test_a_graph_that_stops_at_numbers_of_0_to_255_is_tried_with_0_to_1(tmp_path: Path) -> None:
    heads = lists(("boxes", "scores", "labels"), 1)
    path = graphs.write(tmp_path / "rcnn.onnx", Signature(heads, layout="CHW"))
    model = onnx.load(str(path))
    node, weights = onnx.helper.make_node, {"two": np.array(2.0, np.float32)}
    weights |= {"one": np.array([1]), "keep": np.array([0, -1]), "wide": np.array([4])}
    position = next(k for k, n in enumerate(model.graph.node) if n.op_type == "ReduceMax")
    inside = [  # as many regions as 1 or 0: none where a number is above 2
        node("Less", ["most", "two"], ["few"]),
        node("Cast", ["few"], ["count"], to=7),
        node("Reshape", ["count", "one"], ["counts"]),
        node("Concat", ["counts", "wide"], ["shape"], axis=0),
        node("Expand", ["most", "shape"], ["regions"]),
        node("Reshape", ["regions", "keep"], ["flat"]),  # of no region it cannot be told
        node("ReduceMax", ["flat"], ["found"], keepdims=0),
    ]
    for k, item in enumerate(inside):
        model.graph.node.insert(position + 1 + k, item)
    last = next(n for n in model.graph.node if list(n.output) == ["nothing"])
    last.input[0] = "found"
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in weights.items())
    onnx.save(model, str(path))
    _, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "torchvision"
    check(seen, "corner")


def test_quantised_outputs_and_unknown_operator_sets_are_refused(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature({"output0": columns((8, 16, 32))}))
    model = onnx.load(str(path))
    newer = onnx.ModelProto.FromString(model.SerializeToString())
    newer.opset_import[0].version = 99
    onnx.save(newer, str(path))
    with pytest.raises(ModelError, match="operator set 99; expected 7 to 25"):
        recognise(path)
    model.graph.node[-1].output[0] = "exact"
    model.graph.node.append(onnx.helper.make_node("Cast", ["exact"], ["output0"], to=INT8))
    model.graph.output[0].type.tensor_type.elem_type = INT8
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="'output0' is int8, and its scale is not in the graph"):
        recognise(path)


def test_a_size_that_may_not_be_meant_is_told(tmp_path: Path) -> None:
    metadata = {**ULTRALYTICS, "imgsz": "[96, 64]"}  # height, width
    signature = Signature({"output0": columns((8, 16, 32))}, metadata=metadata)
    rows = recognise(graphs.write(tmp_path / "wide.onnx", signature)).assumptions
    why = {row.name: row.why for row in rows}["size"]
    assert why == "shape of the input; 'imgsz' of the metadata is 64x96 (width x height)"
    broken = Signature(signature.heads, metadata={**metadata, "imgsz": "large"})
    rows = recognise(graphs.write(tmp_path / "broken.onnx", broken)).assumptions
    assert {row.name: row.why for row in rows}["size"].endswith(
        "'imgsz' of the metadata is no size"
    )
    path = tmp_path / "high.onnx"
    model = onnx.load(str(graphs.write(path, signature)))
    sides = model.graph.input[0].type.tensor_type.shape.dim
    sides[2].dim_value, sides[3].dim_value = 96, 64
    onnx.save(model, str(path))
    why = {row.name: row.why for row in recognise(path).assumptions}["size"]
    assert why == "shape of the input, which is higher than wide: pictures of a road are wide"


def test_names_of_other_classes_and_newer_operators_are_told(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature({"output0": graphs.v8()}))
    with pytest.raises(ModelError, match="the outputs have 80 classes, 3 names are given"):
        recognise(path, said={"labels": ("a", "b", "c")})
    model = onnx.load(str(path))
    model.opset_import[0].version = 9
    model.graph.node.append(onnx.helper.make_node("GridSample", ["output0", "output0"], ["x"]))
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"GridSample \(not in operator set 9\)"):
        recognise(path)


def test_an_output_without_a_shape_gets_that_of_a_run_and_thin_boxes_are_told(
    tmp_path: Path,
) -> None:
    signature = Signature({"output0": columns((8, 16, 32))}, metadata=ULTRALYTICS)
    path = graphs.write(tmp_path / "model.onnx", signature)
    model = onnx.load(str(path))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, str(path))
    bundle, seen, _ = bring(path, {})
    check(seen, "center")
    thin = Candidates(
        boxes=np.array([[10.0, 10.0, 10.2, 50.0]] * 3),
        scores=np.full(3, 0.9),
        labels=np.zeros(3, np.int64),
    )
    assert "0.2 px thin" in implausible(bundle.manifest, thin)[0]
