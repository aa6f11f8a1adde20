"""Execution providers of ONNX Runtime: which are tried, and which really run the graph.

Names and order: https://onnxruntime.ai/docs/execution-providers
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CPU = "CPUExecutionProvider"
AUTO = "auto"
# Short names that people write; any full name of ONNX Runtime is taken too.
SHORT = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "nvtensorrtrtx": "NvTensorRTRTXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "dml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "cann": "CANNExecutionProvider",
}
NEVER_AUTOMATIC = {"AzureExecutionProvider"}  # sends tensors to a service


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Providers to try, the CPU's last, and what was asked for but cannot be."""

    providers: tuple[tuple[str, Mapping[str, str]], ...]
    asked: tuple[str, ...]
    notes: tuple[str, ...] = ()


def chain(
    asked: Sequence[str],
    options: Mapping[str, Mapping[str, str]],
    available: Sequence[str],
    known: Sequence[str],
) -> Chain:
    """Return the providers of a session.

    Args:
        asked: short or full names in the order to try; `auto`: all of this build; none: the CPU's.
        options: options by name, short or full.
        available: what this build of ONNX Runtime has, in its own order.
        known: all that some build has.

    Raises:
        ValueError: no build has a provider of that name, or options are of none that is asked for,
            or of the CPU's, which reads none.
    """
    names = list(dict.fromkeys(_full(name) for name in asked)) or [CPU]
    settings = {_full(name): dict(values) for name, values in options.items()}
    for name in [*names, *settings]:
        if name not in (*known, *available, AUTO):
            raise ValueError(_unknown(name, [*SHORT, AUTO, *known]))
    if AUTO in names:
        automatic = [name for name in available if name not in NEVER_AUTOMATIC]
        index = names.index(AUTO)
        names = list(dict.fromkeys([*names[:index], *automatic, *names[index + 1 :]]))
    idle = sorted(set(settings) - set(names))
    if idle:
        raise ValueError(f"options of {', '.join(idle)}: expected among the providers, it is not")
    if settings.get(CPU):  # ONNX Runtime says nothing of them
        given = ", ".join(settings[CPU])
        raise ValueError(f"options of {CPU}: it reads none, got {given}; see `threads`")
    notes = [
        f"{name} is not in this build of ONNX Runtime, which has {', '.join(available)}"
        for name in names
        if name not in available
    ]
    usable = [name for name in names if name in available]
    if CPU not in usable:
        usable.append(CPU)
    return Chain(
        providers=tuple((name, settings.get(name, {})) for name in usable),
        asked=tuple(names),
        notes=tuple(notes),
    )


def assignment(session: Any) -> dict[str, int]:
    """Return the nodes that each provider runs, from the session's own record; empty: not told.

    The session must have been created with `session.record_ep_graph_assignment_info`.
    """
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if tell is None:
        return {}
    counts: Counter[str] = Counter()
    for part in tell():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def shortfalls(asked: Sequence[str], active: Sequence[str], nodes: Mapping[str, int]) -> list[str]:
    """Say which providers that were asked for do nothing.

    Args:
        asked: full names.
        active: those that the session has.
        nodes: nodes by provider; empty: not told.
    """
    found = []
    total = sum(nodes.values())
    for name in asked:
        if name not in active:
            found.append(f"{name} could not be started, see the log of ONNX Runtime")
        elif nodes and name not in nodes and not (name == CPU and len(asked) > 1):
            found.append(f"{name} runs none of {total} nodes")
    return found


def _full(name: str) -> str:
    return SHORT.get(name.lower(), name)


def _unknown(name: str, known: Sequence[str]) -> str:
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"; did you mean {by_lower[near[0]]}?" if near else ""
    return f"provider '{name}' is not known{hint}; there are {', '.join(sorted(SHORT))} and {AUTO}"
