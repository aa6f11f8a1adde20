"""OpenVINO: CPU, GPU and NPU of Intel, and AUTO. The extra `openvino`."""

from edge_perception.backends import BackendSpec
from edge_perception.backends.openvino.session import load, load_bytes, ways

SPEC = BackendSpec(name="openvino", load=load, load_bytes=load_bytes, ways=ways)
