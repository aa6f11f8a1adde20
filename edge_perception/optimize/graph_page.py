"""A graph as one HTML page: its nodes with shapes, types and cost. Netron shows more."""

from __future__ import annotations

import html
import math
from collections import defaultdict
from typing import Any

from edge_perception.models.graph import tensor_shapes
from edge_perception.optimize.sources import ONNX_DTYPES

STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:20px;color:#1f2937}
h1{font-size:22px}h2{font-size:18px;margin-top:36px;border-top:1px solid #d7dce2;padding-top:18px}
table{border-collapse:collapse;margin:8px 0}td,th{padding:3px 12px 3px 0;text-align:left;
vertical-align:top}th{color:#5b6573;font-weight:500}.error{color:#b42318}.warning{color:#9a6700}
.passed{color:#1f7a44}.note{color:#5b6573}svg,img{max-width:100%;height:auto}
code{font-size:12px;overflow-wrap:anywhere}
"""


def node_costs(model: Any) -> list[dict[str, Any]]:
    """Return a row a node: position, name, operator, outputs with shape and type, multiply-adds."""
    inferred = _inferred(model)
    shapes = tensor_shapes(inferred)
    shapes |= {t.name: tuple(t.dims) for t in inferred.graph.initializer}
    kinds = {
        v.name: ONNX_DTYPES.get(v.type.tensor_type.elem_type, "other")
        for v in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    }
    return [
        {
            "position": index,
            "name": node.name or (node.output[0] if node.output else ""),
            "operator": node.op_type,
            "output": node.output[0] if node.output else "",
            "shape": list(shapes.get(node.output[0], ())) if node.output else [],
            "dtype": kinds.get(node.output[0], "") if node.output else "",
            "multiply_adds": multiply_adds(node, shapes),
        }
        for index, node in enumerate(inferred.graph.node)
    ]


def multiply_adds(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the multiply-adds of a convolution or matrix product; 0 of others."""
    made = shapes.get(node.output[0], ()) if node.output else ()
    if not made or -1 in made:
        return 0
    if node.op_type in ("Conv", "QLinearConv", "ConvInteger", "ConvTranspose"):
        at = 3 if node.op_type == "QLinearConv" else 1
        weights = shapes.get(node.input[at], ())
        if node.op_type == "ConvTranspose":
            given = shapes.get(node.input[0], ())
            return math.prod(given) * math.prod(weights[1:]) if given and weights else 0
        return math.prod(made) * math.prod(weights[1:]) if weights else 0
    if node.op_type in ("MatMul", "Gemm", "MatMulNBits", "QLinearMatMul"):
        given = shapes.get(node.input[0], ())
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(made) * (given[0 if turned else -1] if given else 0)
    return 0


def graph_page(name: str, model: Any) -> str:
    """Return the page."""
    rows = node_costs(model)
    total = sum(row["multiply_adds"] for row in rows) or 1
    by_operator: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        by_operator[row["operator"]].append(row["multiply_adds"])
    operators = sorted(by_operator.items(), key=lambda item: -sum(item[1]))
    cost = "".join(
        f"<tr><td>{_text(kind)}</td><td>{len(items)}</td><td>{sum(items):,}</td>"
        f"<td><svg width='160' height='10'><rect width='{160 * sum(items) / total:.1f}' "
        f"height='10' fill='#3b6ea5'/></svg></td></tr>"
        for kind, items in operators
    )
    nodes = "".join(
        f"<tr><td>{row['position']}</td><td>{_text(row['operator'])}</td>"
        f"<td><code>{_text(row['name'])}</code></td><td>{_text(str(row['shape']))}</td>"
        f"<td>{_text(row['dtype'])}</td><td>{row['multiply_adds']:,}</td></tr>"
        for row in rows
    )
    return f"""<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content='width=device-width'><title>{_text(name)}</title><style>{STYLE}</style>
<h1>{_text(name)}: {len(rows)} nodes, {total / 1e6:.1f} million multiply-adds</h1>
<p>For attributes, weights and a drawing open the file in Netron.</p>
<h2>Cost by operator</h2>
<table><tr><th>operator</th><th>nodes</th><th>multiply-adds</th><th></th></tr>{cost}</table>
<h2>Nodes</h2>
<table><tr><th></th><th>operator</th><th>name</th><th>shape</th><th>type</th>
<th>multiply-adds</th></tr>{nodes}</table></html>
"""


def _inferred(model: Any) -> Any:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception:  # a broken graph is shown without its shapes; the check says what is wrong
        return model


def _text(value: str) -> str:
    return html.escape(value)
