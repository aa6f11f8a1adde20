"""After an export: is the graph sound, and does every runtime here run all of it?"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.extras import MissingExtraError
from edge_perception.models.graph import graph_of, input_names, opset_of, tensor_shapes
from edge_perception.optimize.findings import ERROR, NOTE, WARNING, Outcome
from edge_perception.optimize.libraries import slimmer
from edge_perception.optimize.opsets import asked_here, newest_opset

_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
_SAME = 1e-4  # of the largest value: what reordered sums may give


def check_graph(
    name: str,
    data: bytes,
    outcome: Outcome,
    inputs: Mapping[str, NDArray],
    *,
    opset: int = 0,
    quick: bool = False,
) -> None:
    """Add what is found of an ONNX graph.

    Args:
        name: of the model.
        data: the graph.
        outcome: is added to.
        inputs: to run it with.
        opset: the one that was asked for; 0: that of the file.
        quick: only what is an error where it is found: neither other runtimes nor onnxslim.
    """
    model = graph_of(name, data)
    custom = _custom(model, outcome)
    _sound(model, outcome, has_custom=bool(custom))
    _opsets(model, outcome, opset)
    _shapes(model, outcome)
    outcome.figures["graph"] = {
        "nodes": len(model.graph.node), "bytes": len(data), "opset": opset_of(model),
        "operators": dict(Counter(node.op_type for node in model.graph.node).most_common()),
    }  # fmt: skip
    _runtimes(name, data, outcome, inputs, (DEFAULT_BACKEND,) if quick else asked_here())
    if not custom and not quick:
        _simplify(name, data, outcome, inputs)


def check_opset(opset: int, outcome: Outcome) -> None:
    """Add whether every runtime here takes the operator set that is asked for."""
    known = {runtime: newest_opset(runtime) for runtime in asked_here()}
    outcome.figures["newest_opset"] = known
    short = {runtime: newest for runtime, newest in known.items() if newest < opset}
    least = min(known.values(), default=0)
    for runtime, newest in short.items():
        outcome.add(
            ERROR, "opset", f"operator set {opset} was asked for, {runtime} takes up to {newest}",
            f"--opset {least}",
        )  # fmt: skip


def _opsets(model: Any, outcome: Outcome, asked: int) -> None:
    own = opset_of(model)
    if asked and own != asked:
        outcome.add(ERROR, "opset", f"operator set {asked} was asked for, the graph has {own}")
    check_opset(own, outcome)


def _custom(model: Any, outcome: Outcome) -> Counter[str]:
    own = {(f.domain, f.name) for f in model.functions}
    found = Counter(
        f"{node.domain}::{node.op_type}"
        for node in model.graph.node
        if node.domain not in _STANDARD and (node.domain, node.op_type) not in own
    )
    for text, count in sorted(found.items()):
        level = NOTE if text.startswith("com.microsoft::") else ERROR
        outcome.add(
            level, "custom_operator", f"operator {text} is not of ONNX, {count} times: "
            + ("of ONNX Runtime only" if level == NOTE else "no runtime here has it"),
            "" if level == NOTE else "export it as operators of ONNX",
        )  # fmt: skip
    return Counter({k: v for k, v in found.items() if not k.startswith("com.microsoft::")})


def _sound(model: Any, outcome: Outcome, *, has_custom: bool) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=not has_custom)
        onnx.shape_inference.infer_shapes(model, strict_mode=not has_custom, data_prop=True)
    except Exception as error:  # onnx raises many types
        head = str(error).strip().splitlines()[0][:300]
        outcome.add(ERROR, "checker", f"onnx.checker: {head}")


def _shapes(model: Any, outcome: Outcome) -> None:
    shapes = tensor_shapes(model)
    named = [*input_names(model), *(value.name for value in model.graph.output)]
    for name in named:
        if -1 in shapes.get(name, ()):
            outcome.add(
                WARNING, "dynamic_shape", f"'{name}' has free dimensions {shapes[name]}: a bundle "
                "wants fixed ones, and a runtime plans better with them",
            )  # fmt: skip


def _runtimes(
    name: str,
    data: bytes,
    outcome: Outcome,
    inputs: Mapping[str, NDArray],
    asked: Sequence[str],
) -> None:
    rows = []
    for runtime in asked:
        spec = backends()[runtime]
        for provider, precision in spec.ways() if spec.ways is not None else ():
            options = BackendOptions(
                provider=(provider,) if provider else (), precision=precision, strict=True
            )
            row: dict[str, Any] = {
                "runtime": runtime, "provider": provider, "precision": precision,
            }  # fmt: skip
            try:
                session = load_model_bytes(spec, data, Path(name), options)
                try:
                    session.infer(inputs)
                    info = session.describe()
                finally:
                    session.close()
                rows.append({**row, "runs": True, "where": info.where})
            except (EdgePerceptionError, RuntimeError, ValueError) as error:
                why = str(error).strip().splitlines()[0][:300]
                rows.append({**row, "runs": False, "why_not": why})
                # A runtime beside the default one is a choice; without any the model is no use.
                level = ERROR if runtime == DEFAULT_BACKEND and not provider else WARNING
                outcome.add(
                    level, "unsupported", f"{runtime} {provider} {precision}: does not run: {why}"
                )
    for runtime, reason in sorted(backends().failures.items()):
        outcome.add(NOTE, "runtime", f"{runtime} was not asked: {reason}")
    outcome.tables["runtimes"] = rows
    if rows and not any(row["runs"] for row in rows):
        outcome.add(ERROR, "unsupported", f"{name}: no runtime of this machine runs it")


def simplified(data: bytes) -> bytes:
    """Return the graph as onnxslim leaves it.

    Raises:
        MissingExtraError: onnxslim is not installed.
        RuntimeError, ValueError: it cannot.
    """
    slim = slimmer()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        # A copy of its own: what it is given may be changed in place.
        return bytes(slim.slim(graph_of("model.onnx", data)).SerializeToString())


def _simplify(name: str, data: bytes, outcome: Outcome, inputs: Mapping[str, NDArray]) -> None:
    try:
        slim = simplified(data)
        before, after = (run_graph(name, item, inputs) for item in (data, slim))
    except MissingExtraError as error:
        outcome.add(NOTE, "simplify", f"not simplified: {error}")
        return
    except Exception as error:  # of a library that rewrites graphs of any kind
        outcome.add(WARNING, "simplify", f"not simplified: {str(error)[:200]}")
        return
    worst = max(
        (
            float(np.abs(after[n].astype(np.float64) - v).max(initial=0.0))
            / max(float(np.abs(v).max(initial=0.0)), 1e-12)
            for n, v in before.items()
            if v.dtype.kind == "f"
        ),
        default=0.0,
    )
    counts = [len(graph_of(name, item).graph.node) for item in (data, slim)]
    outcome.figures["simplified"] = {
        "nodes_before": counts[0], "nodes_after": counts[1], "relative_difference": worst,
    }  # fmt: skip
    if not worst <= _SAME:
        outcome.add(
            WARNING, "simplify", f"onnxslim changes the outputs by {worst:.2g} of their largest "
            "value: leave the graph as it is",
        )  # fmt: skip
    elif counts[1] < counts[0]:
        outcome.add(
            NOTE, "simplify", f"onnxslim: {counts[0]} nodes become {counts[1]}, same outputs"
        )


def run_graph(name: str, data: bytes, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Run a graph once on the default runtime."""
    session = load_model_bytes(backends()[DEFAULT_BACKEND], data, Path(name), BackendOptions())
    try:
        return {key: np.array(value) for key, value in session.infer(inputs).items()}
    finally:
        session.close()
