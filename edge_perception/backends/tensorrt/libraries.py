"""The libraries of the extra, or one line that says which is missing or that no driver is here."""

from __future__ import annotations

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.extras import extra

__all__ = ["compiler", "driver", "graphs", "trt"]

with extra("tensorrt"):
    import tensorrt as trt
    from cuda.bindings import driver as graphs  # PyCUDA has no CUDA graphs
    from cuda.bindings import nvrtc as compiler  # and compiles only where a toolkit is

    try:
        import pycuda.driver as driver
    except ImportError as error:
        # PyCUDA is linked against the driver's library: nothing that pip brings would help.
        if "libcuda" not in str(error):
            raise
        raise ConfigurationError(f"no NVIDIA driver is here: {error}") from error
