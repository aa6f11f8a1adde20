"""Heads that were cut for NPUs, and families whose pictures are told by the names in the graph."""

from __future__ import annotations

from pathlib import Path

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import CELLS, NAMES, SIZE, TRUTH, Signature, center, corners, onnx
from foreign_imports import bring, check

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._yolo_levels_graph import ANCHORS
from edge_perception.releases.recognising import recognise

IMAGENET_MEAN = [0.485, 0.456, 0.406]
DOUBLE = onnx.TensorProto.DOUBLE
# scale_x_y of yolov3.cfg, yolov4.cfg and the tiny ones.
SCALES = {"v3": [1.0] * 3, "v4": [1.2, 1.1, 1.05], "v3-tiny": [1.0] * 2, "v4-tiny": [1.05] * 2}


def apart(order: tuple[int, ...] = (0, 1, 2), *, raised: bool, classes: int = 80) -> Signature:
    """Three maps a stride, as compilers for NPUs want the ends of a graph."""
    heads, logits = {}, []
    for stride, maps in graphs.yolox_maps(classes).items():
        for kind in order:
            name = f"{('reg', 'obj', 'cls')[kind]}_{stride}"
            heads[name] = maps[kind] if kind == 0 else graphs.logit(maps[kind])
            logits += [name] if kind and raised else []
    return Signature(heads, raised=tuple(logits))


def joined(path: Path, classes: int = 80) -> Path:
    """One map a stride, that joins the three: as YOLOX's head leaves them."""
    model = onnx.load(str(graphs.write(path, apart(raised=True, classes=classes))))
    del model.graph.output[:]
    for stride, (columns, rows) in CELLS.items():
        parts = [f"{kind}_{stride}" for kind in ("reg", "obj", "cls")]
        model.graph.node.append(onnx.helper.make_node("Concat", parts, [f"out{stride}"], axis=1))
        shape = [1, 5 + classes, rows, columns]
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"out{stride}", 1, shape))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("order", "raised", "classes"),
    [
        ((0, 1, 2), True, 80),
        ((2, 0, 1), True, 80),
        ((0, 1, 2), False, 80),  # the Sigmoid was cut off too
        ((0, 1, 2), True, 4),  # as many classes as sides
    ],
)
def test_yolox_in_maps_apart(
    tmp_path: Path, order: tuple[int, ...], raised: bool, classes: int
) -> None:
    path = graphs.write(tmp_path / "yolox.onnx", apart(order, raised=raised, classes=classes))
    labels = "coco80" if classes == 80 else list(NAMES.values())
    bundle, seen, recognised = bring(path, {"labels": labels})
    assert recognised.family == "YOLOX, a map a stride"
    assert bundle.manifest.preprocessing["color"] == "bgr"
    assert bundle.manifest.preprocessing["scale"] == 1.0
    check(seen, "corner")
    whys = {row.name: row.why for row in recognised.assumptions}
    assert ("a Sigmoid is added" in whys["output"]) is not raised


@pytest.mark.parametrize("classes", [80, 4, 16])  # of 16 there are 21 channels, 3 times 7
def test_yolox_in_joined_maps_is_no_yolov8_of_other_classes(tmp_path: Path, classes: int) -> None:
    path = joined(tmp_path / "yolox_rknn.onnx", classes)
    names = [*NAMES.values(), *(f"thing {k}" for k in range(12))][:classes]
    _, seen, recognised = bring(path, {"labels": "coco80" if classes == 80 else names})
    assert recognised.family == "YOLOX, a map a stride"
    check(seen, "corner")


def with_module(path: Path, module: str) -> Path:
    """Name a node as exporters do, after the module that it comes from."""
    model = onnx.load(str(path))
    model.graph.node[-1].name = f"/model/{module}/Add"
    onnx.save(model, str(path))
    return path


def share(row: int) -> np.ndarray:
    return corners(row) / np.tile(SIZE, 2)


