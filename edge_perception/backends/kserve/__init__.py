"""Models on a server of the Open Inference Protocol v2, such as Triton, over HTTP or gRPC."""

from edge_perception.backends import BackendSpec
from edge_perception.backends.kserve.session import load, load_bytes

SPEC = BackendSpec(name="kserve", load=load, load_bytes=load_bytes)
