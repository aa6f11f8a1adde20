"""An ONNX Runtime session with bounded threads and a check of the provider really active."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_perception.backends import BackendInfo, BackendOptions, TensorInfo
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
_CPU = "CPUExecutionProvider"


def load(path: Path, options: BackendOptions) -> OnnxRuntimeBackend:
    """Create a session.

    Raises:
        BackendError: the file is no model this runtime can run, or the provider is unknown.
    """
    return OnnxRuntimeBackend(path, options)


class OnnxRuntimeBackend:
    """One ONNX Runtime session."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        self._path = path
        requested = options.provider or _CPU
        available = ort.get_available_providers()
        if requested not in available:
            raise BackendError(
                f"{path.name}: provider '{requested}' is not in this build of ONNX Runtime; "
                f"available: {', '.join(available)}"
            )
        try:
            self._session = ort.InferenceSession(
                str(path),
                sess_options=_session_options(options.threads),
                providers=[requested] if requested == _CPU else [requested, _CPU],
            )
        except Exception as error:  # ONNX Runtime raises bare exceptions of many types
            raise BackendError(f"{path.name}: ONNX Runtime cannot load it: {error}") from error
        active = self._session.get_providers()[0]
        self._info = BackendInfo(
            runtime="onnxruntime",
            runtime_version=ort.__version__,
            provider=active,
            fell_back=active != requested,
            inputs=tuple(_info(node) for node in self._session.get_inputs()),
            outputs=tuple(_info(node) for node in self._session.get_outputs()),
        )
        self._output_names = [info.name for info in self._info.outputs]

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._info

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors; free dimensions become 1."""
        zeros = {
            info.name: np.zeros([max(size, 1) for size in info.shape], dtype=info.dtype)
            for info in self._info.inputs
        }
        for _ in range(runs):
            self.infer(zeros)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model: named arrays in, named arrays out.

        Raises:
            BackendError: an input is missing, of the wrong shape or dtype, or the run failed.
        """
        for info in self._info.inputs:
            self._check_input(info, inputs)
        try:
            outputs = self._session.run(self._output_names, dict(inputs))
        except Exception as error:
            raise BackendError(f"{self._path.name}: inference failed: {error}") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Release the session."""
        del self._session

    def _check_input(self, info: TensorInfo, inputs: Mapping[str, NDArray]) -> None:
        array = inputs.get(info.name)
        if array is None:
            raise BackendError(
                f"{self._path.name}: input '{info.name}' is missing, got {sorted(inputs)}"
            )
        fits = len(array.shape) == len(info.shape) and all(
            expected in (-1, got) for expected, got in zip(info.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != info.dtype:
            raise BackendError(
                f"{self._path.name}: input '{info.name}' expects {info.shape} {info.dtype}, "
                f"got {array.shape} {array.dtype}"
            )


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the core that the next node needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _info(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorInfo(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)
