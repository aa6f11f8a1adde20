"""Maps of heads whose numbers exporters moved: rows of all strides, parts apart, anchors first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import CELLS, NAMES, ROWS, SIZE, Head, Signature, onnx
from foreign_imports import bring, check

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._yolo_levels_graph import ANCHORS
from edge_perception.releases.first_look import FirstLook
from edge_perception.releases.recognising import recognise

STRIDES = tuple(CELLS)
Maps = dict[str, Head]  # (1, channels, rows, columns), by KIND_STRIDE


class Graph:
    """Nodes behind the maps of a head, as an exporter adds them."""

    def __init__(self, path: Path, maps: Maps, **more: Any) -> None:
        self.path = graphs.write(path, Signature(maps, **more))
        self.model = onnx.load(str(path))
        del self.model.graph.output[:]
        self.count = 0

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"moved{self.count + k}" for k in range(outputs)]
        self.count += outputs
        made = onnx.helper.make_node(operator, list(inputs), names, **attributes)
        self.model.graph.node.append(made)
        return names[0] if outputs == 1 else names

    def given(self, *values: int) -> str:
        name = f"given{len(self.model.graph.initializer)}"
        tensor = onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        self.model.graph.initializer.append(tensor)
        return name

    def reshape(self, name: str, *shape: int) -> str:
        return str(self.node("Reshape", name, self.given(*shape)))

    def save(self, outputs: Mapping[str, tuple[str, Sequence[int]]], module: str = "") -> Path:
        for name, (made, shape) in outputs.items():
            self.model.graph.node.append(onnx.helper.make_node("Identity", [made], [name]))
            value = onnx.helper.make_tensor_value_info(name, 1, shape)
            self.model.graph.output.append(value)
        if module:
            self.model.graph.node[-1].name = f"/model.23/{module}/Conv"
            self.model.graph.node[-2].name = f"/model.23/{module.replace('cv2', 'cv3')}/Conv"
        onnx.save(self.model, str(self.path))
        return self.path


def v8(classes: int = 80) -> Maps:
    maps = {}
    for stride, (sides, kinds) in graphs.v8_maps(classes).items():
        maps |= {f"box_{stride}": sides, f"cls_{stride}": kinds}
    return maps


def one_number(offset: float = 0.5, *, px: bool = False) -> Maps:
    """As YOLO26 and YOLOv6: a number a side."""
    maps = {}
    for stride, (sides, kinds) in graphs.side_maps(offset, 1, px=px).items():
        maps |= {f"box_{stride}": sides, f"cls_{stride}": graphs.logit(kinds).astype(np.float32)}
    return maps


def joined(
    path: Path,
    maps: Maps,
    *,
    kinds: Sequence[str] = ("box", "cls"),
    strides: Sequence[int] = STRIDES,
    rows: bool = False,
    raised: bool = False,
    batch: bool = True,
    module: str = "",
) -> Path:
    """One output of all strides: (1, channels, N), or rows (1, N, channels)."""
    graph, levels = Graph(path, maps), []
    width = sum(maps[f"{kind}_8"].shape[1] for kind in kinds)
    for stride in strides:
        parts = [
            graph.node("Sigmoid", f"{kind}_{stride}") if raised and kind == "cls"
            else f"{kind}_{stride}" for kind in kinds
        ]  # fmt: skip
        levels.append(graph.reshape(graph.node("Concat", *parts, axis=1), 1, width, -1))
    made, shape = graph.node("Concat", *levels, axis=2), [1, width, ROWS]
    if rows:
        made, shape = graph.node("Transpose", made, perm=[0, 2, 1]), [1, ROWS, width]
    if not batch:
        made, shape = graph.reshape(made, *shape[1:]), shape[1:]
    return graph.save({"output0": (made, shape)}, module)


def apart(
    path: Path,
    maps: Maps,
    *,
    rows: bool = False,
    raised: bool = False,
    strides: Sequence[int] = STRIDES,
    module: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Sides of all strides and classes of all strides, each an output."""
    graph, outputs = Graph(path, maps, metadata=metadata or {}), {}
    for kind, name in (("box", "boxes"), ("cls", "scores")):
        width = maps[f"{kind}_8"].shape[1]
        parts = [graph.reshape(f"{kind}_{stride}", 1, width, -1) for stride in strides]
        made, shape = graph.node("Concat", *parts, axis=2), [1, width, ROWS]
        if raised and kind == "cls":
            made = graph.node("Sigmoid", made)
        if rows:
            made, shape = graph.node("Transpose", made, perm=[0, 2, 1]), [1, ROWS, width]
        outputs[name] = (made, shape)
    return graph.save(outputs, module)


