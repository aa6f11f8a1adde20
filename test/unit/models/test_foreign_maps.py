"""Maps of heads in every form that exporters leave them in, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import CELLS, SIZE, Head, Signature, onnx
from foreign_imports import bring, check

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._yolo_levels_graph import ANCHORS
from edge_perception.releases.recognising import recognise

PLUS = (8, 16, 32, 64)
BEFORE_PLUS = (8, 16, 32)

Maps = dict[str, Head]  # (1, channels, rows, columns), by the output's name
# Axes of a map (1, channels, rows, columns) in another order, and the shape it gets.
FORMS: Mapping[str, tuple[tuple[int, ...], Callable[[int, int, int], tuple[int, ...]]]] = {
    "channels last": ((0, 2, 3, 1), lambda c, h, w: (1, h, w, c)),
    "cells in one axis": ((0, 1, 2, 3), lambda c, h, w: (1, c, h * w)),
    "rows of cells": ((0, 2, 3, 1), lambda c, h, w: (1, h * w, c)),
    "no batch": ((0, 1, 2, 3), lambda c, h, w: (c, h, w)),
    "no batch, channels last": ((0, 2, 3, 1), lambda c, h, w: (h, w, c)),
    "no batch, rows of cells": ((0, 2, 3, 1), lambda c, h, w: (h * w, c)),
}


def gfl_maps(strides: tuple[int, ...], offset: float, *, bins: int = 8) -> list[tuple[Head, Head]]:
    """Of each stride the maps of classes, scores, and of sides."""
    maps = []
    for stride, (kinds, sides) in zip(strides, graphs.gfl(strides, offset), strict=True):
        wide = np.full((1, sides.shape[1], 4, bins), -30.0, np.float32)
        wide[..., :8] = sides.reshape(1, -1, 4, 8)
        shape = (1, -1, -(-SIZE[1] // stride), -(-SIZE[0] // stride))
        both = (kinds, wide.reshape(1, -1, 4 * bins))
        maps.append(tuple(rows.transpose(0, 2, 1).reshape(shape) for rows in both))
    return maps


def nanodet(strides: tuple[int, ...], offset: float, *, bins: int = 8) -> Maps:
    """As the last convolution of NanoDet and PicoDet: classes, logits, before the sides."""
    levels = zip(strides, gfl_maps(strides, offset, bins=bins), strict=True)
    return {
        f"head_{stride}": np.concatenate([graphs.logit(kinds), sides], axis=1).astype(np.float32)
        for stride, (kinds, sides) in levels
    }


def yolox() -> Maps:
    maps = {}
    for stride, (box, thing, kinds) in graphs.yolox_maps().items():
        maps |= {f"reg_{stride}": box, f"obj_{stride}": graphs.logit(thing)}
        maps[f"cls_{stride}"] = graphs.logit(kinds)
    return maps


def v8() -> Maps:
    joined = (np.concatenate(maps, axis=1) for maps in graphs.v8_maps().values())
    return {f"out{stride}": head for stride, head in zip(CELLS, joined, strict=True)}


def sides_and_classes(offset: float, *, px: bool, bins: int = 1) -> Maps:
    maps = {}
    for stride, (sides, kinds) in graphs.side_maps(offset, bins, px=px).items():
        maps |= {f"reg_{stride}": sides, f"cls_{stride}": graphs.logit(kinds)}
    return maps


# Maps, what is said, the family that is told, and how the picture is resized.
FAMILIES: Mapping[str, tuple[Maps, dict[str, Any], str, str]] = {
    "yolox": (yolox(), {}, "YOLOX, a map a stride", "corner"),
    "v5": (
        graphs.v5_maps(ANCHORS["v5"]),
        {"anchors": "v5", "decoding": "v5"},
        "YOLOv5 or v7, raw levels",
        "center",
    ),
    "v8": (v8(), {}, "YOLOv8 or later, raw levels", "center"),
    "yolov6": (
        sides_and_classes(0.5, px=False),
        {"family": "yolov6"},
        "YOLOv6, raw levels",
        "center",
    ),
    "rtmdet": (
        sides_and_classes(0.0, px=True),
        {"family": "rtmdet"},
        "RTMDet, raw levels",
        "corner",
    ),
    "ppyoloe": (
        sides_and_classes(0.5, px=False, bins=17),
        {"family": "ppyoloe", "normalise": "imagenet"},
        "PP-YOLOE, raw levels",
        "stretch",
    ),
    "nanodet-plus": (nanodet(PLUS, 0.0), {"family": "nanodet"}, "NanoDet-Plus", "stretch"),
}


def in_form(head: Head, form: str) -> Head:
    axes, shape = FORMS[form]
    return head.transpose(axes).reshape(shape(*head.shape[1:]))


def moved(path: Path, maps: Maps, form: str) -> Path:
    """Write the maps and, behind them, the nodes that an exporter brings them into a form with."""
    model, node = onnx.load(str(graphs.write(path, Signature(maps)))), onnx.helper.make_node
    del model.graph.output[:]
    for name, head in maps.items():
        axes, shape = FORMS[form][0], in_form(head, form).shape
        last = onnx.numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape")
        model.graph.initializer.append(last)
        model.graph.node.append(node("Transpose", [name], [f"{name}_t"], perm=axes))
        model.graph.node.append(node("Reshape", [f"{name}_t", last.name], [f"{name}_out"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}_out", 1, shape))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_maps_of_every_form_give_the_boxes(tmp_path: Path, family: str, form: str) -> None:
    maps, said, told, resize = FAMILIES[family]
    path = moved(tmp_path / "m.onnx", maps, form)
    bundle, seen, recognised = bring(path, {"labels": "coco80", **said})
    assert recognised.family == told
    check(seen, resize)
    # The maps themselves become outputs: what moved them is left out, not done backwards.
    used = {name for node in recognised.model.graph.node for name in node.input}
    assert not used & {f"{name}_out" for name in maps}
    assert len(bundle.manifest.outputs) == len(recognised.model.graph.output)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["yolox", "v5", "yolov6"])
def test_a_sigmoid_behind_another_form_is_seen(tmp_path: Path, family: str, form: str) -> None:
    """As Keras has it: channels are last before the Sigmoid already."""
    maps, said, told, resize = FAMILIES[family]
    heads = {name: in_form(head, form) for name, head in maps.items()}
    raised = tuple(name for name in heads if not name.startswith("reg"))
    path = graphs.write(tmp_path / "m.onnx", Signature(heads, raised=raised))
    _, seen, recognised = bring(path, {"labels": "coco80", **said})
    assert recognised.family == told
    check(seen, resize)


def test_the_form_is_printed(tmp_path: Path) -> None:
    path = moved(tmp_path / "m.onnx", v8(), "channels last")
    rows = {row.name: row.why for row in recognise(path, labels=COCO_LABELS).assumptions}
    assert rows["outputs"] == "maps (1, rows, columns, channels) of the file, as rows"


def test_maps_in_another_order_of_outputs(tmp_path: Path) -> None:
    """Coarse strides first, and all classes before all sides."""
    maps, said, told, resize = FAMILIES["rtmdet"]
    names = sorted(maps, key=lambda name: (name.startswith("reg"), -int(name.split("_")[1])))
    path = graphs.write(tmp_path / "m.onnx", Signature({name: maps[name] for name in names}))
    bundle, seen, recognised = bring(path, {"labels": "coco80", **said})
    assert recognised.family == told
    assert bundle.manifest.postprocessing["strides"] == [8, 16, 32]
    check(seen, resize)


def test_quantised_scores_behind_their_sigmoid_are_not_raised_twice(tmp_path: Path) -> None:
    """As quantising with pairs of QuantizeLinear and DequantizeLinear leaves the ends."""
    maps, said, _, resize = FAMILIES["yolov6"]
    raised = tuple(name for name in maps if name.startswith("cls"))
    path = graphs.write(tmp_path / "m.onnx", Signature(maps, raised=raised))
    model, node = onnx.load(str(path)), onnx.helper.make_node
    pair = {"q_scale": np.float32(1 / 65000), "q_zero": np.uint16(0)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(v), n) for n, v in pair.items()
    )
    for last in [n for n in model.graph.node if n.op_type == "Sigmoid"]:
        name = last.output[0]
        last.output[0] = f"{name}_s"
        model.graph.node.append(node("QuantizeLinear", [f"{name}_s", *pair], [f"{name}_q"]))
        model.graph.node.append(node("DequantizeLinear", [f"{name}_q", *pair], [name]))
    model.opset_import[0].version = 21
    onnx.save(model, str(path))
    bundle, seen, _ = bring(path, {"labels": "coco80", **said})
    assert bundle.manifest.postprocessing["activation"] == "none"
    check(seen, resize)


def test_scores_that_no_sigmoid_makes_are_seen_on_noise(tmp_path: Path) -> None:
    """Another operator may bring them to 0 to 1; they are not raised once more."""
    maps, said, _, resize = FAMILIES["yolov6"]
    scores = {n: 1 / (1 + np.exp(-h)) if n.startswith("cls") else h for n, h in maps.items()}
    path = graphs.write(tmp_path / "m.onnx", Signature(scores))
    bundle, seen, _ = bring(path, {"labels": "coco80", **said})
    assert bundle.manifest.postprocessing["activation"] == "none"
    check(seen, resize)


def named(path: Path, module: str) -> Path:
    model = onnx.load(str(path))
    model.graph.node[-1].name = f"/head/{module}/Add"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("bins", [8, 11])
def test_nanodet_plus_in_maps_gives_what_its_exporter_decodes(tmp_path: Path, bins: int) -> None:
    maps = nanodet(PLUS, 0.0, bins=bins)
    path = graphs.write(tmp_path / "maps.onnx", Signature(maps, image="data"))
    with pytest.raises(ModelError, match=r"family: --assume family=nanodet\|picodet"):
        recognise(path)
    bundle, seen, recognised = bring(named(path, "gfl_cls.0"), {"labels": "coco80"})
    assert recognised.family == "NanoDet-Plus"
    assert bundle.manifest.preprocessing["mean"] == pytest.approx([103.53, 116.28, 123.675])
    assert bundle.manifest.preprocessing["color"] == "bgr"
    whys = {row.name: row.why for row in recognised.assumptions}
    assert "from the corner of a cell" in whys["cell_offset"]
    assert whys["reg_max"] == f"{4 * bins} channels for four sides"
    check(seen, "stretch")
    exported = Signature({"output": graphs.nanodet(PLUS, 0.0)}, image="data")
    _, decoded, _ = bring(graphs.write(tmp_path / "rows.onnx", exported), {"labels": "coco80"})
    boxes, same = (
        [(o.class_name, o.score, o.x_min, o.y_min, o.x_max, o.y_max) for o in look.objects]
        for look in (seen, decoded)
    )
    assert [item[0] for item in boxes] == [item[0] for item in same]
    np.testing.assert_allclose([item[1:] for item in boxes], [item[1:] for item in same], atol=1e-3)


@pytest.mark.parametrize("form", ["apart", "sigmoid apart", "sigmoid joined"])
def test_nanodet_with_three_strides_measures_from_the_middle(tmp_path: Path, form: str) -> None:
    heads, raised = {}, []
    for stride, (kinds, sides) in zip(BEFORE_PLUS, gfl_maps(BEFORE_PLUS, 0.5), strict=True):
        heads |= {f"cls_{stride}": graphs.logit(kinds), f"dis_{stride}": sides}
        raised += [f"cls_{stride}"] if form != "apart" else []
    path = graphs.write(tmp_path / "m.onnx", Signature(heads, raised=tuple(raised)))
    if form == "sigmoid joined":  # as its exporter does before it flattens them
        join(path, [("cls", 80), ("dis", 32)])
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "NanoDet"
    post = bundle.manifest.postprocessing
    assert (post["cell_offset"], post["reg_max"]) == (0.5, 7)
    assert post["activation"] == ("sigmoid" if form == "apart" else "none")
    check(seen, "stretch")


def join(path: Path, parts: list[tuple[str, int]]) -> None:
    """Join maps of each stride along their channels, in that order."""
    model = onnx.load(str(path))
    del model.graph.output[:]
    for stride, (columns, rows) in CELLS.items():
        names = [f"{kind}_{stride}" for kind, _ in parts]
        shape = [1, sum(channels for _, channels in parts), rows, columns]
        model.graph.node.append(onnx.helper.make_node("Concat", names, [f"out{stride}"], axis=1))
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"out{stride}", 1, shape))
    onnx.save(model, str(path))


@pytest.mark.parametrize("classes_first", [False, True])
@pytest.mark.parametrize("raised", [False, True])
def test_the_order_of_joined_parts_is_that_of_the_graph(
    tmp_path: Path, classes_first: bool, raised: bool
) -> None:
    """YOLOv8's sides come first in its own head; others join the parts as they like."""
    heads = {}
    for stride, (sides, kinds) in graphs.v8_maps().items():
        heads |= {f"box_{stride}": sides, f"cls_{stride}": kinds}
    logits = tuple(name for name in heads if raised and name.startswith("cls"))
    path = graphs.write(tmp_path / "m.onnx", Signature(heads, raised=logits))
    parts = [("box", 64), ("cls", 80)]
    join(path, parts[::-1] if classes_first else parts)
    _, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "YOLOv8 or later, raw levels"
    check(seen, "center")


