"""What this machine has, and which models run on what of it; why not the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import psutil

from edge_perception.backends import backends, offered_ways
from edge_perception.core.extras import MissingExtraError, extra
from edge_perception.core.machine import this_machine
from edge_perception.models.folders import StoredBundle
from edge_perception.optimize.configuration import configurations
from edge_perception.optimize.measuring import alone

_RUNS = 5


def describe_machine() -> dict[str, Any]:
    """Return processors, accelerators, memory and runtimes as plain data."""
    machine = this_machine()
    return {
        **asdict(machine),
        "accelerators": list(machine.accelerators),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "cuda": _cuda(),
        "runtimes": runtimes(),
    }


def runtimes() -> dict[str, dict[str, Any]]:
    """Return by runtime: its ways to run here, or why it cannot be used."""
    found: dict[str, dict[str, Any]] = {}
    for name, spec in sorted(backends().specs.items()):
        offered, note = offered_ways(spec)
        ways = [{"provider": provider, "precision": p} for provider, p in offered]
        found[name] = {"ways": ways} | ({"note": note} if note else {})
    for name, reason in sorted(backends().failures.items()):
        found[name] = {"ways": [], "note": reason}
    return found


def try_models(
    stored: Sequence[StoredBundle], progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Run every model in every way that this machine offers, each in a process of its own.

    Args:
        stored: models, usable or not.
        progress: is told what is tried.

    Returns:
        A row for each: model, way, p50_ms, memory_mb, golden differences, or why it does not run.
    """
    rows: list[dict[str, Any]] = []
    for entry in stored:
        bundle = entry.bundle
        if bundle is None:
            unknown = dict.fromkeys(("version", "role", "backend", "provider", "precision"), "")
            rows.append({"model": entry.name, **unknown, "runs": False, "why_not": entry.error})
            continue
        role = bundle.manifest.role
        progress(f"{bundle.manifest.name} {bundle.manifest.version}")
        for way, told in alone(role, list(configurations([bundle], cores=1)), runs=_RUNS):
            row: dict[str, Any] = {
                "model": bundle.manifest.name,
                "version": bundle.manifest.version,
                "role": role,
                "backend": way.backend,
                "provider": way.provider,
                "precision": way.precision,
            }
            if "error" in told:
                rows.append({**row, "runs": False, "why_not": told["error"]})
                continue
            rows.append(
                {
                    **row,
                    "runs": True,
                    "where": told["where"],
                    "p50_ms": round(told["p50_ms"], 2),
                    "memory_mb": round(told["memory_mb"], 1),
                    "golden": told["golden"],
                }
            )
    return rows


def _cuda() -> str:
    """Say which CUDA driver there is, or why there is none, where the bindings are installed."""
    try:
        with extra("cuda"):
            from cuda.bindings import driver
    except MissingExtraError as error:
        return f"not looked for: {error}"
    try:
        status, version = driver.cuDriverGetVersion()
    except RuntimeError as error:  # no libcuda
        return f"no driver: {error}"
    if int(status) != 0:
        return f"no driver: {status}"
    return f"driver of CUDA {version // 1000}.{version % 1000 // 10}"
