"""ONNX's own reference implementation in NumPy: slow, and independent of every other runtime."""

import onnx
from onnx.reference import ReferenceEvaluator

from edge_perception.backends import BackendInfo, BackendSpec, TensorInfo
from edge_perception.backends.tensors import check_inputs, warm_up
from edge_perception.core.errors import BackendError


class ReferenceBackend:
    def __init__(self, path, options):
        self._name = path.name
        if options.provider:
            raise BackendError(f"{path.name}: expected no provider, got {options.provider}")
        try:
            model = onnx.load(path)
            self._evaluator = ReferenceEvaluator(model)
        except Exception as error:
            raise BackendError(f"{path.name}: no ONNX model: {error}") from error
        weights = {tensor.name for tensor in model.graph.initializer}
        self._info = BackendInfo(
            runtime="reference",
            runtime_version=onnx.__version__,
            provider="NumPy",
            inputs=tuple(_tensor(v) for v in model.graph.input if v.name not in weights),
            outputs=tuple(map(_tensor, model.graph.output)),
        )

    def warm_up(self, runs):
        warm_up(self.infer, self._info.inputs, runs)

    def infer(self, inputs):
        check_inputs(self._name, self._info.inputs, inputs)
        names = [tensor.name for tensor in self._info.outputs]
        values = self._evaluator.run(names, dict(inputs))
        return dict(zip(names, values, strict=True))

    def describe(self):
        return self._info

    def close(self):
        pass


def _tensor(value):
    kind = value.type.tensor_type
    return TensorInfo(
        name=value.name,
        dtype=onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        shape=tuple(d.dim_value or -1 for d in kind.shape.dim),
    )


SPEC = BackendSpec(name="reference", load=ReferenceBackend)
