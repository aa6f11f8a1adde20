"""The libcuda of the tests' own: that it notices what it is there for, under real PyCUDA."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import contextmanager
from ctypes import c_size_t, c_uint64, c_void_p

import numpy as np
import pytest
from cuda_recorder import ROOT

SIZE = 16
EXIT = f"""
import sys, threading
from types import ModuleType
import numpy as np
sys.path.append({str(ROOT)!r})
made = sys.modules["tensorrt"] = ModuleType("tensorrt")
made.ILogger = object
from edge_perception.backends.tensorrt.gpu import Buffer, Stream, open_gpu
def work(free):
    global stream, buffer
    gpu = open_gpu(0)
    with gpu.active():
        stream, buffer = Stream(), Buffer({SIZE})
        view = buffer.view(({SIZE},), np.dtype(np.uint8))
        if free:
            buffer.free()
            stream.free()
        if sys.argv[3] == "touch":
            view[0] = 1
if sys.argv[1] == "thread":
    thread = threading.Thread(target=work, args=(sys.argv[2] == "free",))
    thread.start()
    thread.join()
else:
    work(sys.argv[2] == "free")
"""


class Raw:
    """Calls of the driver without PyCUDA, which lets nobody do some of these things."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")

    def made(self, name, *arguments) -> c_void_p:
        handle = c_void_p()
        assert getattr(self.library, name)(ctypes.byref(handle), *arguments) == 0
        return handle

    def __getattr__(self, name):
        return getattr(self.library, name)


@contextmanager
def context(raw, device=0):
    raw.cuCtxPushCurrent_v2(raw.made("cuDevicePrimaryCtxRetain", device))
    yield
    raw.cuCtxPopCurrent_v2(ctypes.byref(c_void_p()))
    raw.cuDevicePrimaryCtxRelease_v2(device)


def pair(raw):
    return raw.made("cuMemAlloc_v2", c_size_t(SIZE)), raw.made("cuMemHostAlloc", c_size_t(SIZE), 0)


def copy(raw, to, source, stream):
    return raw.cuMemcpyHtoDAsync_v2(to, source, c_size_t(SIZE), stream)


def test_a_copy_is_there_only_after_somebody_waited(world):
    import pycuda.driver as driver

    driver.init()
    gpu = driver.Device(0).retain_primary_context()
    gpu.push()
    stream, host, device = (
        driver.Stream(),
        driver.pagelocked_empty(SIZE, np.uint8),
        driver.mem_alloc(SIZE),
    )
    host[:] = 7
    driver.memcpy_htod_async(device, host, stream)
    stream.synchronize()
    host[:] = 0
    driver.memcpy_dtoh_async(host, device, stream)
    assert not host.any()
    stream.synchronize()
    assert (host == 7).all()
    with pytest.raises(driver.Error, match="cuMemcpyHtoDAsync failed"):
        driver.memcpy_htod_async(device, np.zeros(SIZE, np.uint8), stream)
    assert world.recorder.take_faults() == [
        "cuMemcpyHtoDAsync: memory that is not there, too small, or pageable"
    ]
    device.free()
    with pytest.raises(driver.Error, match="free"):
        device.free()
    host.base.free()
    del stream
    gpu.detach()


def test_what_is_wrong_is_refused_and_told(world):
    raw, told = Raw(), []

    def says(status, wanted, *faults):
        assert status == wanted
        assert world.recorder.take_faults() == list(faults)
        told.extend(faults)

    says(raw.cuStreamCreate(ctypes.byref(c_void_p()), 0), 201, "cuStreamCreate: without a context")
    with context(raw):
        stream = raw.made("cuStreamCreate", 0)
        device, host = pair(raw)
        assert copy(raw, device, host, stream) == 0
        says(raw.cuMemFree_v2(device), 0, "cuMemFree: while a stream uses it")
        says(raw.cuMemFree_v2(device), 400, "cuMemFree: a device that is not alive")
        gone = "cuMemcpyHtoDAsync: memory that is not there, too small, or pageable"
        says(copy(raw, device, host, stream), 1, gone)
        says(raw.cuMemFreeHost(host), 0)
        says(raw.cuMemFreeHost(host), 400, "cuMemFreeHost: a pinned that is not alive")

        device, host = pair(raw)
        recording = raw.cuStreamBeginCapture_v2(stream, 1)
        assert recording == copy(raw, device, host, stream) == 0
        graph = c_void_p()
        assert raw.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
        executable = raw.made("cuGraphInstantiateWithFlags", graph, c_uint64(0))
        says(raw.cuGraphDestroy(graph), 0)
        says(raw.cuGraphDestroy(graph), 400, "cuGraphDestroy: a graph that is not alive")
        assert raw.cuMemFree_v2(device) == raw.cuMemFreeHost(host) == 0
        assert raw.cuGraphLaunch(executable, stream) == 0
        lost = "stream: work on memory that is not there any more"
        says(raw.cuStreamSynchronize(stream), 700, lost)
        assert raw.cuGraphExecDestroy(executable) == 0

        for name, arguments in (
            ("cuMemAlloc_v2", (ctypes.byref(c_void_p()), c_size_t(SIZE))),
            ("cuStreamSynchronize", (stream,)),
        ):
            assert raw.cuStreamBeginCapture_v2(stream, 1) == 0
            status = getattr(raw, name)(*arguments)
            says(status, 900, f"{name.removesuffix('_v2')}: while recording")
            assert raw.cuStreamEndCapture(stream, ctypes.byref(graph)) == 901
            assert not graph.value

        world.recorder.devices(2)
        with context(raw, 1):
            other = "cuStreamSynchronize: a stream of another context"
            says(raw.cuStreamSynchronize(stream), 201, other)
        says(raw.cuStreamDestroy_v2(stream), 0)
        says(raw.cuStreamDestroy_v2(stream), 400, "cuStreamDestroy: a stream that is not alive")
        left = raw.made("cuStreamCreate", 0)
    assert world.recorder.take_faults() == ["cuDevicePrimaryCtxRelease: stream"]
    assert world.recorder.left == {"stream": 1}
    assert left.value
    says(
        raw.cuCtxPopCurrent_v2(ctypes.byref(c_void_p())), 201, "cuCtxPopCurrent: without a context"
    )
    assert len(told) == 12


@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        (("free", ""), []),
        (("keep", ""), ["left: device", "left: pinned", "left: stream"]),
        (("free", "touch"), None),
    ],
)
def test_a_process_ends_without_a_word_and_with_nothing_left(world, where, what, told):
    done = subprocess.run(
        [sys.executable, "-c", EXIT, where, *what],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if told is None:
        assert done.returncode == -11, "pinned memory that was freed"
        return
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("cuDevicePrimary")]
    assert lines == told


def test_without_a_driver_pycuda_says_so_in_one_line(world):
    """The text that our message is made of is PyCUDA's own."""
    code = "import pycuda.driver"
    done = subprocess.run(
        ["env", "-u", "LD_LIBRARY_PATH", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("this machine has a driver")
    assert "ImportError: libcuda.so.1: cannot open shared object file" in done.stderr