@pytest.mark.parametrize("how", ["said", "named"])
def test_picodet_in_maps_takes_pictures_of_imagenet(tmp_path: Path, how: str) -> None:
    path = graphs.write(tmp_path / "m.onnx", Signature(nanodet(PLUS, 0.5)))
    said = {"labels": "coco80"}
    if how == "said":
        said["family"] = "picodet"
    else:
        model = onnx.load(str(path))
        model.graph.node[-1].name = "p2o.Add.7"
        onnx.save(model, str(path))
    bundle, seen, recognised = bring(path, said)
    assert recognised.family == "PicoDet"
    assert bundle.manifest.preprocessing["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert bundle.manifest.postprocessing["cell_offset"] == 0.5
    check(seen, "stretch")


def test_rows_of_nanodet_plus_apart_measure_from_the_corner(tmp_path: Path) -> None:
    """Four strides are of Plus, whether maps or rows come out."""
    heads = {}
    for stride, (kinds, sides) in zip(PLUS, graphs.gfl(PLUS, 0.0), strict=True):
        heads |= {f"cls_pred_{stride}": graphs.logit(kinds), f"dis_pred_{stride}": sides}
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    _, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "NanoDet-Plus"
    check(seen, "stretch")


def test_damo_yolo_in_maps_has_a_background(tmp_path: Path) -> None:
    heads = {}
    for stride, (sides, kinds) in graphs.side_maps(0.0, 17).items():
        strong = np.full_like(kinds[:, :1], 0.99)  # nothing is there, almost everywhere
        heads[f"cls_{stride}"] = graphs.logit(np.concatenate([kinds, strong], axis=1))
        heads[f"reg_{stride}"] = sides
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    with pytest.raises(ModelError, match="damoyolo"):
        recognise(path)
    _, seen, recognised = bring(named(path, "gfl_cls.0"), {"labels": "coco80"})
    assert recognised.family == "DAMO-YOLO, raw levels"
    check(seen, "stretch")


def test_a_family_that_the_bins_rule_out_is_not_taken_in_silence(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "m.onnx", Signature(v8()))
    with pytest.raises(ModelError, match="sides of 16 bins are of YOLOv8"):
        recognise(path, said={"family": "nanodet"})


def test_sides_that_a_softmax_has_made_are_not_put_through_another(tmp_path: Path) -> None:
    """As exporters cut YOLOv8 between the softmax of a side's bins and their mean."""
    heads: Maps = {}
    for stride, (sides, kinds) in graphs.v8_maps().items():
        bins = sides.reshape(1, 4, 16, *sides.shape[2:]).astype(np.float64)
        shares = np.exp(bins - bins.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        heads |= {f"box_{stride}": shares.reshape(sides.shape).astype(np.float32)}
        heads |= {f"cls_{stride}": kinds}
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    bundle, seen, recognised = bring(path, {"labels": "coco80"})
    assert bundle.manifest.postprocessing["bins"] == "shares"
    assert "add up to 1" in {row.name: row.why for row in recognised.assumptions}["bins"]
    check(seen, "center")


@pytest.mark.parametrize("third", ["sum", "angle"])
def test_a_third_map_is_left_out_only_where_it_is_the_sum_of_the_scores(
    tmp_path: Path, third: str
) -> None:
    """Exporters for NPUs add the sum; of boxes that are turned it is the angle."""
    heads: Maps = {}
    for stride, (sides, kinds) in graphs.v8_maps().items():
        total = np.minimum((1 / (1 + np.exp(-kinds))).sum(axis=1, keepdims=True), 1.0)
        angle = np.full_like(total, 0.7)
        heads |= {f"box_{stride}": sides, f"cls_{stride}": kinds}
        heads[f"more_{stride}"] = (total if third == "sum" else angle).astype(np.float32)
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    if third == "angle":
        with pytest.raises(ModelError):
            recognise(path, said={"labels": "coco80"})
        return
    _, seen, recognised = bring(path, {"labels": "coco80"})
    assert recognised.family == "YOLOv8 or later, raw levels"
    check(seen, "center")


def noisy(rows: int, columns: int, spread: float, middle: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(rows)
    return rng.normal(middle, spread, (1, rows, columns)).astype(np.float32)


# Heads, and what the refusal says of them.
CUT: Mapping[str, tuple[Maps, str]] = {
    "YOLOv5, logits of anchors": (
        {"output": noisy(3 * graphs.ROWS, 85, 2.0)},
        r"\(1, 378, 85\) has three boxes a cell, which are not decoded",
    ),
    "YOLOv8, scores as logits": (
        {
            "output0": np.concatenate(
                [noisy(4, graphs.ROWS, 5.0, 40.0), noisy(80, graphs.ROWS, 2.0, -4.0)], axis=1
            )
        },
        "those of 'output0' are logits or bins, no scores of 0 to 1",
    ),
    "distances and scores": (
        {
            "boxes": np.abs(noisy(graphs.ROWS, 4, 1.0, 2.0)),
            "scores": np.clip(noisy(graphs.ROWS, 80, 0.1, 0.2), 0.0, 1.0),
        },
        r"family: --assume family=yolov6\|rtmdet\|yolo26\|yolov8; strides: --assume strides=",
    ),
    "distances and scores in one": (
        {
            "output0": np.concatenate(
                [
                    np.abs(noisy(4, graphs.ROWS, 1.0, 2.0)),
                    np.clip(noisy(80, graphs.ROWS, 0.1, 0.2), 0.0, 1.0),
                ],
                axis=1,
            )
        },
        r"family: --assume family=yolov6\|rtmdet\|yolo26\|yolov8; strides: --assume strides=",
    ),
    "boxes and logits": (
        {
            "boxes": noisy(graphs.ROWS, 4, 10.0, 40.0),
            "scores": noisy(graphs.ROWS, 80, 2.0, -4.0),
        },
        "those of 'scores' are logits or bins, no scores of 0 to 1",
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_rows_of_heads_that_are_not_decoded_are_not_read_as_decoded(
    tmp_path: Path, name: str
) -> None:
    heads, why = CUT[name]
    path = graphs.write(tmp_path / "m.onnx", Signature(heads))
    with pytest.raises(ModelError, match=why):
        recognise(path, said={"family": "yolo"}, labels=COCO_LABELS)
