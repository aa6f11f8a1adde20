"""An ONNX Runtime session with bounded threads, and what really runs in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort
from numpy.typing import NDArray

from edge_perception.backends.contract import (
    BackendInfo,
    BackendOptions,
    OperatorTime,
    TensorInfo,
    as_the_graph,
)
from edge_perception.backends.onnxruntime.profile import Profile
from edge_perception.backends.onnxruntime.providers import (
    CPU,
    NEVER_AUTOMATIC,
    assignment,
    chain,
    shortfalls,
)
from edge_perception.backends.tensors import check_inputs, warm_up
from edge_perception.core.errors import BackendError

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def load(path: Path, options: BackendOptions) -> OnnxRuntimeBackend:
    """Create a session.

    Raises:
        BackendError: the file is no model this runtime can run, or, where the options are strict,
            a provider that was asked for does not run it.
    """
    return OnnxRuntimeBackend(path, options)


def load_bytes(data: bytes, path: Path, options: BackendOptions) -> OnnxRuntimeBackend:
    """Create a session of a model that was read already; `path` is its name in messages.

    Raises:
        BackendError: as `load`.
    """
    return OnnxRuntimeBackend(path, options, data)


def ways() -> list[tuple[str, str]]:
    """Return the providers of this build; the CPU's first, by its empty name."""
    providers = [
        name for name in ort.get_available_providers() if name not in (CPU, *NEVER_AUTOMATIC)
    ]
    return [("", "fp32"), *((name, "fp32") for name in providers)]


class OnnxRuntimeBackend:
    """One ONNX Runtime session."""

    def __init__(self, path: Path, options: BackendOptions, data: bytes | None = None) -> None:
        self._path = path
        self._profile = Profile() if options.profiling else None
        try:
            wanted = chain(
                options.provider,
                options.provider_options,
                ort.get_available_providers(),
                ort.get_all_providers(),
            )
        except ValueError as error:
            raise BackendError(f"{path.name}: {error}") from error
        told = (*wanted.notes, *as_the_graph(options.precision, "ONNX Runtime"))
        _refuse(path, told, strict=options.strict)
        try:
            self._session = ort.InferenceSession(
                str(path) if data is None else data,
                sess_options=_session_options(options.threads, self._profile),
                providers=[(name, dict(values)) for name, values in wanted.providers],
            )
        except Exception as error:  # ONNX Runtime raises bare exceptions of many types
            raise BackendError(f"{path.name}: ONNX Runtime cannot load it: {error}") from error
        active = self._session.get_providers()
        if active == [CPU]:
            # Kept for a fall-back to the CPU, which serves already: memory as large as the model.
            self._session._model_bytes = None
        nodes = assignment(self._session)
        asked_here = [name for name, _ in wanted.providers if name in wanted.asked]
        notes = (*told, *shortfalls(asked_here, active, nodes))
        _refuse(path, notes, strict=options.strict)
        self._info = BackendInfo(
            runtime="onnxruntime",
            runtime_version=ort.__version__,
            provider=max(nodes, key=lambda name: nodes[name]) if nodes else active[0],
            assignment=nodes,
            notes=notes,
            inputs=tuple(_info(node) for node in self._session.get_inputs()),
            outputs=tuple(_info(node) for node in self._session.get_outputs()),
        )
        self._output_names = [info.name for info in self._info.outputs]
        self._run_options = ort.RunOptions()

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
        try:
            outputs = self._session.run(self._output_names, dict(inputs), self._run_options)
        except Exception as error:
            raise BackendError(f"{self._path.name}: inference failed: {error}") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def stop(self) -> None:
        """End the runs that go on, with an error, and all later ones; from another thread."""
        self._run_options.terminate = True

    def operator_times(self, runs: int) -> tuple[OperatorTime, ...]:
        """Return the operators of the last runs, where the session was created with `profiling`."""
        if self._profile is None:
            raise BackendError(f"{self._path.name}: was not loaded for profiling")
        return self._profile.read(self._session.end_profiling(), runs)

    def close(self) -> None:
        """Release the session."""
        del self._session
        if self._profile is not None:
            self._profile.close()


def _refuse(path: Path, notes: tuple[str, ...], *, strict: bool) -> None:
    if strict and notes:
        raise BackendError(f"{path.name}: strict_provider: {'; '.join(notes)}")


def _session_options(threads: int, profile: Profile | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile.prefix
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the core that the next node needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    return options


def _info(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorInfo(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)
