"""The bundles that `edge-perception optimize` writes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError


def gate_of(args: argparse.Namespace) -> Any:
    """Return what may be lost."""
    from edge_perception.optimize.verdicts import Gate

    return Gate(points=args.gate, sure=args.sure)


def target_folder(args: argparse.Namespace, name: str) -> Path:
    """Return where the new bundle goes; refused before the work where it may not."""
    target: Path = args.into.expanduser() / (args.name or name)
    if target.exists() and not args.replace:
        raise ConfigurationError(f"{target}: exists already: --replace, --name or --into")
    return target


def check_each_target(args: argparse.Namespace, target: Path, methods: Sequence[str]) -> None:
    """Refuse before the work where a bundle of `--each` may not go."""
    from edge_perception.optimize.quantizing import SPARED

    names = [*methods, *(f"{name} corrected" for name in methods)]
    names += [*(f"{name} {SPARED}" for name in names), "mixed"]
    for name in (*names, *(f"{name} openvino" for name in names)):
        there = each_target(target, name)
        if there.exists() and not args.replace:
            raise ConfigurationError(f"{there}: exists already: --replace, --name or --into")


def each_target(target: Path, candidate: str) -> Path:
    """Return where `--each` writes a candidate: beside what was chosen."""
    return target.with_name(f"{target.name}_{candidate.replace(' ', '_')}")


def write_each(
    args: argparse.Namespace, bundle: Any, target: Path, tried: Sequence[Any], outcome: Any
) -> list[str]:
    """Write every candidate within the gate, a graph once; return the names of the bundles."""
    gate, written, names = gate_of(args), set(), []
    for candidate in tried:
        if gate.holds(candidate.verdict) and candidate.data not in written:
            written.add(candidate.data)
            place = each_target(target, candidate.name)
            names.append(write_chosen(args, bundle, place, candidate, outcome).manifest.name)
    return names


def write_chosen(
    args: argparse.Namespace, bundle: Any, target: Path, best: Any, outcome: Any
) -> Any:
    """Write a candidate as a variant of its bundle, with what was measured; return it."""
    from edge_perception.models.manifest import Bundle
    from edge_perception.optimize.candidates import write_variant

    calibration = outcome.figures["calibration"]
    measured = best.row(gate_of(args))
    metrics = dict(bundle.manifest.provenance.metrics)
    metrics["optimize"] = {
        "judge": outcome.figures["judge"], "gate_points": args.gate,
        **{k: v for k, v in measured.items() if v == v},
    }  # fmt: skip
    provenance = {
        "licence": bundle.manifest.provenance.licence,
        "source": bundle.manifest.provenance.source,
        "training_script": bundle.manifest.provenance.training_script,
        "data": bundle.manifest.provenance.data,
        "metrics": metrics,
        "model_card": bundle.manifest.provenance.model_card,
    }
    changes: dict[str, Any] = {
        "name": target.name,
        "provenance": provenance,
        "resources": {"peak_memory_bytes": round(1e6 * best.memory_mb)},
    }
    if best.precision == "int8" and best.name != "dynamic":
        changes["calibration_set"] = {
            "name": f"{bundle.manifest.role} frames", "sha256": calibration["sha256"],
            "samples": calibration["frames"], "source": ", ".join(calibration["recordings"]),
        }  # fmt: skip
    before = bundle.manifest
    note = (
        f"\n## {best.precision.upper()}\n\nMade of {before.name} {before.version} by "
        f"`edge-perception optimize quantize`: {best.name}"
        f"{f' ({best.note})' if best.note else ''}; {outcome.figures['judge']['measure']} on "
        f"{outcome.figures['judge']['frames']} frames: {best.verdict.loss:.2f} points lost.\n"
    )
    made: Bundle = write_variant(bundle, target, best, changes, note=note, replace_it=args.replace)
    return made
