"""Does a candidate say what its original says: output by output, and layer by layer?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import ConfigurationError
from edge_perception.models.graph import graph_of, with_outputs
from edge_perception.models.layers import computed_tensors
from edge_perception.optimize.differences import PRESETS, Difference, Differences, kind_of, preset
from edge_perception.optimize.findings import ERROR, NOTE, WARNING, Outcome
from edge_perception.optimize.libraries import torch_library
from edge_perception.optimize.sources import OnnxSource, Source, TorchSource, input_specs
from edge_perception.optimize.torch_check import named_outputs, run_torch

_SCOPES = "pkg.torch.onnx.name_scopes"
_MOST_LAYER_FRAMES = 4  # layers of many frames would fill the memory, and part in the first


@dataclass(frozen=True, kw_only=True)
class ParityInput:
    """One frame to compare on."""

    inputs: Mapping[str, NDArray]
    tags: tuple[str, ...] = ()  # slices that it belongs to, such as night


def compare_sources(
    candidate: OnnxSource,
    reference: Source,
    frames: Iterable[ParityInput],
    outcome: Outcome,
    *,
    layers: bool = False,
    wanted: Mapping[str, str] | None = None,
    backend: str = "onnxruntime",
    options: BackendOptions | None = None,
) -> None:
    """Add how a candidate differs from its original.

    Args:
        candidate: a graph, run by `backend`.
        reference: the original; a graph runs on the default runtime.
        frames: inputs for both.
        outcome: is added to; an output beyond its preset is an error.
        layers: also the tensors inside.
        wanted: preset by output, "" for all others; None: by the name of each output.
        backend: runtime of the candidate.
        options: how its session is created.

    Raises:
        ConfigurationError: the two do not take the same inputs.
    """
    kept = list(frames)
    if not kept:
        raise ConfigurationError("parity: expected inputs to compare on, got none")
    _outputs(candidate, reference, kept, outcome, wanted or {}, backend, options)
    if layers:
        _layers(candidate, reference, kept[:_MOST_LAYER_FRAMES], outcome)


def _outputs(
    candidate: OnnxSource,
    reference: Source,
    frames: Sequence[ParityInput],
    outcome: Outcome,
    wanted: Mapping[str, str],
    backend: str,
    options: BackendOptions | None,
) -> None:
    whole: dict[str, Differences] = {}
    slices: dict[tuple[str, str], Differences] = {}
    session = load_model_bytes(
        backends()[backend], candidate.data, Path(candidate.name), options or BackendOptions()
    )
    run, close = _runner(reference, [info.name for info in session.describe().outputs])
    try:
        _check_inputs(candidate, reference, session, frames[0])
        for frame in frames:
            expected = run(frame.inputs)
            got = session.infer(frame.inputs)
            for name in _common(got, expected, outcome):
                whole.setdefault(name, Differences()).add(got[name], expected[name])
                for tag in frame.tags:
                    slices.setdefault((name, tag), Differences()).add(got[name], expected[name])
    finally:
        session.close()
        close()
    rows = []
    for name, collected in whole.items():
        rows.append(_judged(name, "", collected.result(), outcome, wanted))
    for (name, tag), collected in sorted(slices.items()):
        rows.append(_judged(name, tag, collected.result(), outcome, wanted))
    outcome.tables["outputs"] = rows


def _judged(
    name: str, tag: str, found: Difference, outcome: Outcome, wanted: Mapping[str, str]
) -> dict[str, Any]:
    kind = wanted.get(name) or wanted.get("") or kind_of(name)
    why = found.why_not(preset(kind))
    if why:
        where = f" on {tag} frames" if tag else ""
        outcome.add(ERROR, "output", f"output '{name}'{where}: {why} (preset {kind})")
    return {"output": name, "slice": tag, "preset": kind, "passed": not why, **found.row()}


def _check_inputs(candidate: OnnxSource, reference: Source, session: Any, first: Any) -> None:
    asked = {info.name: info.shape for info in session.describe().inputs}
    given = {name: array.shape for name, array in first.inputs.items()}
    if isinstance(reference, TorchSource):
        own = {name: array.shape for name, array in reference.inputs.items()}
    else:
        own = {spec.name: spec.shape for spec in input_specs(reference.name, reference.data)}
    if set(asked) != set(own) or set(asked) - set(given):
        raise ConfigurationError(
            f"parity: expected the inputs of {reference.name} {own}, {candidate.name} takes {asked}"
        )


def _common(got: Mapping[str, Any], expected: Mapping[str, Any], outcome: Outcome) -> list[str]:
    common = [name for name in expected if name in got]
    lost = sorted(set(expected) - set(got))
    if lost and not any(f.code == "missing_output" for f in outcome.findings):
        outcome.add(ERROR, "missing_output", f"the candidate has no output {', '.join(lost)}")
    return common


Run = Callable[[Mapping[str, NDArray]], dict[str, NDArray]]


def _runner(source: Source, names: Sequence[str]) -> tuple[Run, Callable[[], None]]:
    """Return what runs the original, and what ends it."""
    if isinstance(source, TorchSource):

        def run(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
            raw = named_outputs(run_torch(source, inputs), names)
            return {name: value.numpy() for name, value in raw}

        return run, lambda: None
    session = load_model_bytes(
        backends()["onnxruntime"], source.data, Path(source.name), BackendOptions()
    )
    return (
        lambda inputs: {k: np.array(v) for k, v in session.infer(inputs).items()},
        session.close,
    )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One layer of the candidate and the one of the original that it stands for."""

    candidate: str
    reference: str
    operator: str
    position: int  # of the candidate's node
    how: str  # name or position


