"""ONNX Runtime's operator profile of a bundle as a table."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge_perception.models.folders import find_bundle
from edge_perception.models.loading import model_folders, whole_model


def operator_table(name: str, folders: Sequence[str], *, runs: int) -> str:
    """Return operators by the time they take a run, most first.

    Args:
        name: name of the model.
        folders: where to look before the installed models.
        runs: how often it runs, on zeros; the first run does not count.

    Raises:
        UnknownNameError: no such model.
    """
    bundle = find_bundle(name, model_folders(folders))
    times_us: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for event in _events(whole_model(bundle), runs):
        operator = event["args"]["op_name"]
        times_us[operator] += event["dur"] / runs
        counts[operator] += 1
    total_us = sum(times_us.values()) or 1.0
    lines = [f"{name}: {total_us / 1e3:.2f} ms a run, one thread"]
    for operator in sorted(times_us, key=lambda found: -times_us[found]):
        took_us = times_us[operator]
        lines.append(
            f"  {operator:24} {counts[operator] / runs:5.0f} x {took_us / 1e3:9.3f} ms "
            f"{took_us / total_us:6.1%}"
        )
    return "\n".join([*lines, ""])


def _events(model: bytes, runs: int) -> list[dict]:
    """Return the events of nodes after the first run."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "ort")
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        dtypes = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        inputs = {
            node.name: np.zeros(
                [size if isinstance(size, int) else 1 for size in node.shape],
                dtypes.get(node.type, np.float32),
            )
            for node in session.get_inputs()
        }
        for _ in range(runs + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    per_run = len(kernels) // (runs + 1)
    return kernels[per_run:]