def boxes_of(seen: FirstLook) -> list[tuple[Any, ...]]:
    return [(o.class_name, o.score, o.x_min, o.y_min, o.x_max, o.y_max) for o in seen.objects]


def check_twin(seen: FirstLook, tmp_path: Path) -> None:
    """The same boxes as of the file whose graph decodes them."""
    columns = Signature({"output0": graphs.v8()})
    _, twin, _ = bring(graphs.write(tmp_path / "twin.onnx", columns), {"labels": "coco80"})
    one, other = boxes_of(seen), boxes_of(twin)
    assert [item[0] for item in one] == [item[0] for item in other]
    np.testing.assert_allclose(
        [item[1:] for item in one], [item[1:] for item in other], rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kinds", [("box", "cls"), ("cls", "box")])
@pytest.mark.parametrize("strides", [STRIDES, STRIDES[::-1]])
def test_bins_and_classes_of_all_strides_in_one_output(
    tmp_path: Path,
    rows: bool,
    raised: bool,
    batch: bool,
    kinds: tuple[str, str],
    strides: tuple[int, ...],
) -> None:
    """As examples of ncnn take YOLOv8: (1, N, 144) or (1, 144, N), and in every other order."""
    path = joined(
        tmp_path / "m.onnx", v8(), kinds=kinds, strides=strides, rows=rows, raised=raised,
        batch=batch,
    )  # fmt: skip
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "YOLOv8 or later, raw levels"
    assert bundle.manifest.postprocessing["activation"] == ("none" if raised else "sigmoid")
    whys = {row.name: row.why for row in recognised.assumptions}
    assert "that the graph only moves to 'output0'" in whys["outputs"]
    check(seen, "center")
    check_twin(seen, tmp_path)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("strides", [STRIDES, STRIDES[::-1]])
@pytest.mark.parametrize("bins", [1, 16])
def test_sides_and_classes_of_all_strides_in_two_outputs(
    tmp_path: Path, rows: bool, raised: bool, strides: tuple[int, ...], bins: int
) -> None:
    maps = v8() if bins == 16 else one_number()
    path = apart(tmp_path / "m.onnx", maps, rows=rows, raised=raised, strides=strides)
    said = {"labels": "coco80"}
    if bins == 1:
        with pytest.raises(
            ModelError, match=r"family: --assume family=yolov6\|rtmdet\|yolo26\|yolov8"
        ):
            recognise(path, labels=COCO_LABELS)
        said["family"] = "yolov6"
    _, seen, recognised = bring(path, said)
    assert "raw levels" in recognised.family
    check(seen, "center")
    check_twin(seen, tmp_path)


def test_distances_in_px_from_the_corner_are_those_of_rtmdet(tmp_path: Path) -> None:
    path = apart(tmp_path / "m.onnx", one_number(0.0, px=True), rows=True)
    _, seen, recognised = bring(path, {"labels": "coco80", "family": "rtmdet"})
    assert recognised.family == "RTMDet, raw levels"
    check(seen, "corner")


YOLO26 = {"author": "Ultralytics", "task": "detect", "description": "Ultralytics YOLO26n model"}


@pytest.mark.parametrize("how", ["maps", "two outputs", "one output", "metadata", "said"])
def test_yolo26_has_one_number_a_side_and_is_not_suppressed_where_it_is_one_to_one(
    tmp_path: Path, how: str
) -> None:
    maps, module = one_number(), "one2one_cv2.0"
    path, said = tmp_path / "m.onnx", {"labels": "coco80"}
    if how == "maps":
        graph = Graph(path, maps)
        path = graph.save({f"out_{n}": (n, m.shape) for n, m in maps.items()}, module)
    elif how == "one output":
        path = joined(path, maps, module=module)
    elif how == "two outputs":
        path = apart(path, maps, module=module)
    elif how == "metadata":
        path = apart(path, maps, metadata={**YOLO26, "names": str(dict(enumerate(COCO_LABELS)))})
    else:
        path, said = apart(path, maps), {**said, "family": "yolo26"}
    bundle, seen, recognised = bring(path, said)
    assert recognised.family == f"YOLO26{'n' if how == 'metadata' else ''}, raw levels"
    told = how in ("maps", "two outputs", "one output")
    assert bundle.manifest.postprocessing["overlap_threshold"] == (0.9 if told else 0.45)
    check(seen, "center")
    check_twin(seen, tmp_path)


def test_distances_beside_scores_in_one_output_are_not_read_as_boxes(tmp_path: Path) -> None:
    """(1, 84, N) as decoded, but nothing decodes it."""
    path = joined(tmp_path / "m.onnx", one_number(), raised=True)
    with pytest.raises(ModelError, match=r"family: --assume family=yolov6\|rtmdet\|yolo26\|yolov8"):
        recognise(path, labels=COCO_LABELS)


Moves = Callable[[Graph, str, int, int], tuple[str, list[int]]]


def anchors_first(graph: Graph, name: str, rows: int, columns: int) -> tuple[str, list[int]]:
    """(1, 3 * H * W, 85), as YOLOv5's own view and permute, flattened."""
    parts = graph.reshape(name, 1, 3, 85, rows * columns)
    moved = graph.node("Transpose", parts, perm=[0, 1, 3, 2])
    return graph.reshape(moved, 1, -1, 85), [1, 3 * rows * columns, 85]


def cells_first(graph: Graph, name: str, rows: int, columns: int) -> tuple[str, list[int]]:
    """(1, H * W * 3, 85), as where channels are last before rows are made."""
    moved = graph.node("Transpose", name, perm=[0, 2, 3, 1])
    return graph.reshape(moved, 1, -1, 85), [1, 3 * rows * columns, 85]


def without_batch(graph: Graph, name: str, rows: int, columns: int) -> tuple[str, list[int]]:
    """(3, H * W, 85), as ncnn has it."""
    parts = graph.reshape(name, 3, 85, rows * columns)
    return graph.node("Transpose", parts, perm=[0, 2, 1]), [3, rows * columns, 85]


def numbers_before_cells(graph: Graph, name: str, rows: int, columns: int) -> tuple[str, list[int]]:
    """(1, 3, 85, H, W), before YOLOv5's permute."""
    return graph.reshape(name, 1, 3, 85, rows, columns), [1, 3, 85, rows, columns]


def map_alone(graph: Graph, name: str, rows: int, columns: int) -> tuple[str, list[int]]:
    """(255, H, W)."""
    return graph.reshape(name, 255, rows, columns), [255, rows, columns]


@pytest.mark.parametrize(
    "moves", [anchors_first, cells_first, without_batch, numbers_before_cells, map_alone]
)
@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("one", [False, True])
def test_anchors_are_found_wherever_they_were_moved(
    tmp_path: Path, moves: Moves, raised: bool, one: bool
) -> None:
    maps = graphs.v5_maps(ANCHORS["v5"])
    graph, outputs = Graph(tmp_path / "m.onnx", maps), {}
    for stride, (columns, rows) in CELLS.items():
        source = f"level{stride}"
        source = graph.node("Sigmoid", source) if raised else source
        outputs[f"out{stride}"] = moves(graph, source, rows, columns)
    if one and moves in (anchors_first, cells_first):
        made = graph.node("Concat", *(name for name, _ in outputs.values()), axis=1)
        outputs = {"output": (made, [1, 3 * ROWS, 85])}
    path = graph.save(outputs)
    with pytest.raises(ModelError, match=r"--assume anchors=v5\|"):
        recognise(path, labels=COCO_LABELS)
    said = {"labels": "coco80", "anchors": "v5", "decoding": "v5"}
    _, seen, recognised = bring(path, said)
    assert recognised.family == "YOLOv5 or v7, raw levels"
    check(seen, "center")


def test_yolox_in_three_outputs_of_all_strides(tmp_path: Path) -> None:
    maps: Maps = {}
    for stride, (box, thing, kinds) in graphs.yolox_maps().items():
        maps |= {f"reg_{stride}": box, f"obj_{stride}": graphs.logit(thing)}
        maps[f"cls_{stride}"] = graphs.logit(kinds)
    graph, outputs = Graph(tmp_path / "m.onnx", maps), {}
    for kind, width in (("reg", 4), ("obj", 1), ("cls", 80)):
        parts = [graph.reshape(f"{kind}_{stride}", 1, width, -1) for stride in STRIDES]
        outputs[kind] = (graph.node("Concat", *parts, axis=2), [1, width, ROWS])
    _, seen, recognised = bring(graph.save(outputs), {"labels": "coco80"})
    assert recognised.family == "YOLOX, a map a stride"
    check(seen, "corner")


def test_shapes_that_the_graph_computes_are_followed(tmp_path: Path) -> None:
    """As an export with free axes: the batch of a Reshape is read of its input."""
    maps, levels = v8(), []
    graph = Graph(tmp_path / "m.onnx", maps, free=(0,))
    for stride in STRIDES:
        whole = graph.node("Concat", f"box_{stride}", f"cls_{stride}", axis=1)
        batch = graph.node("Gather", graph.node("Shape", whole), graph.given(0), axis=0)
        shape = graph.node("Concat", batch, graph.given(144), graph.given(-1), axis=0)
        levels.append(graph.node("Reshape", whole, shape))
    outputs = {"output0": (graph.node("Concat", *levels, axis=2), [1, 144, ROWS])}
    _, seen, recognised = bring(graph.save(outputs), {"labels": "coco80"})
    whys = {row.name: row.why for row in recognised.assumptions}
    assert "that the graph only moves" in whys["outputs"]
    check(seen, "center")


def rows_of(maps: Maps, strides: Sequence[int], *kinds: str) -> Head:
    """(1, N, numbers of a cell)."""
    levels = []
    for stride in strides:
        parts = [maps[f"{kind}_{stride}"] for kind in kinds]
        whole = np.concatenate(parts, axis=1)
        levels.append(whole.reshape(1, whole.shape[1], -1).transpose(0, 2, 1))
    return np.concatenate(levels, axis=1).astype(np.float32)


def unseen(
    path: Path, heads: Mapping[str, Head], metadata: Mapping[str, str] | None = None
) -> Path:
    """A graph whose nodes do not show where rows come from."""
    return graphs.write(path, Signature(heads, metadata=metadata or {}))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("strides", [STRIDES, STRIDES[::-1]])
@pytest.mark.parametrize("named", [False, True])
def test_what_unseen_nodes_leave_open_is_asked_for(
    tmp_path: Path, turned: bool, strides: tuple[int, ...], named: bool
) -> None:
    rows = rows_of(v8(), strides, "box", "cls")
    head = rows.transpose(0, 2, 1) if turned else rows
    metadata = {"names": str(dict(enumerate(COCO_LABELS)))} if named else {}
    path = unseen(tmp_path / "m.onnx", {"output0": head}, metadata)
    with pytest.raises(ModelError, match=r"first: --assume first=sides\|classes.* strides: --ass"):
        recognise(path)
    with pytest.raises(ModelError, match=r"the number of cells is that of \[8, 16, 32\]"):
        recognise(path, said={"strides": [8, 16], "first": "sides"})
    said = {"labels": "coco80", "strides": list(strides), "first": "sides"}
    bundle, seen, _ = bring(path, said)
    assert bundle.manifest.postprocessing["strides"] == list(strides)
    check(seen, "center")
    check_twin(seen, tmp_path)


@pytest.mark.parametrize("kinds", [("box", "cls"), ("cls", "box")])
def test_scores_on_noise_show_which_part_of_unseen_rows_they_are(
    tmp_path: Path, kinds: tuple[str, str]
) -> None:
    maps = {n: 1 / (1 + np.exp(-m)) if n.startswith("cls") else m for n, m in v8().items()}
    path = unseen(tmp_path / "m.onnx", {"output0": rows_of(maps, STRIDES, *kinds)})
    wrong = "classes" if kinds[0] == "box" else "sides"
    with pytest.raises(ModelError, match="come first"):
        recognise(path, said={"strides": list(STRIDES), "first": wrong})
    bundle, seen, _ = bring(path, {"labels": "coco80", "strides": list(STRIDES)})
    assert bundle.manifest.postprocessing["activation"] == "none"
    check(seen, "center")


def test_shares_in_unseen_rows_are_not_put_through_another_softmax(tmp_path: Path) -> None:
    maps = v8()
    for stride in STRIDES:
        bins = maps[f"box_{stride}"].reshape(1, 4, 16, -1).astype(np.float64)
        shares = np.exp(bins - bins.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        maps[f"box_{stride}"] = shares.reshape(maps[f"box_{stride}"].shape).astype(np.float32)
    path = unseen(tmp_path / "m.onnx", {"output0": rows_of(maps, STRIDES, "box", "cls")})
    bundle, seen, _ = bring(path, {"labels": "coco80", "strides": list(STRIDES)})
    assert bundle.manifest.postprocessing["bins"] == "shares"
    check(seen, "center")


@pytest.mark.parametrize("turned", [False, True])
def test_unseen_distances_beside_scores_are_read_where_all_is_said(
    tmp_path: Path, turned: bool
) -> None:
    """As YOLO26 whose graph was fused: (1, 84, N), like decoded boxes."""
    rng, maps = np.random.default_rng(0), one_number()
    for stride in STRIDES:
        sides = maps[f"box_{stride}"]
        quiet = (sides == 1.0).all(axis=1, keepdims=True)
        others = rng.uniform(0.5, 2.0, sides.shape)
        maps[f"box_{stride}"] = np.where(quiet, others, sides).astype(np.float32)
        logits = maps[f"cls_{stride}"]
        logits[logits < -5] += rng.normal(0, 0.5, int((logits < -5).sum()))
        maps[f"cls_{stride}"] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    rows = rows_of(maps, STRIDES, "box", "cls")
    path = unseen(tmp_path / "m.onnx", {"out": rows.transpose(0, 2, 1) if turned else rows})
    with pytest.raises(ModelError, match=r"family: --assume family=.*strides: --assume strides="):
        recognise(path, labels=COCO_LABELS)
    said = {"labels": "coco80", "family": "yolo26", "strides": list(STRIDES)}
    _, seen, recognised = bring(path, said)
    assert recognised.family == "YOLO26, raw levels"
    check(seen, "center")


@pytest.mark.parametrize("adapter", ["box_scores", "yolo"])
def test_the_refusal_says_that_nothing_decodes(tmp_path: Path, adapter: str) -> None:
    path = apart(tmp_path / "m.onnx", one_number(), raised=True)
    with pytest.raises(ModelError, match="only moves them, from maps of 4 and 80 channels"):
        recognise(path, labels=COCO_LABELS, adapter=adapter)


def test_names_of_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    labels = [f"thing {k}" for k in range(79)]
    path = joined(tmp_path / "m.onnx", v8())
    with pytest.raises(ModelError, match="from maps of 64 and 80 channels a stride"):
        recognise(path, labels=labels)
    path = unseen(tmp_path / "n.onnx", {"output0": rows_of(v8(), STRIDES, "box", "cls")})
    with pytest.raises(ModelError, match="are logits or bins, no scores of 0 to 1"):
        recognise(path, labels=labels)


def test_strides_that_are_said_against_the_graph_are_not_taken(tmp_path: Path) -> None:
    path = joined(tmp_path / "m.onnx", v8())
    _, seen, _ = bring(path, {"labels": "coco80", "strides": [32, 16, 8]})
    check(seen, "center")  # each map keeps its stride
    with pytest.raises(ModelError, match=r"the maps are of strides \[8, 16, 32\], got \[16, 32\]"):
        recognise(path, said={"strides": [16, 32]}, labels=COCO_LABELS)


def test_two_unseen_outputs_are_asked_for_the_order_of_strides(tmp_path: Path) -> None:
    heads = {"boxes": rows_of(v8(), STRIDES, "box"), "scores": rows_of(v8(), STRIDES, "cls")}
    path = unseen(tmp_path / "m.onnx", heads)
    with pytest.raises(ModelError, match=r"strides: --assume strides=\[8,16,32\] or \[32,16,8\]"):
        recognise(path, labels=COCO_LABELS)
    _, seen, _ = bring(path, {"labels": "coco80", "strides": list(STRIDES)})
    check(seen, "center")


def test_two_parts_of_one_width_are_told_apart_or_refused(tmp_path: Path) -> None:
    """64 classes beside 64 numbers of the sides, under names that say nothing."""
    maps = {
        f"{'ab'[name.startswith('cls')]}_{name.split('_')[1]}": head
        for name, head in v8(64).items()
    }
    graph, outputs = Graph(tmp_path / "m.onnx", maps), {}
    for kind in "ba":
        parts = [graph.reshape(f"{kind}_{stride}", 1, 64, -1) for stride in STRIDES]
        outputs[kind] = (graph.node("Concat", *parts, axis=2), [1, 64, ROWS])
    path = graph.save(outputs)
    labels = [f"thing {k}" for k in range(61)]
    labels = ["person", "bicycle", "car", *labels]
    with pytest.raises(ModelError, match="numbers of each of 126 cells of strides 8, 16, 32"):
        recognise(path, labels=labels)


def test_nanodet_of_logits_is_not_read_as_scores(tmp_path: Path) -> None:
    """(1, N, 112): of 80 classes and 8 bins, but YOLOv8 of 48 classes is as wide."""
    names = {"names": str({k: f"thing {k}" for k in range(48)})}
    maps = v8(48)
    path = joined(tmp_path / "m.onnx", maps, rows=True)
    with pytest.raises(ModelError, match="labels:"):
        recognise(path)
    path = unseen(tmp_path / "n.onnx", {"output": rows_of(maps, STRIDES, "box", "cls")}, names)
    with pytest.raises(ModelError, match=r"YOLOv8 or later, raw levels: .*first=sides"):
        recognise(path)


def decoded_in_maps(path: Path) -> Path:
    """Boxes that are decoded cell by cell before the strides are joined."""
    maps, made = {}, []
    rng = np.random.default_rng(0)
    for stride, (columns, rows) in CELLS.items():
        maps[f"xy_{stride}"] = rng.uniform(0, 1, (1, 2, rows, columns)).astype(np.float32)
        maps[f"wh_{stride}"] = np.full((1, 2, rows, columns), 2.0, np.float32)
        maps[f"cls_{stride}"] = rng.uniform(0, 0.2, (1, 80, rows, columns)).astype(np.float32)
    graph = Graph(path, maps)
    for stride, (columns, rows) in CELLS.items():
        y, x = np.divmod(np.arange(columns * rows), columns)
        cells = np.stack([x, y]).reshape(1, 2, rows, columns).astype(np.float32)
        for name, value in ((f"grid{stride}", cells), (f"px{stride}", np.float32(stride))):
            graph.model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.asarray(value), name)
            )
        middle = graph.node("Add", f"xy_{stride}", f"grid{stride}")
        middle = graph.node("Mul", middle, f"px{stride}")
        size = graph.node("Mul", f"wh_{stride}", f"px{stride}")
        whole = graph.node("Concat", middle, size, f"cls_{stride}", axis=1)
        made.append(graph.reshape(whole, 1, 84, -1))
    return graph.save({"output0": (graph.node("Concat", *made, axis=2), [1, 84, ROWS])})