def _layers(
    candidate: OnnxSource, reference: Source, frames: Sequence[ParityInput], outcome: Outcome
) -> None:
    if isinstance(reference, TorchSource):
        pairs, theirs = _torch_layers(candidate, reference, frames)
    else:
        pairs = match_layers(candidate, reference)
        theirs = _tensors(reference, [pair.reference for pair in pairs], frames)
    if not pairs:
        outcome.add(WARNING, "layers", "no layer of the one could be matched with the other")
        return
    ours = _tensors(candidate, [pair.candidate for pair in pairs], frames)
    rows, first = [], None
    for pair in pairs:
        collected = Differences()
        for one, other in zip(ours, theirs, strict=True):
            collected.add(one[pair.candidate], other[pair.reference])
        found = collected.result()
        why = found.why_not(PRESETS["exact"])
        if why and first is None:
            first = (pair, why)
        rows.append({
            "position": pair.position, "layer": pair.candidate, "operator": pair.operator,
            "reference": pair.reference, "matched_by": pair.how, "parts": bool(why), **found.row(),
        })  # fmt: skip
    outcome.tables["layers"] = rows
    outcome.figures["layers_compared"] = len(rows)
    if first is None:
        outcome.add(NOTE, "layers", f"{len(rows)} layers compared, none parts")
        return
    pair, why = first
    outcome.figures["first_that_parts"] = {
        "position": pair.position, "layer": pair.candidate, "operator": pair.operator,
    }  # fmt: skip
    failed = any(f.level == ERROR and f.code == "output" for f in outcome.findings)
    outcome.add(
        ERROR if failed else NOTE, "layer_parts",
        f"first layer that parts: number {pair.position}, '{pair.candidate}' ({pair.operator}): "
        f"{why}",
    )  # fmt: skip


