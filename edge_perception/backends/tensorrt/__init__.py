"""TensorRT 10 and 11 on NVIDIA GPUs, with PyCUDA. The extra `tensorrt`."""

from edge_perception.backends import BackendSpec
from edge_perception.backends.tensorrt.session import load, load_bytes, ways

SPEC = BackendSpec(name="tensorrt", load=load, load_bytes=load_bytes, ways=ways, runs_programs=True)
