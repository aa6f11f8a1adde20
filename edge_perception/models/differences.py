"""What differs between two releases: weights, graph, labels, preprocessing, metrics, the rest.

For engineers; needs the package onnx. What they say on the same inputs is `models.layers`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.version import version_key
from edge_perception.models.graph import graph_of, opset_of
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle, Manifest

# Fields of a manifest that have a part of their own, or follow from the files.
_ELSEWHERE = (
    "files",
    "golden",
    "labels",
    "preprocessing",
    "provenance",
    "version",
    "release",
    "name",
    "created",
    "changelog",
)
_NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Changed:
    """One value that differs; None: this side has none."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """One tensor of weights that differs."""

    name: str
    shape: tuple[int, ...]
    max_absolute: float
    relative: float  # norm of the difference over the norm of what was


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of two graphs, by the names of their tensors."""

    same: int
    changed: tuple[WeightChange, ...]  # the largest relative change first
    reshaped: tuple[Changed, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Structure of two graphs, weights aside."""

    same: bool
    operators: tuple[Changed, ...]  # count by operator
    opset: Changed | None


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What differs between two releases."""

    before: dict[str, Any]
    after: dict[str, Any]
    newer: str  # of the two versions: after, before, or same
    weights: Weights
    graph: Graph
    labels: tuple[Changed, ...]  # what was removed, added, or moved to another index
    preprocessing: tuple[Changed, ...]
    metrics: tuple[Changed, ...]
    manifest: tuple[Changed, ...]  # everything else
    changelog: str  # of the second

    @property
    def same(self) -> bool:
        """Whether both do the same: only names, dates and texts may differ."""
        weights = self.weights
        changed = (weights.changed, weights.reshaped, weights.added, weights.removed)
        return self.graph.same and not any(
            (*changed, self.labels, self.preprocessing, self.metrics, self.manifest)
        )


def differences(before: Bundle, after: Bundle) -> Differences:
    """Compare two releases.

    Raises:
        ModelError: a file is not what its manifest says, or no valid model.
    """
    old, new = before.manifest, after.manifest
    graphs = [graph_of(b.manifest.name, whole_model(b)) for b in (before, after)]
    keys = [version_key(manifest.version)[:2] for manifest in (old, new)]
    newer = "same" if keys[0] == keys[1] else "after" if keys[0] < keys[1] else "before"
    return Differences(
        before=_identity(before),
        after=_identity(after),
        newer=newer,
        weights=_weights(*graphs),
        graph=_graph(*graphs),
        labels=_labels(old.labels, new.labels),
        preprocessing=_changed(old.preprocessing, new.preprocessing),
        metrics=_changed(old.provenance.metrics, new.provenance.metrics),
        manifest=_changed(_rest(old), _rest(new)),
        changelog=new.changelog,
    )


def _identity(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "release": manifest.release,
        "created": manifest.created,
        "sha256": bundle.sha256,
    }


def _weights(before: Any, after: Any) -> Weights:
    old, new = _tensors(before), _tensors(after)
    common = [name for name in old if name in new]
    changed, reshaped = [], []
    for name in common:
        a, b = old[name], new[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            reshaped.append(
                Changed(what=name, before=f"{a.shape} {a.dtype}", after=f"{b.shape} {b.dtype}")
            )
        elif a.tobytes() != b.tobytes():
            changed.append(_change(name, a, b))
    return Weights(
        same=len(common) - len(changed) - len(reshaped),
        changed=tuple(sorted(changed, key=lambda change: -change.relative)),
        reshaped=tuple(reshaped),
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        parameters_before=sum(array.size for array in old.values()),
        parameters_after=sum(array.size for array in new.values()),
    )


def _tensors(model: Any) -> dict[str, NDArray]:
    from onnx import numpy_helper

    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def _change(name: str, before: NDArray, after: NDArray) -> WeightChange:
    old, new = before.astype(np.float64), after.astype(np.float64)
    norm = float(np.linalg.norm(old))
    distance = float(np.linalg.norm(new - old))
    return WeightChange(
        name=name,
        shape=tuple(before.shape),
        max_absolute=float(np.abs(new - old).max(initial=0.0)),
        relative=distance / norm if norm else float("inf"),
    )


def _graph(before: Any, after: Any) -> Graph:
    counts = [dict(Counter(node.op_type for node in model.graph.node)) for model in (before, after)]
    opsets = [opset_of(model) for model in (before, after)]
    return Graph(
        same=_structure(before) == _structure(after),
        operators=_changed(*counts),
        opset=None
        if opsets[0] == opsets[1]
        else Changed(what="opset", before=opsets[0], after=opsets[1]),
    )


def _structure(model: Any) -> str:
    """Return a digest of the nodes with their attributes and connections, weights left out."""
    digest = hashlib.sha256()
    for entry in (*model.graph.input, *model.graph.output, *model.functions):
        digest.update(entry.SerializeToString(deterministic=True))
    for node in model.graph.node:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.ClearField("doc_string")
        digest.update(copy.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _labels(before: Sequence[str], after: Sequence[str]) -> tuple[Changed, ...]:
    old, new = ({name: i for i, name in enumerate(labels)} for labels in (before, after))
    return tuple(
        Changed(what=name, before=old.get(name), after=new.get(name))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )


def _rest(manifest: Manifest) -> dict[str, Any]:
    data = json.loads(json.dumps(asdict(manifest)))
    rest = {name: value for name, value in data.items() if name not in _ELSEWHERE}
    rest["resources"].pop("disk_bytes")  # follows from the files
    rest["provenance"] = {k: v for k, v in data["provenance"].items() if k != "metrics"}
    return rest


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Return the leaves that differ, by their path."""
    old, new = _leaves(before), _leaves(after)
    return tuple(
        Changed(what=path, before=old.get(path), after=new.get(path))
        for path in {**old, **new}
        if (path in old, old.get(path)) != (path in new, new.get(path))
    )


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        items: Any = value.items()
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in value):
        items = enumerate(value)
    else:
        return {path: list(value) if isinstance(value, tuple) else value}
    found: dict[str, Any] = {}
    for name, item in items:
        found |= _leaves(item, f"{path}.{name}" if path else str(name))
    return found


def text_of(found: Differences, *, most: int = 10) -> list[str]:
    """Return lines for people.

    Args:
        found: what differs.
        most: lines of each part before the rest is only counted.
    """
    age = {"after": "newer", "before": "OLDER", "same": "the same version"}[found.newer]
    lines = [
        f"{_name(found.before)} -> {_name(found.after)}: {age}",
        f"release {found.before['release']} -> {found.after['release']}",
    ]
    weights = found.weights
    lines.append(
        f"weights: {weights.same} tensors the same, {len(weights.changed)} changed, "
        f"{len(weights.reshaped)} of another shape or type, {len(weights.added)} added, "
        f"{len(weights.removed)} removed; parameters {weights.parameters_before} -> "
        f"{weights.parameters_after}"
    )
    lines += _some(
        [
            f"{w.name} {w.shape}: {w.relative:.2%} of its norm, at most {w.max_absolute:.3g}"
            for w in weights.changed
        ],
        most,
    )
    lines += _some([_line(change) for change in weights.reshaped], most)
    lines.append(f"graph: {'the same' if found.graph.same else 'differs'}")
    opset = [found.graph.opset] if found.graph.opset else []
    lines += _some([_line(change) for change in (*opset, *found.graph.operators)], most)
    for title, changes in (
        ("labels", found.labels),
        ("preprocessing", found.preprocessing),
        ("metrics", found.metrics),
        ("manifest", found.manifest),
    ):
        lines.append(f"{title}: {f'{len(changes)} differ' if changes else 'the same'}")
        lines += _some([_line(change) for change in changes], most)
    if found.changelog:
        lines += ["changelog:", *(f"  {line}" for line in found.changelog.splitlines())]
    return lines


def _name(identity: Mapping[str, Any]) -> str:
    return f"{identity['name']} {identity['version']} ({identity['sha256'][:12]})"


def _some(lines: list[str], most: int) -> list[str]:
    shown = [f"  {line}" for line in lines[:most]]
    return [*shown, f"  and {len(lines) - most} more"] if len(lines) > most else shown


def _line(change: Changed) -> str:
    before, after = (_NOTHING if v is None else v for v in (change.before, change.after))
    numbers = [v for v in (before, after) if isinstance(v, (int, float)) and type(v) is not bool]
    by = f" ({numbers[1] - numbers[0]:+.4g})" if len(numbers) == 2 else ""
    return f"{change.what}: {before} -> {after}{by}"