def test_boxes_that_are_decoded_in_maps_are_read_as_boxes(tmp_path: Path) -> None:
    found = recognise(decoded_in_maps(tmp_path / "m.onnx"), labels=COCO_LABELS)
    assert found.family == "YOLOv8 or later"
    assert found.manifest["postprocessing"]["layout"] == "columns"


def test_rows_of_anchors_whose_order_is_not_seen_are_refused_by_what_is_read(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    heads = {
        f"out{s}": rng.normal(0, 3, (1, 3 * columns * rows, 85)).astype(np.float32)
        for s, (columns, rows) in CELLS.items()
    }
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    with pytest.raises(ModelError, match=r"whether anchors or cells come first .* export it dec"):
        recognise(path, labels=COCO_LABELS)


def test_levels_that_a_sigmoid_made_are_not_raised_twice(tmp_path: Path) -> None:
    """(1, 3, H, W, 85) of 0 to 1, and no Sigmoid is seen."""
    heads = {n: 1 / (1 + np.exp(-m)) for n, m in graphs.raw_levels(ANCHORS["v5"], 80).items()}
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    with pytest.raises(ModelError, match="any family that is known"):
        recognise(path, said={"anchors": "v5", "decoding": "v5"}, labels=COCO_LABELS)


def test_a_class_that_is_left_out_is_not_missed(tmp_path: Path) -> None:
    """A slice of a map's numbers is no whole map: what they are is not told."""
    maps = v8(len(NAMES) + 1)
    graph, made = Graph(tmp_path / "m.onnx", maps), []
    for stride in STRIDES:
        whole = graph.node("Concat", f"box_{stride}", f"cls_{stride}", axis=1)
        limits = graph.given(0), graph.given(64 + len(NAMES)), graph.given(1)
        part = graph.node("Slice", whole, *limits)
        made.append(graph.reshape(part, 1, 64 + len(NAMES), -1))
    outputs = {"out": (graph.node("Concat", *made, axis=2), [1, 64 + len(NAMES), ROWS])}
    with pytest.raises(ModelError, match="strides: --assume strides="):
        recognise(graph.save(outputs), labels=list(NAMES.values()))


def test_size_of_the_tests_has_cells_of_every_stride() -> None:
    assert sum(SIZE[0] // s * (SIZE[1] // s) for s in STRIDES) == ROWS == 126
