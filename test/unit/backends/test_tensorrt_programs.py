"""Kernels in a session of the runtime `tensorrt`, over real PyCUDA and a libcuda of the tests' own.

They run for real, compiled for the CPU, when the recorded stream does. No test of this file says
anything about a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tensorrt_recorder import left, options, spec

from edge_perception.backends import TensorInfo
from edge_perception.backends.device_program import DeviceProgram, Launch, structure
from edge_perception.core.errors import BackendError

SOURCE = """
struct numbers { int count; float scale; };
extern "C" __global__ void scaled(const unsigned char *raw, const numbers *of, float *to) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < of->count) to[i] = (float)raw[i] * of->scale;
}
extern "C" __global__ void more(const float *a, float *seen, int *last) {
  const int i = (int)threadIdx.x;
  if (i < 6) seen[i] = a[i] + 1.0f;
  __syncthreads();
  if (i == 0) *last = (int)seen[5];
}
"""
PROGRAM = DeviceProgram(
    input="a",
    source=SOURCE,
    constants={"of": structure({"count": 6, "scale": 0.5})},
    arrays=(TensorInfo(name="raw", dtype="uint8", shape=(-1,)),),
    most=6,
    results=(TensorInfo(name="seen", dtype="float32", shape=(6,)),),
    scratch={"last": 4},
    launches=(
        Launch(kernel="scaled", threads=300, arguments=("raw", "of", "a")),
        Launch(kernel="more", threads=6, arguments=("a", "seen", "last"), one_block=True),
    ),
)
PICKING = """
extern "C" __global__ void picked(const unsigned char *raw, int *first, int *count) {
  if (threadIdx.x != 0) return;
  *count = raw[0];
  for (int i = 0; i < raw[0]; ++i) first[i] = raw[i];
}
"""
COUNTED = (("first", (-1,)), ("count", (1,)))
RAW = np.arange(10, 16, dtype=np.uint8)
A = RAW.reshape(2, 3).astype(np.float32) / 2
B = np.full((2, 3), 2.5, np.float32)
TO_DEVICE, TO_HOST = "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"


def opened(model, **values):
    session = spec().load(model, options(**values))
    session.run_program(PROGRAM)
    return session


@pytest.mark.parametrize("graph", ["true", "false"])
def test_kernels_make_the_input_before_the_engine_runs(world, model, graph):
    session = opened(model, tensorrt={"cuda_graph": graph})
    for _ in range(2):
        got = session.infer({"raw": RAW, "b": B})
        assert np.array_equal(got["sum"], A + B)
        assert np.array_equal(got["product"], A * B)
        assert np.array_equal(got["seen"], A.ravel() + 1)
    queued = [TO_DEVICE, "kernel scaled", "kernel more", TO_DEVICE, "execute"]
    one = ["cuGraphLaunch"] if graph == "true" else [*queued, *[TO_HOST] * 3]
    assert world.recorder.calls[-len(one) - 1 :] == [*one, "cuStreamSynchronize"]
    plain = session.infer({"a": B, "b": B})
    assert np.array_equal(plain["sum"], B + B)
    assert "seen" not in plain
    session.close()
    assert left(world) == {}
    assert world.recorder.stack == 0


def test_of_a_result_that_is_counted_the_rows_that_there_are_come_back(world, model):
    first, count = (TensorInfo(name=n, dtype="int32", shape=s) for n, s in COUNTED)
    program = replace(
        PROGRAM,
        source=SOURCE + PICKING,
        results=(*PROGRAM.results, first, count),
        counted_by={"first": "count"},
        launches=(
            *PROGRAM.launches,
            Launch(kernel="picked", threads=1, arguments=("raw", "first", "count"), one_block=True),
        ),
    )
    session = spec().load(model, options())
    session.run_program(program)
    kept = []
    for wanted in (4, 2, 0, 6):
        raw = np.array([wanted, *RAW[1:]], np.uint8)
        got = session.infer({"raw": raw, "b": B})
        assert got["first"].tolist() == raw[:wanted].tolist()
        assert got["count"].tolist() == [wanted]
        assert got["seen"].shape == (6,)
        kept.append((got["first"], raw[:wanted]))
    # They are the caller's own: later runs, and the end, leave them as they are.
    session.close()
    assert all(np.array_equal(got, raw) for got, raw in kept)
    with pytest.raises(BackendError, match="'first' has a free length that no result counts"):
        replace(program, counted_by={"first": "seen"})
    assert left(world) == {}


def test_arrays_that_do_not_fit_are_refused_as_inputs_are(world, model):
    session = opened(model)
    for arrays, text in (
        ({"b": B}, "input 'raw' is missing"),
        ({"raw": RAW}, "input 'b' is missing"),
        ({"raw": RAW.astype(np.int32), "b": B}, "'raw' expects"),
        ({"raw": np.zeros(7, np.uint8), "b": B}, "'raw' expects at most 6 rows, got 7"),
    ):
        with pytest.raises(BackendError, match=text):
            session.infer(arrays)
    short = session.infer({"raw": RAW[:3] * 2, "b": B})  # behind it lies the frame before
    assert np.array_equal(short["sum"][0], RAW[:3] + B[0])
    session.close()


def test_the_end_goes_backwards(world, model):
    session = opened(model)
    start = len(world.recorder.calls)
    session.close()
    ended = world.recorder.calls[start:]
    buffers = ["cuMemFree", "cuMemFreeHost"]
    prepared = [
        "cuStreamSynchronize",
        "cuGraphExecDestroy",
        "cuMemFree",
        *buffers * 3,
        "cuModuleUnload",
    ]
    assert ended[: len(prepared)] == prepared
    assert ended[len(prepared) :][:2] == ["cuGraphExecDestroy", "free context"]


def test_programs_come_and_go_and_nothing_is_left(world, model):
    session = opened(model)
    alive = left(world)
    for count in range(2, 7):
        smaller = structure({"count": count, "scale": 2.0})
        session.run_program(replace(PROGRAM, constants={"of": smaller}))
        got = session.infer({"raw": RAW, "b": B})
        assert np.array_equal(got["sum"].ravel()[:count], RAW[:count] * 2 + 2.5)
        assert left(world) == alive
        before = len(world.recorder.calls)
        session.run_program(session._execution.program)
        assert len(world.recorder.calls) == before, "the same one again costs nothing"
    session.close()
    assert left(world) == {}
    with pytest.raises(BackendError, match="closed"):
        session.run_program(PROGRAM)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("cuModuleLoadDataEx", 0),
        ("cuMemAlloc", 0),
        ("cuMemHostAlloc", 1),  # a copy of what is constant waits then
        ("kernel more", 0),
        (TO_DEVICE, 0),
    ],
)
def test_what_the_driver_stops_leaves_the_session_as_it_was(world, model, call, after):
    session = spec().load(model, options())
    before = left(world)
    world.recorder.fail(call, after)
    told = "cuLaunchKernel" if call == "kernel more" else call
    with pytest.raises(BackendError, match=rf"cuda:0 \(Recorder\): {told} failed") as caught:
        session.run_program(PROGRAM)
    assert left(world) == before, "while the error, and the frames that it holds, is still there"
    assert caught.value.__cause__ is not None
    assert np.array_equal(session.infer({"a": A, "b": B})["sum"], A + B)
    with pytest.raises(BackendError, match="input 'a' is missing"):
        session.infer({"raw": RAW, "b": B})
    session.close()
    assert left(world) == {}


def test_whatever_call_fails_nothing_is_left(world, model):
    program = replace(PROGRAM, launches=PROGRAM.launches[:1])  # the others are slow on a CPU

    def life() -> str:
        session = None
        try:
            session = spec().load(model, options(tensorrt={"cuda_graph": "true"}))
            session.run_program(program)
            assert np.array_equal(session.infer({"raw": RAW, "b": B})["sum"], A + B)
            session.infer({"a": A, "b": B})
        except BackendError as error:
            return str(error)
        finally:
            if session is not None:
                session.close()
        return ""

    assert life() == ""
    start = len(world.recorder.calls)
    assert life() == ""
    seen: dict[str, int] = {}
    # Not those that end something, nor those that do not come from the driver.
    ends = ("Free", "Destroy", "Unload", "EndCapture", "free ", "execute")
    told = []
    for name in world.recorder.calls[start:]:
        if any(end in name for end in ends):
            continue
        seen[name] = seen.get(name, -1) + 1
        world.recorder.fail(name, seen[name])
        told.append(life())
        assert left(world) == {}, (name, seen[name], told[-1])
        assert world.recorder.take_faults() == [], (name, seen[name], told[-1])
    assert len(told) > 40
    assert sum(map(bool, told)) > 30, "the others are graphs, without which it goes on"
    assert life() == ""


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"source": "#error no"}, r"the kernels do not compile: kernels\.cu\(3\): error: expected"),
        ({"source": SOURCE.replace("more", "less")}, "cuModuleGetFunction failed"),
        ({"input": "c"}, "no input 'c' of a fixed shape"),
        ({"input": "raw"}, "kernels for input 'raw' have an array 'raw' of their own"),
    ],
)
def test_programs_that_mean_nothing(world, model, wrong, text):
    session = spec().load(model, options())
    before = left(world)
    with pytest.raises(BackendError, match=text):
        session.run_program(replace(PROGRAM, **wrong))
    assert left(world) == before
    session.close()


def test_an_input_without_a_fixed_shape_is_not_made(world, model):
    world.shapes = dict.fromkeys(world.shapes, (-1, 3))
    session = spec().load(model, options(tensorrt={"profile": "a=1x3:2x3:4x3;b=1x3:2x3:4x3"}))
    with pytest.raises(BackendError, match="no input 'a' of a fixed shape"):
        session.run_program(PROGRAM)
    session.close()


def test_what_was_compiled_is_kept_for_its_source_only(world, model, tmp_path):
    def compilations(**changed) -> int:
        before = world.recorder.compilations
        session = spec().load(model, options(cache=tmp_path))
        session.run_program(replace(PROGRAM, **changed))
        session.close()
        return world.recorder.compilations - before

    assert [compilations(), compilations()] == [1, 0]
    (kept,) = tmp_path.glob("*.kernels")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert compilations() == 1, "a damaged file is as if it were not there"
    assert compilations(source=SOURCE + "\n") == 1


def test_a_gpu_that_nvrtc_does_not_know(world, model, monkeypatch):
    from edge_perception.backends.tensorrt import compiling

    assert compiling._architecture("9.0") == "sm_90"
    assert compiling._architecture("12.1") == "compute_90"
    with pytest.raises(BackendError, match=r"compiles for compute capability 7\.5 and newer"):
        compiling._architecture("5.3")

    def lacks() -> tuple:
        raise RuntimeError('Failure finding "libnvrtc.so"\nsearched everywhere')

    monkeypatch.setattr(compiling.compiler, "nvrtcVersion", lacks)
    session = spec().load(model, options())
    with pytest.raises(
        BackendError, match=r'^NVRTC cannot be used: Failure finding "libnvrtc\.so"; pip install '
    ):
        session.run_program(PROGRAM)
    session.close()
