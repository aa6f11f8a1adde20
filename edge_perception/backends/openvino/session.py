"""An OpenVINO session: precision set on purpose, threads bounded, compiled models kept.

Properties: https://docs.openvino.ai, "Query device properties". The CPU plugin computes in bfloat16
by its own choice where the processor can; here it does so only when asked.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_perception.backends.contract import (
    BackendInfo,
    BackendOptions,
    OperatorTime,
    TensorInfo,
)
from edge_perception.backends.tensors import check_inputs, warm_up
from edge_perception.core.errors import BackendError
from edge_perception.core.extras import extra

with extra("openvino"):
    import openvino as ov

_PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
_HINT = "INFERENCE_PRECISION_HINT"
_AUTO = "AUTO"
_DEVICES = ("CPU", "GPU", "NPU", _AUTO)  # that some machine has
_DATA_NODES = ("Parameter", "Input", "Output", "Result", "Constant", "Const")


def load(path: Path, options: BackendOptions) -> OpenVinoBackend:
    """Compile a model.

    Raises:
        BackendError: the file is no model this runtime can run, the device is not here, or, where
            the options are strict, something else runs than was asked for.
    """
    return OpenVinoBackend(path, options)


def load_bytes(data: bytes, path: Path, options: BackendOptions) -> OpenVinoBackend:
    """Compile a model that was read already; `path` is its name in messages.

    Raises:
        BackendError: as `load`.
    """
    return OpenVinoBackend(path, options, data)


def ways() -> list[tuple[str, str]]:
    """Return devices with the precisions that they compute in."""
    core = ov.Core()
    found: list[tuple[str, str]] = []
    for device in core.available_devices:
        capabilities = set(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
        found.extend(
            (device, name)
            for name, told in (("fp32", "FP32"), ("bf16", "BF16"), ("fp16", "FP16"))
            if told in capabilities
        )
    return found


class OpenVinoBackend:
    """One compiled model with one request, which one thread uses."""

    def __init__(self, path: Path, options: BackendOptions, data: bytes | None = None) -> None:
        self._path = path
        self._profile: list[Any] | None = [] if options.profiling else None  # an item a run
        core = ov.Core()
        device = _device(path, options, core.available_devices)
        try:
            model = core.read_model(str(path)) if data is None else core.read_model(data)
            self._compiled, notes = _compiled(core, model, device, options)
            self._request = self._compiled.create_infer_request()
        except BackendError as error:
            raise BackendError(f"{path.name}: {error}") from error
        except Exception as error:  # RuntimeError with the text of the C++ side
            raise BackendError(f"{path.name}: OpenVINO cannot load it: {_short(error)}") from error
        cached = options.cache is not None and not notes
        self._info = _describe(self._compiled, options, device, cached=cached)
        if options.strict and self._info.notes:
            told = "; ".join(self._info.notes)
            raise BackendError(f"{path.name}: strict_provider: {told}")
        self._info = replace(self._info, notes=(*self._info.notes, *notes))
        self._names = [info.name for info in self._info.outputs]

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._info

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors; free dimensions become 1."""
        warm_up(self.infer, self._info.inputs, runs)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model: named arrays in, named arrays out.

        Raises:
            BackendError: an input is missing, of the wrong shape or dtype, or the run failed.
        """
        check_inputs(self._path.name, self._info.inputs, inputs)
        given = {info.name: inputs[info.name] for info in self._info.inputs}
        try:
            # Inputs are read where they lie; outputs are the request's, and are copied out of it.
            results = self._request.infer(given, share_inputs=True, share_outputs=True)
            if self._profile is not None:
                self._profile.append(self._request.get_profiling_info())
            return {name: results[i].copy() for i, name in enumerate(self._names)}
        except Exception as error:
            raise BackendError(f"{self._path.name}: inference failed: {_short(error)}") from error

    def operator_times(self, runs: int) -> tuple[OperatorTime, ...]:
        """Return the operators of the last runs, where the model was compiled with `profiling`."""
        if self._profile is None:
            raise BackendError(f"{self._path.name}: was not loaded for profiling")
        last = self._profile[-runs:] if runs > 0 else []
        spent_s: dict[str, float] = defaultdict(float)
        counts: Counter[str] = Counter()
        for node in (node for run in last for node in run):
            spent = node.real_time.total_seconds()
            if spent > 0.0:  # others were taken out of the graph, or folded into a neighbour
                spent_s[node.node_type] += spent
                counts[node.node_type] += 1
        return tuple(
            OperatorTime(
                kind=kind,
                count=counts[kind] / len(last),
                seconds=spent_s[kind] / len(last),
                where=self._info.provider,
            )
            for kind in spent_s
        )

    def close(self) -> None:
        """Release the session."""
        del self._request, self._compiled


def _device(path: Path, options: BackendOptions, available: list[str]) -> str:
    """Return the device string: one, or a chain that AUTO tries in order."""
    asked = list(options.provider) or ["CPU"]
    kinds = {*(_kind(name) for name in available), _AUTO}
    for name in asked:
        if _kind(name) not in (*_DEVICES, *kinds):
            near = difflib.get_close_matches(_kind(name), _DEVICES, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BackendError(
                f"{path.name}: device '{name}' is not known{hint}; there are {', '.join(_DEVICES)}"
            )
    unknown = [name for name in asked if _kind(name) not in kinds]
    usable = [name.upper() for name in asked if name not in unknown]
    if unknown and (options.strict or not usable):
        raise BackendError(
            f"{path.name}: device {', '.join(unknown)} is not here; OpenVINO finds "
            f"{', '.join(available)}, and AUTO chooses among them"
        )
    if len(usable) == 1:
        return usable[0]
    # AUTO itself is no candidate of AUTO: what is named beside it is.
    return f"{_AUTO}:{','.join(name for name in usable if name != _AUTO)}"


def _kind(device: str) -> str:
    """Return the kind of a device such as `GPU.1`."""
    return device.upper().split(".")[0].split(":")[0]


def _compiled(
    core: ov.Core, model: ov.Model, device: str, options: BackendOptions
) -> tuple[ov.CompiledModel, tuple[str, ...]]:
    """Compile; a folder that does not serve as a cache keeps no model from running.

    Returns:
        The model, and why nothing is kept of it.

    Raises:
        BackendError: an option is of a device that is not asked for.
        Exception: of OpenVINO.
    """
    properties = _properties(options, device)
    if options.cache is None:
        return core.compile_model(model, device, properties), ()
    try:
        options.cache.mkdir(parents=True, exist_ok=True)
        return core.compile_model(
            model, device, {**properties, "CACHE_DIR": str(options.cache)}
        ), ()
    except Exception as error:
        # What fails without it too raises here, and the cache was not to blame.
        compiled = core.compile_model(model, device, properties)
        return compiled, (f"compile_cache is not used: {_short(error)}",)


def _properties(options: BackendOptions, device: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    # Unless told, every compiled model pins its threads, and ours while it infers, to the same
    # first cores: two models beside each other then share one core, and the others stand idle.
    on_cpu = {
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    if device == "CPU":
        properties |= on_cpu
    elif _kind(device) == _AUTO:  # may come to run on the CPU, at first or for good
        properties["DEVICE_PROPERTIES"] = {"CPU": on_cpu}
    if options.precision != "auto":
        properties[_HINT] = _PRECISIONS[options.precision]
    if options.profiling:
        properties["PERF_COUNT"] = True
    for owner, values in options.provider_options.items():
        _put_options(properties, owner.upper(), values, options, device)
    return properties


def _put_options(
    properties: dict[str, Any],
    owner: str,
    values: Mapping[str, str],
    options: BackendOptions,
    device: str,
) -> None:
    """Put the options of a device where only that one reads them.

    Raises:
        BackendError: nobody asked for that device.
    """
    asked = [name.upper() for name in options.provider] or ["CPU"]
    candidates = device.partition(":")[2].split(",") if _kind(device) == _AUTO else [device]
    if owner in (device, _kind(device)):
        properties |= dict(values)
    elif owner in candidates or (owner in _DEVICES and device == _AUTO):
        by_device = properties["DEVICE_PROPERTIES"]
        by_device[owner] = {**by_device.get(owner, {}), **values}
    elif owner not in asked:  # else it is not here, which is said already
        raise BackendError(f"options of {owner}: expected among the devices {', '.join(asked)}")


def _describe(compiled: Any, options: BackendOptions, device: str, *, cached: bool) -> BackendInfo:
    devices = [str(name) for name in compiled.get_property("EXECUTION_DEVICES")]
    asked = [name.upper() for name in options.provider] or ["CPU"]
    notes = [
        f"{name} is not here; {', '.join(devices)} runs it"
        for name in asked
        if name not in device and name.split(".")[0] not in device
    ]
    assignment = _assignment(compiled, devices[0] if devices else device)
    precision = _precision(compiled, assignment)
    wanted = _PRECISIONS.get(options.precision)
    if wanted is not None and precision != wanted:
        notes.append(f"precision {wanted} was asked for, {precision} runs")
    return BackendInfo(
        runtime="openvino",
        runtime_version=str(ov.__version__).split("-")[0],
        provider=devices[0] if devices else device,
        assignment=assignment,
        precision=precision,
        cache_hit=_loaded_from_cache(compiled) if cached else None,
        notes=tuple(notes),
        inputs=tuple(_info(port) for port in compiled.inputs),
        outputs=tuple(_info(port) for port in compiled.outputs),
    )


def _assignment(compiled: Any, device: str) -> dict[str, int]:
    """Count what runs of the compiled graph, by device and the precision that its nodes have."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        told = node.get_rt_info()
        kind = told["layerType"].astype(str) if "layerType" in told else node.get_type_name()
        if kind in _DATA_NODES:
            continue
        precision = told["runtimePrecision"].astype(str) if "runtimePrecision" in told else ""
        counts[f"{device} {precision}".strip()] += 1
    return dict(counts)


def _precision(compiled: Any, assignment: dict[str, int]) -> str:
    """Return what the plug-in says it runs in; AUTO does not say, then what its nodes have."""
    try:
        return str(compiled.get_property(_HINT).get_type_name())
    except RuntimeError:
        of_nodes = {name.split(" ")[-1] for name in assignment}
        return next((name for name in ("bf16", "f16") if name in of_nodes), "f32")


def _loaded_from_cache(compiled: Any) -> bool:
    try:
        return bool(compiled.get_property("LOADED_FROM_CACHE"))
    except RuntimeError:  # a plug-in that does not tell
        return False


def _info(port: Any) -> TensorInfo:
    shape = tuple(size.get_length() if size.is_static else -1 for size in port.partial_shape)
    dtype = port.element_type.to_dtype().name
    return TensorInfo(name=port.any_name, dtype=dtype, shape=shape)


def _short(error: Exception) -> str:
    """The last line of a C++ exception says what is wrong, those before say where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
