"""Are frames fit to calibrate with, and what does quantisation do to each layer?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import BackendOptions, backends, load_model_bytes
from edge_perception.core.conditions import LIGHTS
from edge_perception.models.graph import graph_of, with_outputs
from edge_perception.optimize.differences import CLASS_KINDS, kind_of
from edge_perception.optimize.findings import ERROR, NOTE, WARNING, Outcome
from edge_perception.optimize.graph_page import node_costs
from edge_perception.optimize.methods import METHODS, Quantiser, results
from edge_perception.optimize.ranges import Frames, measure_ranges

LEAST_FRAMES = 16
_WIDER = 0.5  # of a calibrated range: so much beyond it, and a tensor is of another world
# Share of the tensors of which that may be true. Measured: up to 0.02 between day, night fog and
# PandaSet, 0.16 and more from noise to any of them.
_MOST_WIDER = 0.1
_LEAST_LIGHT = 0.1  # share of the judged frames from which a light must have been calibrated with
_SATURATED = 0.05  # share of values at an end of the range
_LEAST_SHARE = 0.01  # of the time: what any layer costs
_COLLAPSED_DB = 3.0  # signal to difference below which nothing of a layer is left


def check_frames(frames: Frames, outcome: Outcome, where: str) -> None:
    """Add whether there are enough frames and whether they differ."""
    if len(frames) < LEAST_FRAMES:
        outcome.add(
            ERROR, "calibration", f"{where}: expected {LEAST_FRAMES} or more frames to calibrate "
            f"with, got {len(frames)}", "--frames, or longer recordings",
        )  # fmt: skip
        return
    first = frames[0]
    for name in first:
        if all(float(np.ptp(np.asarray(frame[name]))) == 0.0 for frame in frames):
            outcome.add(
                ERROR, "calibration", f"{where}: input '{name}' is constant in every frame: "
                "nothing can be learnt of its range",
            )  # fmt: skip
    if all(np.array_equal(frame[n], first[n]) for frame in frames[1:] for n in first):
        outcome.add(ERROR, "calibration", f"{where}: all {len(frames)} frames are the same")


def check_domain(
    quantiser: Quantiser, others: Mapping[str, Frames], outcome: Outcome, where: str
) -> None:
    """Add whether other frames leave the ranges that were calibrated.

    Args:
        quantiser: with its calibration frames.
        others: frames that the model must serve, by what they are called.
        outcome: is added to.
        where: the calibration frames, for people.
    """
    method = METHODS["minmax"]
    own = _limits(measure_ranges(quantiser.data, quantiser.frames, method))
    rows = []
    for name, frames in others.items():
        theirs = _limits(measure_ranges(quantiser.data, frames, method))
        beyond = {}
        for tensor, (low, high) in own.items():
            other_low, other_high = theirs.get(tensor, (low, high))
            excess = max(other_high - high, low - other_low, 0.0)
            beyond[tensor] = excess / max(high - low, 1e-9)
        wide = sorted((t for t, v in beyond.items() if v > _WIDER), key=lambda t: -beyond[t])
        share = len(wide) / max(len(beyond), 1)
        rows.append({
            "frames": name, "tensors": len(beyond), "beyond": len(wide), "share": share,
            "farthest": wide[0] if wide else "",
        })  # fmt: skip
        if share > _MOST_WIDER:
            outcome.add(
                ERROR, "calibration_domain", f"{where} is of another domain than {name}: "
                f"{len(wide)} of {len(beyond)} tensors leave their calibrated range by more than "
                f"{_WIDER:.0%}, '{wide[0]}' by {beyond[wide[0]]:.0%}",
                "--bag with recordings like those that the model will see",
            )  # fmt: skip
    outcome.tables["domain"] = rows


def check_light(
    calibrating: Sequence[Sequence[str]],
    judged: Sequence[Sequence[str]],
    outcome: Outcome,
    where: str,
) -> None:
    """Add the light of judged frames that no calibration frame has.

    Args:
        calibrating: slices of each calibration frame.
        judged: slices of each judged frame.
        outcome: is added to.
        where: the calibration frames, for people.
    """
    own, theirs = (
        Counter(tag for tags in frames for tag in tags if tag in LIGHTS)
        for frames in (calibrating, judged)
    )
    lacking = [tag for tag, n in theirs.items() if not own[tag] and n > _LEAST_LIGHT * len(judged)]
    if not own or not lacking:
        return
    outcome.add(
        WARNING if set(own) & set(theirs) else ERROR, "calibration_domain",
        f"{where} is of {' and '.join(sorted(own))} only; the judged frames are of "
        f"{' and '.join(sorted(theirs))}",
        f"--bag with recordings of {' and '.join(sorted(lacking))}",
    )  # fmt: skip


def _limits(ranges: Any) -> dict[str, tuple[float, float]]:
    found = {}
    for name, item in ranges.items():
        low, high = item.range_value
        found[name] = (float(np.min(low)), float(np.max(high)))
    return found


def check_layers(
    quantiser: Quantiser, data: bytes, frames: Frames, outcome: Outcome, what: str
) -> list[str]:
    """Add the layers of which quantisation leaves nothing; return their names.

    Args:
        quantiser: with the graph before.
        data: the graph after, with the names of tensors kept.
        frames: to run both with.
        outcome: is added to.
        what: the candidate, for people.
    """
    graphs = [_shaped(item) for item in (data, quantiser.data)]
    known = [_tensor_names(graph) for graph in graphs]
    # By layer: a tensor may bear the name of the activation that its layer took in.
    tensors = [results(item) for item in (data, quantiser.data)]
    layers = [
        layer
        for layer in quantiser.layers
        if all(t.get(layer) in k for t, k in zip(tensors, known, strict=True))
    ]
    if not layers:
        outcome.add(
            NOTE, "layers", f"{what}: its layers have other names, so they were not compared"
        )
        return []
    ours, theirs = (
        _run(graph, [names[layer] for layer in layers], frames)
        for graph, names in zip(graphs, tensors, strict=True)
    )
    broken: list[str] = []
    rows: list[dict[str, Any]] = []
    for layer in layers:
        mine, tensor = (names[layer] for names in tensors)
        why, db = _collapsed(ours[mine], theirs[tensor])
        rows.append({"layer": layer, "tensor": tensor, "sqnr_db": db, "collapsed": why})
        if why:
            broken.append(layer)
    limits = _limits(quantiser.ranges(METHODS["minmax"])) if broken else {}
    for row in rows:
        if row["collapsed"]:
            at = limits.get(row["tensor"])
            told = f", calibrated {at[0]:.3g} to {at[1]:.3g}" if at else ""
            outcome.add(
                WARNING, "collapsed_layer",
                f"{what}: layer '{row['layer']}' collapses: {row['collapsed']}{told}",
            )  # fmt: skip
    outcome.tables[f"layers of {what}"] = rows
    return broken


def _collapsed(got: NDArray, expected: NDArray) -> tuple[str, float]:
    """Say why nothing is left of a layer; and its signal to difference, dB."""
    if not np.all(np.isfinite(got)):
        return f"{np.count_nonzero(~np.isfinite(got))} of {got.size} values are NaN or Inf", -np.inf
    signal, noise = float(np.square(expected).sum()), float(np.square(got - expected).sum())
    db = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else np.inf
    if signal > 0 and not np.any(got):
        return "all of its values are zero", float(db)
    if signal > 0 and float(np.ptp(got)) == 0.0 < float(np.ptp(expected)):
        return f"all of its values are {got.flat[0]:.3g}", float(db)
    top, bottom = got.max(), got.min()
    share = float(((got == top) | ((got == bottom) & (bottom != 0))).mean())
    real = float(((expected >= top) | ((expected <= bottom) & (bottom != 0))).mean())
    if share > _SATURATED and real > _SATURATED and db < 15.0:
        return f"{share:.0%} of its values are at an end of the range", float(db)
    if db < _COLLAPSED_DB:
        return f"its difference is as large as itself ({db:.1f} dB)", float(db)
    return "", float(db)


def sensitivity(
    quantiser: Quantiser, data_of: Any, frames: Frames, progress: Any
) -> list[dict[str, Any]]:
    """Return what each layer alone does to the outputs when it is quantised, the worst first.

    Classes are compared as probabilities, which is what decisions are made of. `worth`: the
    difference for the share of the multiply-adds that the layer has, with a little for being there.

    Args:
        quantiser: with the layers.
        data_of: layers to leave alone -> graph.
        frames: to run with.
        progress: is told how many layers are done.
    """
    base = _decided(_outputs(quantiser.data, frames))
    costs = {c["name"]: c["multiply_adds"] for c in node_costs(graph_of("graph", quantiser.data))}
    whole = max(sum(costs.values()), 1)
    rows = []
    for done, layer in enumerate(quantiser.layers, 1):
        found = _decided(_outputs(data_of([n for n in quantiser.layers if n != layer]), frames))
        noise = [
            float(np.square(found[n] - v).sum() / max(np.square(v - v.mean()).sum(), 1e-12))
            for n, v in base.items()
            if v.dtype.kind == "f"
        ]
        share = costs.get(layer, 0) / whole
        rows.append({
            "layer": layer, "noise": float(np.mean(noise)), "worst_noise": max(noise),
            "cost_share": share, "worth": float(np.mean(noise)) / (share + _LEAST_SHARE),
        })  # fmt: skip
        progress(done)
    return sorted(rows, key=lambda row: -row["noise"])


def _decided(outputs: dict[str, NDArray]) -> dict[str, NDArray]:
    return {
        name: 1 / (1 + np.exp(-array)) if kind_of(name) in CLASS_KINDS else array
        for name, array in outputs.items()
    }


def _outputs(data: bytes, frames: Frames) -> dict[str, NDArray]:
    session = load_model_bytes(
        backends()["onnxruntime"], data, Path("layer.onnx"), BackendOptions()
    )
    try:
        made = [{k: np.array(v) for k, v in session.infer(f).items()} for f in frames]
    finally:
        session.close()
    return {name: np.stack([item[name] for item in made]).astype(np.float64) for name in made[0]}


def _run(graph: Any, names: Sequence[str], frames: Frames) -> dict[str, NDArray]:
    return _outputs(bytes(with_outputs(graph, list(names)).SerializeToString()), frames)


def _shaped(data: bytes) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(graph_of("graph", data))


def _tensor_names(graph: Any) -> set[str]:
    return {value.name for value in (*graph.graph.value_info, *graph.graph.output)}
