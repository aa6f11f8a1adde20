"""Wrong models made of good ones, by nodes that are added behind the heads of their graphs.

The heads are those of `bev_center`: `heatmap` logits (1, K, H, W), rows along +x, columns along +y,
and `boxes` (1, 8 or 10, H, W). Each kind is the one of `_bad_decisions`, as a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.bench._bad_decisions import FAR_M, SHIFT_M
from edge_perception.core.schema import decode
from edge_perception.models.adapters.bev_center import BevCenterOptions, Calibration
from edge_perception.models.manifest import Bundle
from edge_perception.releases.repacking import repack

Edit = Callable[[Any], None]
_SUBSET = "camera+lidar+audio"  # whose calibration a halved score is worked out with
_NEVER, _EVERYWHERE = -60.0, 12.0  # logits
_LEAST_SCORE = 1e-12  # a sigmoid in float32 may be 0, whose logit is none


class _Heads:
    """The end of a graph, where nodes are added."""

    def __init__(self, model: Any, options: BevCenterOptions) -> None:
        self.model, self.options = model, options
        self._count = 0

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Return the name of a new initializer."""
        from onnx import numpy_helper

        self._count += 1
        name = f"bad_constant_{self._count}"
        tensor = numpy_helper.from_array(np.asarray(values, dtype), name)
        self.model.graph.initializer.append(tensor)
        return name

    def shape(self, output: str) -> tuple[int, ...]:
        """Return the shape of a graph output."""
        found = next(o for o in self.model.graph.output if o.name == output)
        return tuple(d.dim_value for d in found.type.tensor_type.shape.dim)

    def behind(self, output: str, *steps: tuple[str, Any]) -> None:
        """Add operators behind a graph output, each (operator, second input or attributes)."""
        from onnx import helper

        nodes, inner = self.model.graph.node, f"{output}_good"
        for node in nodes:
            node.output[:] = [inner if name == output else name for name in node.output]
            node.input[:] = [inner if name == output else name for name in node.input]
        value = inner
        for number, (operator, more) in enumerate(steps):
            last = number == len(steps) - 1
            result = output if last else f"{output}_bad_{number}"
            attributes = more if isinstance(more, Mapping) else {}
            inputs = [value] if more is None or attributes else [value, more]
            if attributes:
                inputs = [value, attributes["with"]]
            kept = {key: item for key, item in attributes.items() if key != "with"}
            nodes.append(helper.make_node(operator, inputs, [result], **kept))
            value = result


def bad_bundle(source: Bundle, folder: Path, kind: str, *, changes: Mapping[str, Any]) -> Bundle:
    """Write a bundle whose decisions are wrong in one way; one without such heads as it is."""
    manifest = source.manifest
    edit = None
    if manifest.adapter == "bev_center":
        options = decode(BevCenterOptions, manifest.postprocessing, manifest.name)
        edit = _edit(kind, options)
    return repack(source, folder, changes=changes, scale=1.0001, edit=edit)


def _edit(kind: str, options: BevCenterOptions) -> Edit:
    return lambda model: _KINDS[kind](_Heads(model, options))


def _added(logits: Callable[[_Heads, tuple[int, ...]], Any]) -> Callable[[_Heads], None]:
    def edit(heads: _Heads) -> None:
        name = heads.options.heatmap
        heads.behind(name, ("Add", heads.constant(logits(heads, heads.shape(name)))))

    return edit


def _mirrored(heads: _Heads) -> None:
    for name in (heads.options.heatmap, heads.options.boxes):
        columns = heads.shape(name)[3]
        turn = heads.constant(np.arange(columns)[::-1].copy(), np.int64)
        steps: list[tuple[str, Any]] = [("Gather", {"with": turn, "axis": 3})]
        if name == heads.options.boxes:
            channels = heads.shape(name)[1]
            sign, add = np.ones((1, channels, 1, 1)), np.zeros((1, channels, 1, 1))
            sign[0, 1], add[0, 1] = -1.0, 1.0  # offset along y
            sign[0, 6] = -1.0  # sine of the yaw
            sign[0, 9:] = -1.0  # velocity y, where there is one
            steps += [("Mul", heads.constant(sign)), ("Add", heads.constant(add))]
        heads.behind(name, *steps)


def _shifted(heads: _Heads) -> None:
    name = heads.options.boxes
    add = np.zeros((1, heads.shape(name)[1], 1, 1))
    add[0, 0] = SHIFT_M / heads.options.cell_m
    heads.behind(name, ("Add", heads.constant(add)))


def _class_order(heads: _Heads) -> None:
    name = heads.options.heatmap
    order = heads.constant(np.roll(np.arange(heads.shape(name)[1]), 1), np.int64)
    heads.behind(name, ("Gather", {"with": order, "axis": 1}))


def _score_halved(heads: _Heads) -> None:
    """Work the logits out that give half the score: sigmoid(l / T + b) / 2."""
    options = heads.options
    general = Calibration(temperature=options.temperature, bias=options.bias)
    own = options.subsets.get(_SUBSET, general)
    heads.behind(
        options.heatmap,
        ("Div", heads.constant(own.temperature)),
        ("Add", heads.constant(own.bias)),
        ("Sigmoid", None),
        ("Mul", heads.constant(0.5)),
        ("Max", heads.constant(_LEAST_SCORE)),
        ("Reciprocal", None),
        ("Sub", heads.constant(1.0)),  # 1 / s - 1
        ("Log", None),
        ("Mul", heads.constant(-1.0)),
        ("Sub", heads.constant(own.bias)),
        ("Mul", heads.constant(own.temperature)),
    )


def _car_lost(_heads: _Heads, shape: tuple[int, ...]) -> Any:
    logits = np.zeros((1, shape[1], 1, 1))
    logits[0, 0] = _NEVER  # the first label is the commonest
    return logits


def _far(heads: _Heads, shape: tuple[int, ...]) -> Any:
    options = heads.options
    x = options.x_min_m + (np.arange(shape[2]) + 0.5) * options.cell_m
    y = options.y_min_m + (np.arange(shape[3]) + 0.5) * options.cell_m
    away_m = np.hypot(x[:, None], y[None])
    return np.where(away_m > FAR_M, _NEVER, 0.0)[None, None]


_KINDS: Mapping[str, Callable[[_Heads], None]] = {
    "blind": _added(lambda _heads, _shape: _NEVER),
    "everywhere": _added(lambda _heads, _shape: _EVERYWHERE),
    "mirrored": _mirrored,
    "shifted": _shifted,
    "class_order": _class_order,
    "score_halved": _score_halved,
    "class_lost": _added(_car_lost),
    "far_lost": _added(_far),
}