def with_sizes(path: Path) -> Path:
    """As RT-DETR and its kin: boxes in px of a picture whose size is an input."""
    heads = graphs.lists(("boxes", "scores", "labels"), 0, share, batch=True)
    signature = Signature(
        heads, inputs={"orig_target_sizes": (7, [1, 2])}, times="boxes", whole=("labels",)
    )
    return graphs.write(path, signature)


def test_of_deimv2_those_on_dinov3_take_pictures_normalised(tmp_path: Path) -> None:
    """As its inference does: the others take numbers of 0 to 1."""
    path = with_sizes(tmp_path / "deimv2.onnx")
    said = {"labels": "coco80"}
    plain = recognise(path, labels=COCO_LABELS)
    assert plain.manifest["preprocessing"].get("mean", [0.0] * 3) == [0.0] * 3
    with_module(path, "backbone/dinov3/blocks.0")
    bundle, seen, recognised = bring(path, said)
    assert recognised.family == "DEIMv2 on DINOv3 with postprocessing"
    assert bundle.manifest.preprocessing["mean"] == pytest.approx(IMAGENET_MEAN)
    check(seen, "stretch")
    logits, boxes = graphs.queries(80)
    queries = Signature({"logits": logits, "pred_boxes": boxes})
    path = with_module(graphs.write(tmp_path / "raw.onnx", queries), "backbone/dinov3/blocks.0")
    assert recognise(path).manifest["preprocessing"]["mean"] == pytest.approx(IMAGENET_MEAN)


@pytest.mark.parametrize(
    "first",
    [
        (("Sub", [103.53, 116.28, 123.675]),),  # of Caffe's weights, deviations of 1
        (("Sub", [103.53, 116.28, 123.675]), ("Div", [57.375, 57.12, 58.395])),
    ],
)
def test_detectron2_takes_the_mean_off_itself_and_counts_from_0(
    tmp_path: Path, first: tuple
) -> None:
    heads = graphs.lists(("1201", "1190", "1188"), 0, corners, batch=False)
    path = graphs.write(
        tmp_path / "model.onnx", Signature(heads, layout="CHW", whole=("1188",), first=first)
    )
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "Detectron2"
    prepared = bundle.manifest.preprocessing
    assert (prepared["color"], prepared["scale"]) == ("bgr", 1.0)
    assert prepared.get("mean", [0.0] * 3) == [0.0] * 3  # not twice
    check(seen, "corner")


def test_damo_yolo_takes_pixels_as_they_are(tmp_path: Path) -> None:
    """Its outputs are called as those of YOLO, which takes 0 to 1 and keeps the shape."""
    heads = graphs.lists(("det_boxes", "det_scores", "det_classes"), 0, corners, batch=True)
    heads = {"num_dets": np.array([[3.0]], np.float32), **heads}
    path = graphs.write(tmp_path / "damo.onnx", Signature(heads))
    assert recognise(path, labels=COCO_LABELS).family == "YOLO end to end"
    with_module(path, "head/gfl_cls.0")
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "DAMO-YOLO end to end"
    prepared = bundle.manifest.preprocessing
    assert (prepared["color"], prepared["scale"]) == ("rgb", 1.0)
    check(seen, "stretch")


@pytest.mark.parametrize("said", [{}, {"family": "damoyolo"}])
def test_damo_yolo_without_suppression(tmp_path: Path, said: dict[str, str]) -> None:
    rows = graphs.v8()[0].T
    boxes, scores = np.zeros((1, graphs.ROWS, 4), np.float32), rows[None, :, 4:]
    boxes[..., 2:] = 5.0
    for row in range(len(TRUTH)):
        boxes[0, 40 * row + 7] = corners(row)
    path = graphs.write(tmp_path / "m.onnx", Signature({"output": scores, "952": boxes}))
    if not said:
        with pytest.raises(ModelError, match=r"ppyoloe\|damoyolo"):
            recognise(path)
        with_module(path, "head/gfl_cls.0")
    _, seen, recognised = bring(path, said)
    assert recognised.family == "DAMO-YOLO"
    check(seen, "stretch")


