"""Several sources on one model in one process: sessions shared or not, frames together or not.

The model that it pays for is made here: fully connected layers of so many weights that reading them
from memory takes the time, whether one frame waits for that or four. The others are bundled ones.
All ways take turns in one run, each in a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, median, quantiles, say
from edge_perception.bench._role import Role
from edge_perception.bench.transport import plain_environment
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.writing import write_bundle

NAME = "batching"
HELP = "several sources on one model: shared sessions and micro-batches, against neither"
HEAVY = "heavy"
_ROLE = "edge_perception.bench._batching_role"
_OWN, _SHARED = "own sessions", "shared"
_TOGETHER, _GUARDED = "together", "together where it pays"
_SIZE, _LAYERS = 2048, 6  # 100 MB of weights
# Sources, and the rate that they fit in: about half of what two cores can.
_CASES = {HEAVY: (4, 5.0), "bev_lite/camera": (2, 6.0), "bev_lite/lidar": (2, 8.0)}
_QUICK = (HEAVY, "bev_lite/camera")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    seconds, rounds = (1.0, 2) if args.quick else (6.0, 6)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as folder:
        for case in _QUICK if args.quick else _CASES:
            path = Path(folder) / HEAVY
            if case == HEAVY:
                write_heavy_model(path)
            else:
                path = find_bundle(case, installed_model_folders()).path
            found = _of(case, path, seconds, rounds)
            rows.extend(found)
            summary |= _summary(case.rpartition("/")[2], found)
    deliver({"benchmark": NAME, "machine": machine(), "summary": summary, "rows": rows}, args)
    return 0


def write_heavy_model(folder: Path) -> None:
    """Write a bundle of fully connected layers whose weights fit into no cache."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(_LAYERS):
        scaled = random.standard_normal((_SIZE, _SIZE), np.float32) * np.sqrt(2.0 / _SIZE)
        weights.append(numpy_helper.from_array(scaled.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        last = "y" if layer == _LAYERS - 1 else f"r{layer}"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [last]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "heavy",
        [value("x", TensorProto.FLOAT, (1, _SIZE))],
        [value("y", TensorProto.FLOAT, (1, _SIZE))],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    tensor = {"dtype": "float32", "shape": [1, _SIZE]}
    write_bundle(
        folder,
        manifest={
            "name": HEAVY,
            "role": "audio",
            "version": "1.0.0",
            "adapter": "audio_tagger",
            "inputs": [{"name": "x", **tensor}],
            "outputs": [{"name": "y", **tensor}],
            "labels": [str(number) for number in range(_SIZE)],
            "provenance": {"licence": "Apache-2.0"},
        },
        model=model.SerializeToString(),
        golden_inputs={"x": random.random((1, _SIZE)).astype(np.float32)},
    )


def _of(case: str, path: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    count, hz = _CASES[case]
    ways = {
        _OWN: ("1", "own"),
        _SHARED: ("1", "shared"),
        _TOGETHER: (str(count), "believed"),
        _GUARDED: (str(count), "shared"),
    }
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        roles = {
            way: stack.enter_context(
                Role(_ROLE, (str(path), str(count), str(hz), *options), plain_environment())
            )
            for way, options in ways.items()
        }
        memory = {way: role.ask(120.0, do="ready")["memory_mb"] for way, role in roles.items()}
        roles[_GUARDED].ask(120.0, do="settle")
        for number in range(rounds):
            for way, role in roles.items():
                fast = role.ask(60.0, do="saturated", seconds=seconds)
                paced = role.ask(60.0, do="paced", seconds=seconds)
                rows.append(
                    {
                        "model": case,
                        "way": way,
                        "round": number,
                        "memory_mb": memory[way],
                        "rate_hz": fast["rate_hz"],
                        "fairness": min(fast["frames"]) / max(max(fast["frames"]), 1),
                        "took_ms": paced["took_ms"],
                        "told": paced["told"],
                    }
                )
    for way in ways:
        mine = [row for row in rows if row["way"] == way]
        took = quantiles(value for row in mine for value in row["took_ms"])
        say(
            f"{case}, {count} sources, {way:22}: {median(row['rate_hz'] for row in mine):7.1f} "
            f"frames/s, at {hz:g} Hz each p50 {took['p50']:.1f} ms, p99 {took['p99']:.1f} ms, "
            f"{memory[way]:.0f} MB {mine[-1]['told']}"
        )
    return rows


def _summary(case: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    of = {way: [r for r in rows if r["way"] == way] for way in (_OWN, _SHARED, _TOGETHER, _GUARDED)}

    def p(way: str, key: str) -> float:
        return quantiles(value for row in of[way] for value in row["took_ms"])[key]

    summary: dict[str, Any] = {}
    for way, name in ((_SHARED, "shared"), (_TOGETHER, "batch"), (_GUARDED, "guarded")):
        pairs = list(zip(of[way], of[_OWN], strict=True))
        summary |= {
            f"{case}_{name}_throughput_ratio": median(
                a["rate_hz"] / b["rate_hz"] for a, b in pairs
            ),
            f"{case}_{name}_p50_ratio": round(p(way, "p50") / p(_OWN, "p50"), 3),
            f"{case}_{name}_p99_ratio": round(p(way, "p99") / p(_OWN, "p99"), 3),
            f"{case}_{name}_fairness": round(min(row["fairness"] for row in of[way]), 3),
        }
    saved = of[_OWN][0]["memory_mb"] - of[_SHARED][0]["memory_mb"]
    summary[f"{case}_memory_saved_mb"] = round(saved, 1)
    summary[f"{case}_memory_ratio"] = round(
        of[_SHARED][0]["memory_mb"] / of[_OWN][0]["memory_mb"], 3
    )
    return summary
