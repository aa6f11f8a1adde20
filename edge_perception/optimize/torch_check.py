"""Before an export: does the module run cleanly, and can its graph be captured whole?"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.optimize.findings import ERROR, NOTE, WARNING, Outcome
from edge_perception.optimize.libraries import operation_counter, torch_library
from edge_perception.optimize.sources import TorchSource

_SEED = 0
_KNOWN_SPACES = ("aten", "prim", "prims", "_operator", "higher_order", "quantized", "sym")
_DATA_DEPENDENT = re.compile(
    r"data.?dependent|GuardOnDataDependent|unbacked|_local_scalar_dense|aten\.nonzero|"
    r"Could not (guard|extract)|dynamic control flow|Eq\(u\d|u\d+",
    re.IGNORECASE,
)
_USER_LINE = re.compile(r'File "([^"]+)", line (\d+)')


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what exporters print about themselves off the terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_torch(source: TorchSource, outcome: Outcome) -> list[tuple[str, NDArray]]:
    """Add what is found of a module; return its outputs by name, none where it does not run."""
    outputs = _forward(source, outcome)
    if outputs:
        _capture(source, outcome)
        _cost(source, outcome)
    return outputs


def run_torch(source: TorchSource, inputs: Mapping[str, NDArray] | None = None) -> Any:
    """Run the module in eval mode without gradients, from a fixed seed."""
    torch = torch_library()
    arrays = source.inputs if inputs is None else {n: inputs[n] for n in source.inputs}
    tensors = [torch.from_numpy(np.array(array)) for array in arrays.values()]
    torch.manual_seed(_SEED)
    with torch.no_grad():
        return source.module.eval()(*tensors)


def named_outputs(raw: Any, names: Sequence[str] = ()) -> list[tuple[str, Any]]:
    """Return outputs by name: those of a mapping, those given, or output_0 and on."""
    if isinstance(raw, Mapping):
        return [(str(name), value) for name, value in raw.items()]
    values = list(raw) if isinstance(raw, (tuple, list)) else [raw]
    known = (
        list(names) if len(names) == len(values) else [f"output_{i}" for i in range(len(values))]
    )
    return list(zip(known, values, strict=True))


def _forward(source: TorchSource, outcome: Outcome) -> list[tuple[str, NDArray]]:
    torch = torch_library()
    try:
        first, again = run_torch(source), None
        torch.manual_seed(_SEED + 1)
        with torch.no_grad():
            again = source.module(*source.tensors())
    except Exception as error:
        outcome.add(
            ERROR, "forward", f"forward of {source.name} raised {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}; inputs "
            + ", ".join(f"{n} {a.dtype} {a.shape}" for n, a in source.inputs.items()),
            "--input NAME=SHAPE[:dtype] for each argument of forward",
        )  # fmt: skip
        return []
    outputs, seconds = named_outputs(first), named_outputs(again)
    bad = [(n, v) for n, v in outputs if not torch.is_tensor(v)]
    for name, value in bad:
        outcome.add(
            ERROR, "signature", f"output '{name}' is {type(value).__name__}, expected a tensor",
            "return tensors only: a tuple, or a dict of tensors",
        )  # fmt: skip
    if isinstance(first, Mapping):
        outcome.add(NOTE, "signature", "outputs are a dict: their names become those of the graph")
    if bad:
        return []
    arrays = [(name, value.detach().numpy()) for name, value in outputs]
    for (name, array), (_, other) in zip(arrays, seconds, strict=True):
        if not np.all(np.isfinite(array)) and array.dtype.kind == "f":
            outcome.add(
                ERROR, "not_finite", f"output '{name}' has NaN or Inf on the example inputs"
            )
        elif not np.array_equal(array, other.numpy()):
            outcome.add(
                ERROR, "random", f"output '{name}' differs between two runs of the same input in "
                "eval mode", "a dropout or noise that does not follow module.training",
            )  # fmt: skip
    outcome.figures["inputs"] = {
        n: {"dtype": str(a.dtype), "shape": list(a.shape)} for n, a in source.inputs.items()
    }
    outcome.figures["outputs"] = {
        n: {"dtype": str(a.dtype), "shape": list(a.shape)} for n, a in arrays
    }
    return arrays


def _capture(source: TorchSource, outcome: Outcome) -> None:
    """Capture the graph with two inputs; what depends on the data shows as error or difference."""
    if source.is_script:
        _script_operators(source, outcome)
        return
    torch = torch_library()
    graphs = []
    for scale in (1.0, -3.0):
        tensors = tuple(
            t * scale + (0.25 if scale < 0 else 0.0) if t.is_floating_point() else t
            for t in source.tensors()
        )
        try:
            with hushed():
                program = torch.export.export(source.module, tensors, strict=False)
        except Exception as error:
            outcome.add(*_why_not_captured(source, error))
            return
        graphs.append(_nodes(program))
        if scale == 1.0:
            _custom(program, outcome)
    one, other = graphs
    if one != other:
        at = next(
            (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        outcome.add(
            ERROR, "data_dependent", f"two inputs give two graphs: {len(one)} and {len(other)} "
            f"operators, they part at operator {at} ({[*one, 'the end'][at]})",
            "values of tensors must not choose Python code: torch.where, torch.cond, a fixed count",
        )  # fmt: skip
    outcome.figures["operators"] = len(one)


def _why_not_captured(source: TorchSource, error: Exception) -> tuple[str, str, str, str]:
    text = f"{type(error).__name__}: {error}"
    head = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    lines = [m for m in _USER_LINE.findall(text) if "site-packages" not in m[0]]
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if "site-packages" not in name and "edge_perception" not in name and "<" not in name:
            lines.append((name, str(frame.tb_lineno)))
        frame = frame.tb_next
    where = f" at {lines[-1][0]}:{lines[-1][1]}" if lines else ""
    if _DATA_DEPENDENT.search(text):
        return (
            ERROR, "data_dependent",
            f"{source.name}: shapes or control flow depend on values of a tensor{where}: {head}",
            "values of tensors must not choose Python code: torch.where, torch.cond, a fixed count",
        )  # fmt: skip
    return (
        ERROR, "capture", f"{source.name}: the graph cannot be captured{where}: {head}",
        "what torch.export cannot follow must leave forward, or be written with tensor operators",
    )  # fmt: skip


def _nodes(program: Any) -> list[str]:
    return [str(n.target) for n in program.graph.nodes if n.op == "call_function"]


def _custom(program: Any, outcome: Outcome) -> None:
    found: dict[str, int] = {}
    for node in program.graph.nodes:
        target = node.target
        space = getattr(target, "namespace", "") if node.op == "call_function" else ""
        if space and space not in _KNOWN_SPACES:
            name = str(target.name() if hasattr(target, "name") else target).partition(".")[0]
            found[name] = found.get(name, 0) + 1
    for name, count in sorted(found.items()):
        outcome.add(
            ERROR, "custom_operator", f"custom operator {name}, {count} times: no runtime here has "
            "it", "write it with operators of PyTorch, or give the exporter a translation "
            "(custom_translation_table) and every runtime a kernel",
        )  # fmt: skip


def _script_operators(source: TorchSource, outcome: Outcome) -> None:
    kinds = [node.kind() for node in source.module.inlined_graph.nodes()]
    custom = sorted({k for k in kinds if k.partition("::")[0] not in _KNOWN_SPACES})
    for name in custom:
        outcome.add(
            ERROR, "custom_operator", f"custom operator {name}: no runtime here has it",
            "write it with operators of PyTorch",
        )  # fmt: skip
    for name in sorted({k for k in kinds if k in ("prim::Loop", "prim::If")}):
        outcome.add(
            ERROR, "data_dependent", f"{source.name}: {name} in the TorchScript: which operators "
            "run may depend on the data", "a fixed count, or torch.where",
        )  # fmt: skip
    outcome.figures["operators"] = len(kinds)


def _cost(source: TorchSource, outcome: Outcome) -> None:
    """Estimate operations, weights and the most that one layer holds at a time."""
    torch = torch_library()
    weights = sum(p.numel() * p.element_size() for p in source.module.parameters())
    weights += sum(b.numel() * b.element_size() for b in source.module.buffers())
    outcome.figures["weight_bytes"] = int(weights)
    if source.is_script:
        return
    counter = operation_counter()
    held = 0

    def note(_module: Any, given: Any, made: Any) -> None:
        nonlocal held
        tensors = [t for t in (*given, *(v for _, v in named_outputs(made))) if torch.is_tensor(t)]
        held = max(held, sum(t.numel() * t.element_size() for t in tensors))

    hooks = [
        module.register_forward_hook(note)
        for module in source.module.modules()
        if not list(module.children())
    ]
    try:
        with counter:
            run_torch(source)
    finally:
        for hook in hooks:
            hook.remove()
    outcome.figures["operations"] = int(counter.get_total_flops())
    outcome.figures["activation_bytes"] = int(held)
    if counter.get_total_flops() == 0:
        outcome.add(WARNING, "cost", "no convolution or matrix product was counted")