def match_layers(candidate: OnnxSource, reference: OnnxSource) -> list[Pair]:
    """Match layers by name and shape; where few have a partner, by operator, shape and order."""
    graphs = [graph_of(source.name, source.data) for source in (candidate, reference)]
    found = [computed_tensors(_with_shapes(graph), layers=True) for graph in graphs]
    at = {name: i for i, node in enumerate(graphs[0].graph.node) for name in node.output}
    by_name = [n for n in found[0] if n in found[1] and found[1][n][0] == found[0][n][0]]
    if 2 * len(by_name) >= min(len(found[0]), len(found[1])):
        return [
            Pair(candidate=n, reference=n, operator=found[0][n][1], position=at[n], how="name")
            for n in by_name
        ]
    names = [list(item) for item in found]
    keys = [[(kind, shape) for shape, kind in item.values()] for item in found]
    blocks = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False).get_matching_blocks()
    return [
        Pair(
            candidate=names[0][block.a + i], reference=names[1][block.b + i],
            operator=keys[0][block.a + i][0], position=at[names[0][block.a + i]], how="position",
        )
        for block in blocks
        for i in range(block.size)
    ]  # fmt: skip


def _with_shapes(graph: Any) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(graph)


def _tensors(
    source: OnnxSource, names: list[str], frames: Sequence[ParityInput]
) -> list[dict[str, NDArray]]:
    """Return tensors inside of a graph, frame by frame."""
    graph = with_outputs(_with_shapes(graph_of(source.name, source.data)), names)
    session = load_model_bytes(
        backends()["onnxruntime"], graph.SerializeToString(), Path(source.name), BackendOptions()
    )
    try:
        found = []
        for frame in frames:
            made = session.infer(frame.inputs)
            found.append({name: np.array(made[name]) for name in names})
        return found
    finally:
        session.close()


def _torch_layers(
    candidate: OnnxSource, reference: TorchSource, frames: Sequence[ParityInput]
) -> tuple[list[Pair], list[dict[str, NDArray]]]:
    """Match modules with the nodes that the exporter made of them."""
    theirs = [_module_outputs(reference, frame.inputs) for frame in frames]
    graph = _with_shapes(graph_of(candidate.name, candidate.data))
    known = computed_tensors(graph, layers=True)
    last: dict[str, tuple[int, str, str]] = {}
    for index, node in enumerate(graph.graph.node):
        scopes = {p.key: p.value for p in node.metadata_props}.get(_SCOPES, "")
        parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        for name in node.output:
            for part in parts[:-1]:  # the last one is the operator itself
                if part in theirs[0] and name in known:
                    last[part] = (index, name, node.op_type)
    pairs = [
        Pair(candidate=name, reference=module, operator=kind, position=index, how="name")
        for module, (index, name, kind) in last.items()
        if theirs[0][module].shape == known[name][0]
    ]
    if not pairs:
        pairs = _by_position(graph, known, theirs[0], reference)
    return sorted(pairs, key=lambda pair: pair.position), theirs


def _by_position(
    graph: Any, known: Mapping[str, Any], made: Mapping[str, NDArray], reference: TorchSource
) -> list[Pair]:
    """Match convolutions and matrix products in their order, where the shapes agree."""
    torch = torch_library()
    kinds = (torch.nn.Conv2d, torch.nn.Conv1d, torch.nn.Linear, torch.nn.ConvTranspose2d)
    modules = dict(reference.module.named_modules())
    theirs = [name for name in made if isinstance(modules[name], kinds)]
    ours = [
        (index, node.output[0], node.op_type)
        for index, node in enumerate(graph.graph.node)
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and node.output[0] in known
    ]
    if len(theirs) != len(ours):
        return []
    return [
        Pair(candidate=name, reference=module, operator=kind, position=index, how="position")
        for module, (index, name, kind) in zip(theirs, ours, strict=True)
        if made[module].shape == known[name][0]
    ]


def _module_outputs(source: TorchSource, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return what each leaf module gives, in the order of running."""
    torch = torch_library()
    found: dict[str, NDArray] = {}
    hooks = []
    for name, module in source.module.named_modules():
        if list(module.children()):
            continue

        def keep(_module: Any, _given: Any, made: Any, name: str = name) -> None:
            if torch.is_tensor(made):
                found[name] = made.detach().numpy().copy()  # the next one may work in place

        hooks.append(module.register_forward_hook(keep))
    try:
        run_torch(source, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
