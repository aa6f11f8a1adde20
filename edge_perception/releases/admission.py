"""Trying a candidate where it can do no harm: in a helper process, limited in memory and time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from edge_perception.backends import DEFAULT_BACKEND
from edge_perception.core.errors import AdmissionError
from edge_perception.core.parameter import parameter
from edge_perception.core.plugins import plugin_folders
from edge_perception.core.schema import decode
from edge_perception.models.golden import Deviation
from edge_perception.models.manifest import Bundle

_MODULE = "edge_perception.releases.admission_helper"
_MARGIN = 1.25  # measured over declared: allocators and libraries differ between machines
_MARGIN_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class AdmissionLimits:
    """What a candidate may cost."""

    memory_mb: int = parameter(
        2048, "memory a candidate may take while it is tried", unit="MB", low=16, high=2**20
    )
    deadline_s: float = parameter(
        60.0,
        "time a candidate gets to load, warm up and run its golden inputs",
        unit="s",
        low=0.5,
        high=3600.0,
    )
    latency_factor: float = parameter(
        3.0,
        "how much slower than the gates of a manifest say this machine may be",
        unit="1",
        low=0.1,
        high=1000.0,
    )
    reserve_mb: int = parameter(
        128,
        "memory that stays free on the machine beside a new model",
        unit="MB",
        low=0,
        high=2**20,
    )


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What was measured of a candidate."""

    load_s: float
    warm_up_s: float
    latency_ms: float  # the best of a few runs: the machine may be busy
    peak_memory_bytes: int
    golden: tuple[Deviation, ...] = ()


def admit(
    bundle: Bundle,
    limits: AdmissionLimits,
    *,
    backend: str = DEFAULT_BACKEND,
    provider: str = "",
    threads: int = 1,
) -> Admission:
    """Load, warm and run a candidate in a helper process, and compare with what is allowed.

    Blocks until the helper is done; its death or hanging costs nothing but its time.

    Raises:
        AdmissionError: it does not fit, is too slow, differs from its golden outputs, was killed
            or hung; the text has the numbers.
    """
    job = {
        "bundle": str(bundle.path),
        "backend": backend,
        "provider": provider,
        "threads": threads,
        "memory_bytes": limits.memory_mb * 2**20,
        "plugin_folders": list(map(str, plugin_folders())),
    }
    answer = _run(job, bundle.manifest.name, limits.deadline_s)
    name = f"{bundle.manifest.name} {bundle.manifest.version}"
    if "error" in answer:
        raise AdmissionError(
            f"{name}: refused in {answer.get('stage', 'start')} (limit {limits.memory_mb} MB): "
            f"{answer['error']}"
        )
    golden = tuple(
        Deviation(**item) for item in answer.pop("golden")
    )  # its own helper, NaN is fine
    admission = replace(decode(Admission, answer, "admission", error=AdmissionError), golden=golden)
    check_admission(bundle, admission, limits, free_bytes=psutil.virtual_memory().available)
    return admission


def check_admission(
    bundle: Bundle, admission: Admission, limits: AdmissionLimits, *, free_bytes: int
) -> None:
    """Compare measurements with the manifest and with what the machine has free.

    Raises:
        AdmissionError: what was measured and what is allowed.
    """
    manifest = bundle.manifest
    name = f"{manifest.name} {manifest.version}"
    peak, declared = admission.peak_memory_bytes, manifest.resources.peak_memory_bytes
    if declared and peak > declared * _MARGIN + _MARGIN_BYTES:
        raise AdmissionError(
            f"{name}: peak memory {_mb(peak)} MB, its manifest says {_mb(declared)} MB"
        )
    room = free_bytes - limits.reserve_mb * 2**20
    if peak > min(room, limits.memory_mb * 2**20):
        raise AdmissionError(
            f"{name}: needs {_mb(peak)} MB, free are {_mb(free_bytes)} MB of which "
            f"{limits.reserve_mb} MB stay free, and the limit is {limits.memory_mb} MB"
        )
    allowed_ms = manifest.gates.latency_ms * limits.latency_factor
    if allowed_ms and admission.latency_ms > allowed_ms:
        raise AdmissionError(
            f"{name}: latency {admission.latency_ms:.1f} ms > {manifest.gates.latency_ms:g} ms of "
            f"its gates x {limits.latency_factor:g} for this machine"
        )
    failed = [f"{item.output}: {item.reason}" for item in admission.golden if not item.passed]
    if failed:
        raise AdmissionError(f"{name}: golden outputs: {'; '.join(failed)}")


def as_dict(admission: Admission) -> dict[str, Any]:
    """Return plain data for the store."""
    return asdict(admission)


def _run(job: dict[str, Any], name: str, deadline_s: float) -> dict[str, Any]:
    """Run the helper; its stages come line by line, so that a hang can be told."""
    started_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        output, _ = process.communicate(json.dumps(job).encode("utf-8"), timeout=deadline_s)
    except subprocess.TimeoutExpired as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        elapsed_s = time.monotonic() - started_s
        raise AdmissionError(
            f"{name}: hung in {_stage(output)}: {elapsed_s:.1f} s > {deadline_s:g} s, helper killed"
        ) from error
    try:
        answer = json.loads(output.splitlines()[-1]) if output.strip() else None
    except ValueError:
        answer = None
    if process.returncode != 0 or not isinstance(answer, dict) or len(answer) < 2:
        code = process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise AdmissionError(f"{name}: the helper ended in {_stage(output)} with {how}")
    return answer


def _stage(output: bytes) -> str:
    stage = "start"
    for line in output.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            stage = json.loads(line).get("stage", stage)
    return stage


def _mb(size: int) -> int:
    return round(size / 2**20)