def test_pictures_of_64_bits_are_cast_at_the_edge(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "m.onnx", Signature({"output0": graphs.v8()}, image_type=DOUBLE))
    bundle, seen, recognised = bring(path, {})
    assert bundle.manifest.inputs[0].dtype == "float32"
    assert ("input_type", "float64") in {(r.name, r.value) for r in recognised.assumptions}
    check(seen, "center")


def rows_of_seven(path: Path, *, class_last: bool) -> Path:
    """Image, corners, and class and score in either order, joined of parts as exporters do."""
    heads = {"image": np.zeros((2, 1)), "box": np.stack([corners(k) for k in range(2)])}
    heads["label"] = np.array([[label] for label, *_ in TRUTH])
    heads["score"] = np.array([[score] for _, score, _ in TRUTH])
    signature = Signature({n: v.astype(np.float32) for n, v in heads.items()}, whole=("label",))
    model = onnx.load(str(graphs.write(path, signature)))
    del model.graph.output[:]
    order = ["score", "label_f"] if class_last else ["label_f", "score"]
    model.graph.node.append(onnx.helper.make_node("Cast", ["label"], ["label_f"], to=1))
    model.graph.node.append(
        onnx.helper.make_node("Concat", ["image", "box", *order], ["detections"], axis=1)
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info("detections", 1, ["n", 7]))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("class_last", [True, False])  # as Frigate wants it; as YOLOv7 has it
def test_which_of_two_columns_is_the_class_is_seen_by_its_cast(
    tmp_path: Path, class_last: bool
) -> None:
    path = rows_of_seven(tmp_path / "m.onnx", class_last=class_last)
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert bundle.manifest.postprocessing["class_column"] == (6 if class_last else 5)
    whys = {row.name: row.why for row in recognised.assumptions}
    assert whys["score_column"] == "a Cast makes the classes"
    check(seen, "center")


def raw_yolox(*, decoded: bool) -> np.ndarray:
    """Rows of all cells whose inner shapes nothing tells; offsets that a network would give."""
    rng = np.random.default_rng(0)
    rows, first = np.full((1, graphs.ROWS, 85), 1e-5, np.float32), 0
    for stride, (columns, lines) in CELLS.items():
        y, x = np.divmod(np.arange(columns * lines), columns)
        part = rows[0, first : first + columns * lines]
        part[:, :4] = rng.normal(0.5, 0.3, (len(part), 4))
        own = np.stack([x, y], axis=1)
        if stride == 16:
            for row, (label, score, _) in enumerate(TRUTH):
                middle = center(row)[:2] / stride
                cell = int(middle[1]) * columns + int(middle[0])
                part[cell, :4] = *(middle - own[cell]), *np.log(center(row)[2:] / stride)
                part[cell, 4], part[cell, 5 + label] = score / 0.95, 0.95
        if decoded:
            part[:, :2] = (part[:, :2] + own) * stride
            part[:, 2:4] = np.exp(part[:, 2:4]) * stride
        first += columns * lines
    return rows


@pytest.mark.parametrize("decoded", [False, True])
def test_yolox_whose_inside_is_not_known_is_told_from_yolov6_by_its_boxes(
    tmp_path: Path, decoded: bool
) -> None:
    """As a quantised graph of ONNX Runtime's own operators, of which no shapes are inferred."""
    path = graphs.write(tmp_path / "m.onnx", Signature({"output": raw_yolox(decoded=decoded)}))
    _, seen, recognised = bring(path, {})
    assert recognised.family == ("YOLOv6" if decoded else "YOLOX")
    check(seen, "center" if decoded else "corner")


