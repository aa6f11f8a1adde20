"""ONNX Runtime, the default runtime."""

from edge_perception.backends import BackendSpec
from edge_perception.backends.onnxruntime.session import load, ways

SPEC = BackendSpec(name="onnxruntime", load=load, ways=ways)
