"""ONNX Runtime, the default runtime."""

from edge_perception.backends import BackendSpec
from edge_perception.backends.onnxruntime.session import load, load_bytes, ways

SPEC = BackendSpec(name="onnxruntime", load=load, load_bytes=load_bytes, ways=ways, concurrent=True)