def test_a_long_list_whose_length_follows_the_picture_is_padded(tmp_path: Path) -> None:
    """Of a suppression class by class more rows come than usual, and not always as many."""
    rows = np.zeros((1, 500, 6), np.float32)
    for row, (label, score, box) in enumerate(TRUTH):
        rows[0, 340 + row] = (*box, score, label)
    path = graphs.write(tmp_path / "m.onnx", Signature({"rows": rows}))
    model, node = onnx.load(str(path)), onnx.helper.make_node
    weights = {"few": np.array([345]), "more": np.array([55]), "begin": np.array([0])}
    weights |= {"axis": np.array([1]), "dim": np.array(1.0, np.float32), "one": np.array([1])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in weights.items())
    model.graph.node.extend(
        [
            node("Less", ["most", "dim"], ["dark"]),  # 400 rows in the dark, else 345
            node("Cast", ["dark"], ["is_dark"], to=7),
            node("Reshape", ["is_dark", "one"], ["whether"]),
            node("Mul", ["whether", "more"], ["added"]),
            node("Add", ["few", "added"], ["count"]),
            node("Slice", ["rows", "begin", "count", "axis"], ["output0"]),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("output0", 1, [1, "n", 6]))
    onnx.save(model, str(path))
    bundle, seen, recognised = bring(path, {"labels": "coco80", "family": "yolo"})
    assert bundle.manifest.outputs[0].shape == (1, 800, 6)
    assert any("padded to 800 rows" in row.value for row in recognised.assumptions)
    check(seen, "center")


@pytest.mark.parametrize("deep", [False, True])
def test_best_score_and_class_of_each_cell_are_suppressed_here(tmp_path: Path, deep: bool) -> None:
    """As Qualcomm's AI Hub exports YOLO, and as RTMDet's decoding gives it."""
    size = (320, 256)  # more cells than a list of detections has rows
    cells = sum((size[0] // s) * (size[1] // s) for s in (8, 16, 32))
    boxes, scores = np.zeros((1, cells, 4), np.float32), np.zeros((1, cells), np.float32)
    labels, first = np.zeros((1, cells), np.float32), 0
    for stride in (8, 16, 32):
        columns, lines = size[0] // stride, size[1] // stride
        y, x = np.divmod(np.arange(columns * lines), columns)
        low = np.stack([x, y], axis=1) * stride
        boxes[0, first : first + len(x)] = np.concatenate([low, low + stride], axis=1)
        first += len(x)
    rng = np.random.default_rng(0)
    scores[:] = rng.uniform(0, 0.01, scores.shape)
    for row in (70, 71):  # one thing, found by two cells: of their boxes three fifths are shared
        left = 20 * (row - 66)
        boxes[0, row], scores[0, row] = (left, 64, left + 80, 128), 0.9 - row / 1000
        labels[0, row] = 2
    heads = {"boxes": boxes, "scores": scores, "class_idx": labels}
    if deep:
        heads = {**heads, "scores": scores[..., None], "class_idx": labels[..., None]}
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    model = onnx.load(str(path))
    for axis, length in ((2, size[1]), (3, size[0])):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = length
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"family: --assume family=torchvision"):
        recognise(path, labels=COCO_LABELS)
    bundle, seen, _ = bring(path, {"labels": "coco80", "family": "yolo"})
    post = bundle.manifest.postprocessing
    assert (post["box"], post["box_unit"], post["first_class"]) == ("xyxy", "px", 0)
    assert [(o.class_name, round(o.score, 2)) for o in seen.objects] == [("car", 0.83)]


def yolov6_for_rknn(path: Path, bins: int, classes: int = 80) -> Path:
    """As its exporter: sides, classes of a Sigmoid, and their sum within 0 and 1."""
    heads = {}
    for stride, (sides, kinds) in graphs.side_maps(0.5, bins, classes=classes).items():
        heads |= {f"reg_{stride}": sides, f"cls_{stride}": graphs.logit(kinds)}
        heads[f"sum_{stride}"] = kinds[:, :1]
    logits = tuple(name for name in heads if name.startswith("cls"))
    model = onnx.load(str(graphs.write(path, Signature(heads, raised=logits))))
    nodes = {node.output[0]: node for node in model.graph.node}
    constants = {"axis": np.array([1]), "low": np.float32(0), "high": np.float32(1)}
    for stride in CELLS:
        made = [
            onnx.helper.make_node("ReduceSum", [f"cls_{stride}", "axis"], [f"all_{stride}"]),
            onnx.helper.make_node("Clip", [f"all_{stride}", "low", "high"], [f"sum_{stride}"]),
        ]
        model.graph.node.remove(nodes[f"sum_{stride}"])
        model.graph.node.extend(made)
    tensors = (onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items())
    model.graph.initializer.extend(tensors)
    onnx.save(model, str(path))
    return path


def test_yolov6_for_rknn_gives_distances_in_strides_and_a_sum_that_is_no_objectness(
    tmp_path: Path,
) -> None:
    """airockchip/rknn_model_zoo, yolov6n: (1, 4, …), (1, 80, …), (1, 1, …) a stride."""
    path = yolov6_for_rknn(tmp_path / "yolov6n.onnx", bins=1)
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "YOLOv6, raw levels"
    assert bundle.manifest.preprocessing["scale"] == pytest.approx(1 / 255)
    check(seen, "center")


def test_yolov6_with_one_class_is_no_yolox(tmp_path: Path) -> None:
    path = yolov6_for_rknn(tmp_path / "yolov6n.onnx", bins=1, classes=1)
    _, seen, recognised = bring(path, {"labels": ["car"]})
    assert recognised.family == "YOLOv6, raw levels"
    assert [round(item.score, 3) for item in seen.objects] == [0.9, 0.6]


@pytest.mark.parametrize(("family", "resize"), [("yolov6", "center"), ("ppyoloe", "stretch")])
def test_sides_of_17_bins_are_of_yolov6_or_pp_yoloe(
    tmp_path: Path, family: str, resize: str
) -> None:
    path = yolov6_for_rknn(tmp_path / "m.onnx", bins=17)
    with pytest.raises(ModelError, match=r"family: --assume family=yolov6\|ppyoloe"):
        recognise(path)
    said = {"labels": "coco80", "family": family, "normalise": "imagenet"}
    _, seen, _ = bring(path, said)
    check(seen, resize)


def rtmdet(path: Path) -> Path:
    """As mmdetection's head: all classes, then all distances, exponentials in px."""
    maps = graphs.side_maps(0.0, 1, px=True).items()
    heads = {f"cls_{stride}": graphs.logit(kinds) for stride, (_, kinds) in maps}
    heads |= {f"dist_{stride}": sides for stride, (sides, _) in maps}
    return graphs.write(path, Signature(heads))


@pytest.mark.parametrize("how", ["said", "named"])
def test_rtmdet_in_maps_measures_px_from_the_corner_of_a_cell(tmp_path: Path, how: str) -> None:
    path = rtmdet(tmp_path / "rtmdet.onnx")
    with pytest.raises(ModelError, match=r"family: --assume family=yolov6\|rtmdet"):
        recognise(path)
    said = {"labels": "coco80"}
    if how == "said":
        said["family"] = "rtmdet"
    else:
        with_module(path, "bbox_head/rtm_reg")
    bundle, seen, recognised = bring(path, said)
    assert recognised.family == "RTMDet, raw levels"
    assert bundle.manifest.preprocessing["color"] == "bgr"
    assert bundle.manifest.preprocessing["mean"][0] == 103.53
    check(seen, "corner")


@pytest.mark.parametrize("operator", ["Exp", "Relu"])
def test_maps_of_fcos_are_not_read_as_those_of_yolox(tmp_path: Path, operator: str) -> None:
    """Classes, distances, and how central a cell is: of mmdetection, before its postprocessing."""
    signature = apart((2, 0, 1), raised=False)
    model = onnx.load(str(graphs.write(tmp_path / "fcos.onnx", signature)))
    for stride in CELLS:
        (made,) = [node for node in model.graph.node if node.output[0] == f"reg_{stride}"]
        made.output[0] = f"raw_{stride}"
        last = onnx.helper.make_node(operator, [f"raw_{stride}"], [f"reg_{stride}"])
        model.graph.node.append(last)
    onnx.save(model, str(tmp_path / "fcos.onnx"))
    with pytest.raises(ModelError, match="3 grids have a map of boxes and one of their classes"):
        recognise(tmp_path / "fcos.onnx")


def with_selection(path: Path, *, opset: int, rows: int, sized: bool) -> Path:
    """As the ONNX model zoo's yolov3 (rows of rank 2) and tiny-yolov3 (rank 3).

    Boxes y_min, x_min, y_max, x_max are shares that are multiplied by the input `image_shape`.
    """
    node, count = onnx.helper.make_node, 12
    boxes = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), (1, count, 1))
    scores = np.full((1, 80, count), 0.01, np.float32)
    for row, (label, score, _) in enumerate(TRUTH):
        boxes[0, 3 + 4 * row] = share(row)[[1, 0, 3, 2]]
        boxes[0, 4 + 4 * row] = boxes[0, 3 + 4 * row] + np.float32(0.004)  # to be suppressed
        scores[0, label, 3 + 4 * row], scores[0, label, 4 + 4 * row] = score, score - 0.1
    weights = {
        "zero": np.float32(0), "boxes_w": boxes, "scores_w": scores, "most": np.array([20]),
        "overlap": np.float32([0.5]), "least": np.float32([0.3]),
        "size": np.float32([[SIZE[1], SIZE[0]]]),
    }  # fmt: skip
    given = ["image_shape"] if sized else ["size"]
    names = ("boxes:0", "scores:0", "concat_2:0")
    nodes = [
        node("ReduceMax", ["input_1"], ["peak"], keepdims=0),
        node("Mul", ["peak", "zero"], ["nothing"]),
        node("Concat", given * 2, ["hwhw"], axis=1),
        node("Mul", ["boxes_w", "hwhw"], ["px"]),
        node("Add", ["px", "nothing"], [names[0]]),
        node("Add", ["scores_w", "nothing"], [names[1]]),
        node("NonMaxSuppression", [*names[:2], "most", "overlap", "least"], ["which"]),
        node("Cast", ["which"], ["rows"], to=6),
        node("Reshape", ["rows", "rank"], [names[2]]),
    ]
    weights["rank"] = np.array([-1, 3] if rows == 2 else [1, -1, 3])
    value = onnx.helper.make_tensor_value_info
    inputs = [value("input_1", 1, ["N", 3, "height", "width"])]
    inputs += [value("image_shape", 1, ["N", 2])] if sized else []
    outputs = [
        value(names[0], 1, [1, "boxes", 4]),
        value(names[1], 1, [1, 80, "boxes"]),
        value(names[2], 6, ["selected", 3] if rows == 2 else [1, "selected", 3]),
    ]
    constants = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()]
    graph = onnx.helper.make_graph(nodes, "yolov3", inputs, outputs, constants)
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=5)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("opset", "rows"), [(10, 2), (11, 3)])
def test_boxes_that_a_suppression_in_the_graph_selects_are_followed(
    tmp_path: Path, opset: int, rows: int
) -> None:
    path = with_selection(tmp_path / "yolov3.onnx", opset=opset, rows=rows, sized=True)
    with pytest.raises(ModelError, match="--assume size=WIDTHxHEIGHT"):
        recognise(path)
    bundle, seen, recognised = bring(path, {"size": list(SIZE)})
    assert recognised.family == "YOLOv3 of Keras"
    assert bundle.manifest.preprocessing["pad_value"] == 128.0
    assert len(bundle.manifest.labels) == 80
    check(seen, "center")


