"""Trying a candidate where it can do no harm: in a helper process, limited in memory and time."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psutil

from edge_perception.backends import DEFAULT_BACKEND
from edge_perception.core.child_process import ending, signal_group, start_helper
from edge_perception.core.errors import AdmissionError
from edge_perception.core.parameter import parameter
from edge_perception.core.plugins import plugin_folders
from edge_perception.core.schema import decode
from edge_perception.models.device_keys import device_key_name
from edge_perception.models.golden import Deviation
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import Bundle

_MODULE = "edge_perception.releases.admission_helper"
# What decides how a node runs a model. Not its cache: a candidate leaves nothing behind.
WAY = ("backend", "provider", "provider_options", "strict_provider", "precision", "threads")
_CPU = ("", "cpu", "cpuexecutionprovider")
_MARGIN = 1.25  # measured over declared: allocators and libraries differ between machines
_MARGIN_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class AdmissionLimits:
    """What a candidate may cost."""

    memory_mb: int = parameter(
        2048,
        "memory a candidate may take while it is tried",
        unit="MB",
        low=16,
        high=2**20,
        stricter="lower",
    )
    deadline_s: float = parameter(
        60.0,
        "time a candidate gets to load, warm up and run its golden inputs",
        unit="s",
        low=0.5,
        high=3600.0,
        stricter="lower",
    )
    latency_factor: float = parameter(
        3.0,
        "how much slower than the gates of a manifest say this machine may be",
        unit="1",
        low=0.1,
        high=1000.0,
        stricter="lower",
    )
    latency_runs: int = parameter(
        100,
        "runs after the warm-up whose median and p99 are the latency; fewer where they take longer "
        "than a quarter of deadline_s",
        low=20,
        high=10000,
        stricter="higher",
    )
    reserve_mb: int = parameter(
        128,
        "memory that stays free on the machine beside a new model",
        unit="MB",
        low=0,
        high=2**20,
        stricter="higher",
    )


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What was measured of a candidate, as its node would run it."""

    load_s: float
    warm_up_s: float
    latency_ms: float  # median of `runs`, after the warm-up
    latency_p99_ms: float
    runs: int
    provider: str  # that most of the graph ran on
    peak_memory_bytes: int
    usual_way: bool = True  # the default runtime on the CPU
    golden: tuple[Deviation, ...] = ()


def admit(
    bundle: Bundle, limits: AdmissionLimits, options: ModelOptions | None = None
) -> Admission:
    """Load, warm and run a candidate in a helper process, and compare with what is allowed.

    Blocks until the helper is done; its death or hanging costs nothing but its time.

    Args:
        bundle: the candidate.
        limits: what it may cost.
        options: of the node that is to serve it; None: the defaults.

    Raises:
        AdmissionError: it does not fit, is too slow, differs from its golden outputs, was killed
            or hung; the text has the numbers.
    """
    admission = measure(bundle, limits, options)
    check_admission(bundle, admission, limits, free_bytes=psutil.virtual_memory().available)
    return admission


def measure(
    bundle: Bundle, limits: AdmissionLimits, options: ModelOptions | None = None
) -> Admission:
    """Load, warm and run a candidate in a helper process; what it costs is not judged here.

    Raises:
        AdmissionError: it does not load or run within the limits; the text says in which step.
    """
    job = {
        "bundle": str(bundle.path),
        "sha256": bundle.sha256,
        "options": way_of(options or ModelOptions(model="")),
        "device_key": device_key_name(),
        "runs": limits.latency_runs,
        "longest_s": limits.deadline_s / 4,
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
    return admission_of({**answer, "usual_way": _is_usual(options or ModelOptions(model=""))})


def _is_usual(options: ModelOptions) -> bool:
    return options.backend == DEFAULT_BACKEND and runs_on_cpu(options.provider)


def runs_on_cpu(provider: str) -> bool:
    """Whether a chain of providers of ONNX Runtime, as a parameter names it, is the CPU's."""
    return all(name.strip().lower() in _CPU for name in provider.split(","))


def way_of(options: ModelOptions) -> dict[str, Any]:
    """Return what decides how a model runs, as plain data."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in ((name, getattr(options, name)) for name in WAY)
    }


def options_of(way: object, where: str) -> ModelOptions:
    """Return options from what `way_of` gave.

    Raises:
        AdmissionError: it is something else.
    """
    if not isinstance(way, Mapping) or not set(way) <= set(WAY):
        raise AdmissionError(f"{where}: expected {', '.join(WAY)}, got {way!r}")
    return decode(ModelOptions, {"model": "", **way}, where, error=AdmissionError)


def admission_of(data: object) -> Admission:
    """Return a measurement from plain data.

    Raises:
        AdmissionError: it is none.
    """
    if not isinstance(data, Mapping):
        raise AdmissionError(f"admission: expected a mapping, got {data!r}")
    plain = {name: value for name, value in data.items() if name != "golden"}
    try:
        # Not decoded: a difference may be NaN.
        golden = tuple(Deviation(**item) for item in data.get("golden", ()))
    except TypeError as error:
        raise AdmissionError(f"admission.golden: {error}") from error
    return replace(decode(Admission, plain, "admission", error=AdmissionError), golden=golden)


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
    # Declared is what the default runtime takes on the CPU; others have a size of their own.
    if declared and admission.usual_way and peak > declared * _MARGIN + _MARGIN_BYTES:
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
            f"{name}: latency {admission.latency_ms:.1f} ms (median of {admission.runs}, p99 "
            f"{admission.latency_p99_ms:.1f} ms, {admission.provider}) > "
            f"{manifest.gates.latency_ms:g} ms of its gates x {limits.latency_factor:g} for this "
            "machine"
        )
    own_ms = manifest.objectives.deadline_ms or 0.0
    deadline_ms = own_ms * limits.latency_factor
    if deadline_ms and admission.latency_p99_ms > deadline_ms:
        raise AdmissionError(
            f"{name}: latency p99 {admission.latency_p99_ms:.1f} ms of {admission.runs} runs > "
            f"{own_ms:g} ms, its deadline, x {limits.latency_factor:g} "
            "for this machine"
        )
    failed = [f"{item.output}: {item.reason}" for item in admission.golden if not item.passed]
    if failed:
        raise AdmissionError(f"{name}: golden outputs: {'; '.join(failed)}")


def _run(job: dict[str, Any], name: str, deadline_s: float) -> dict[str, Any]:
    """Run the helper; its stages come line by line, so that a hang can be told."""
    started_s = time.monotonic()
    process = start_helper(_MODULE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        output, _ = process.communicate(json.dumps(job).encode("utf-8"), timeout=deadline_s)
    except subprocess.TimeoutExpired as error:
        signal_group(process, signal.SIGKILL)
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
        how = ending(process.returncode)
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