def test_the_order_of_selected_corners_is_asked_for(tmp_path: Path) -> None:
    path = with_selection(tmp_path / "other.onnx", opset=11, rows=2, sized=False)
    with pytest.raises(ModelError, match="--assume family="):
        recognise(path, said={"size": list(SIZE)})
    _, seen, _ = bring(path, {"size": list(SIZE), "family": "yolo", "box": "yxyx"})
    check(seen, "center")


def darknet_levels(anchors: list[list[float]], scales: list[float]) -> dict[str, np.ndarray]:
    """Offsets of YOLOv3 and v4 of darknet: (1, 3, rows, columns, 85); boxes in the first stride."""
    strides = (8, 16, 32)[3 - len(anchors) :]
    levels = {}
    for place, stride in enumerate(strides):
        columns, rows = CELLS[stride]
        level = np.full((1, 3, rows, columns, 85), -9.0, np.float32)
        if place == 0:
            for row, (label, score, _) in enumerate(TRUTH):
                x, y, width, height = center(row)
                at = (0, 1, int(y // stride), int(x // stride))
                part = np.array([x, y]) / stride % 1.0
                part = np.clip((part + (scales[0] - 1) / 2) / scales[0], 1e-4, 1 - 1e-4)
                level[at][:2] = graphs.logit(part)
                level[at][2:4] = np.log(np.array([width, height]) / anchors[0][2:4])
                level[at][4], level[at][5 + label] = 20.0, graphs.logit(score)
        levels[f"level{stride}"] = level
    return levels


@pytest.mark.parametrize("name", ["v3", "v4", "v3-tiny", "v4-tiny"])
def test_offsets_of_darknet_become_boxes_as_darknet_makes_them(tmp_path: Path, name: str) -> None:
    """Maps as converters of darknet's files leave them, the coarsest first."""
    levels = darknet_levels(ANCHORS[name], SCALES[name])
    heads = {
        f"{place}_convolutional": head.transpose(0, 1, 4, 2, 3).reshape(1, 255, *head.shape[2:4])
        for place, head in list(enumerate(levels.values()))[::-1]
    }
    path = graphs.write(tmp_path / "darknet.onnx", Signature(heads, image="000_net"))
    _, seen, recognised = bring(path, {"labels": "coco80", "anchors": name})
    assert recognised.family == "YOLOv3 or v4 of darknet, raw levels"
    check(seen, "stretch")


def test_how_offsets_become_boxes_of_own_anchors_is_asked_for(tmp_path: Path) -> None:
    heads = darknet_levels(ANCHORS["v4"], SCALES["v4"])
    path = graphs.write(tmp_path / "own.onnx", Signature(heads))
    said = {"labels": "coco80", "anchors": ANCHORS["v4"]}
    with pytest.raises(ModelError, match=r"decoding: --assume decoding=v5 .* or darknet"):
        recognise(path, said=said)
    _, seen, _ = bring(path, {**said, "decoding": "darknet", "scale_xy": SCALES["v4"]})
    check(seen, "stretch")


def test_yolov4_of_the_model_zoo_has_scores_that_are_raised_and_offsets_that_are_not(
    tmp_path: Path,
) -> None:
    """Input (1, H, W, 3) of 0 to 1, outputs (1, rows, columns, 3, 85) `Identity:0` and so on."""
    heads = {}
    for k, level in enumerate(darknet_levels(ANCHORS["v4"], SCALES["v4"]).values()):
        level[..., 4:] = 1 / (1 + np.exp(-level[..., 4:]))
        name = "Identity:0" if not k else f"Identity_{k}:0"
        heads[name] = level.transpose(0, 2, 3, 1, 4)
    signature = Signature(heads, image="input_1:0", layout="NHWC", free=(0,))
    path = graphs.write(tmp_path / "yolov4.onnx", signature)
    with pytest.raises(ModelError, match=r"--assume anchors=v5\|v7\|v7-tiny\|v3\|v4 or"):
        recognise(path)
    bundle, seen, _ = bring(path, {"labels": "coco80", "anchors": "v4"})
    assert bundle.manifest.preprocessing["pad_value"] == 128.0
    check(seen, "center")
