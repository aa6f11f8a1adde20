"""The order of calls, lifetimes, the cache and the errors of the runtime `tensorrt`, without a GPU.

PyCUDA and cuda.bindings are the real ones, over a libcuda of the tests' own, in a process of their
own (`recording_libcuda.c`, `conftest.py`). TensorRT is a recorder; `test_contract_tensorrt.py`
holds its names against the real bindings. No test of this file says anything about a GPU.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx_models import manifest_of, node
from tensorrt_recorder import left, options, spec

from edge_perception.core.errors import BackendError, ConfigurationError
from edge_perception.models.writing import write_bundle

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.full((2, 3), 2.5, np.float32)
TO_DEVICE, TO_HOST = "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"


def spec_gpu():
    from edge_perception.backends.tensorrt.gpu import open_gpu

    return open_gpu(0)


@pytest.mark.parametrize("graph", ["true", "false"])
def test_results_come_after_the_stream_is_done_and_are_the_callers_own(world, model, graph):
    session = spec().load(model, options(tensorrt={"cuda_graph": graph}))
    first = session.infer({"a": A, "b": B})
    second = session.infer({"a": B, "b": B})
    assert np.array_equal(first["sum"], A + B)
    assert np.array_equal(first["product"], A * B)
    assert np.array_equal(second["product"], B * B)
    calls = world.recorder.calls
    one = ["cuGraphLaunch"] if graph == "true" else [TO_DEVICE] * 2 + ["execute"] + [TO_HOST] * 2
    assert calls[-len(one) - 1 :] == [*one, "cuStreamSynchronize"]
    assert calls.count("cuMemAlloc") == calls.count("cuMemHostAlloc") == 4
    assert calls.count("cuStreamCreate") == 1
    session.close()
    session.close()
    assert left(world) == {}
    assert world.recorder.stack == 0
    with pytest.raises(BackendError, match="closed"):
        session.infer({"a": A, "b": B})


def test_the_end_goes_backwards(world, model):
    session = spec().load(model, options())
    start = len(world.recorder.calls)
    session.close()
    ended = world.recorder.calls[start:]
    buffers = ["cuMemFree", "cuMemFreeHost"] * 4
    theirs = ["free engine", "free runtime"]
    first = ["cuStreamSynchronize", "cuGraphExecDestroy", "free context"]
    assert ended == [*first, *buffers, *theirs, "cuStreamDestroy"]


def test_sessions_come_and_go_in_any_thread_and_nothing_is_left(world, model):
    for _ in range(1000):
        session = spec().load(model, options())
        thread = threading.Thread(target=session.close)
        thread.start()
        thread.join()
    assert left(world) == {}
    assert world.recorder.retained == 1


@pytest.mark.parametrize("call", ["cuStreamCreate", "cuMemHostAlloc", "cuMemAlloc", TO_DEVICE])
def test_a_load_that_the_driver_stops_leaves_nothing(world, model, call):
    world.recorder.fail(call)
    with pytest.raises(BackendError, match=rf"cuda:0 \(Recorder\): {call} failed: out of memory"):
        spec().load(model, options())
    assert left(world) == {}
    assert world.recorder.stack == 0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("build", "two.onnx: TensorRT cannot build an engine: no kernel for node 7"),
        ("load", "two.onnx: the engine cannot be loaded: TensorRT gives no reason"),
        ("context", "two.onnx: no execution context"),
        ("execute", "two.onnx: inference failed: an illegal memory access"),
    ],
)
def test_a_load_that_tensorrt_stops_leaves_nothing_and_says_why(world, model, wrong, text):
    world.wrong = wrong
    with pytest.raises(BackendError) as caught:
        spec().load(model, options())
    assert str(caught.value).startswith(text)
    assert left(world) == {}, "while the error, and the frames that it holds, is still there"


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(world, model):
    world.wrong = "record"
    session = spec().load(model, options())
    assert np.array_equal(session.infer({"a": A, "b": B})["sum"], A + B)
    assert not world.recorder.recording
    assert session.describe().notes == ()
    session.close()
    session = spec().load(model, options(tensorrt={"cuda_graph": "true"}))
    (note,) = session.describe().notes
    assert note.endswith("none is used: two.onnx: inference failed: an illegal memory access")
    session.close()
    assert left(world) == {}


def test_a_graph_that_the_driver_refuses_is_told_or_an_error(world, model):
    for call in ("cuStreamBeginCapture", "cuGraphInstantiate"):
        world.recorder.fail(call)
        session = spec().load(model, options(tensorrt={"cuda_graph": "true"}))
        (note,) = session.describe().notes
        assert note.endswith(f"none is used: {call} failed: CUDA_ERROR_OUT_OF_MEMORY")
        assert np.array_equal(session.infer({"a": A, "b": B})["sum"], A + B)
        session.close()
    session = spec().load(model, options())
    world.recorder.fail("cuGraphLaunch")
    with pytest.raises(BackendError, match=r"^cuGraphLaunch failed: CUDA_ERROR_OUT_OF_MEMORY$"):
        session.infer({"a": A, "b": B})
    assert np.array_equal(session.infer({"a": A, "b": B})["sum"], A + B)
    session.close()
    assert left(world) == {}


def test_nodes_that_the_parser_cannot_take_are_named(world, model):
    world.parse_errors = [("no importer", "Foo", "layer_3"), ("bad\n dims", "", "")] * 2
    with pytest.raises(BackendError) as caught:
        spec().load(model, options())
    assert str(caught.value) == (
        "two.onnx: TensorRT cannot run the graph: Foo layer_3: no importer; bad dims; "
        "Foo layer_3: no importer; and 1 more"
    )


def test_a_cached_engine_serves_only_what_it_was_built_for(world, model, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def hit(**values) -> bool | None:
        session = spec().load(model, options(**{"cache": cache, **values}))
        session.close()
        return session.describe().cache_hit

    assert [hit(), hit(), hit(cache=None)] == [False, True, None]
    assert hit(tensorrt={"workspace_mb": 64}) is False
    assert world.builds[-1] == {"cleared": "TF32", "timings": b"timings", "workspace": 64 * 2**20}
    assert hit(precision="fp16") is False
    assert hit(precision="auto") is False
    assert "cleared" not in world.builds[-1]
    monkeypatch.setattr(sys.modules["pycuda.driver"], "get_driver_version", lambda: 13010)
    assert [hit(), hit()] == [False, True]
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "11.5.0")
    assert hit() is False
    assert world.builds[-1]["timings"] == b"", "timings of another version"
    model.write_bytes(model.read_bytes() + b"\x3a\x00")  # an empty field more
    assert hit() is False


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_a_damaged_engine_is_built_anew(world, model, tmp_path, damage):
    spec().load(model, options(cache=tmp_path)).close()
    (engine,) = tmp_path.glob("*.engine")
    engine.write_bytes(damage(engine.read_bytes()))
    session = spec().load(model, options(cache=tmp_path))
    session.close()
    assert session.describe().cache_hit is False
    assert not list(tmp_path.glob(".engine-*"))


def test_timings_that_tensorrt_refuses_are_measured_anew(world, model):
    from edge_perception.backends.tensorrt.building import build
    from edge_perception.backends.tensorrt.log import ErrorLog
    from edge_perception.backends.tensorrt.options import TensorRtOptions

    with spec_gpu().active():
        wanted = ("m", model.read_bytes(), TensorRtOptions(), ErrorLog())
        assert build(*wanted, timing=b"of another GPU")[1] == b"timings"
    assert world.builds[-1]["timings"] == b""


def test_a_cache_that_cannot_be_written_is_told_and_the_model_runs(world, model, tmp_path):
    (tmp_path / "file").touch()
    session = spec().load(model, options(cache=tmp_path / "file", strict=True))
    (note,) = session.describe().notes
    assert note.startswith("compile_cache ")
    assert np.array_equal(session.infer({"a": A, "b": B})["sum"], A + B)
    session.close()
    assert left(world) == {}


def test_free_dimensions_need_limits_and_get_buffers_of_the_largest(world, model):
    world.shapes = dict.fromkeys(world.shapes, (-1, 3))
    with pytest.raises(BackendError, match=r"input 'a' has the shape .*, where -1 is free"):
        spec().load(model, options())
    profile = "a=1x3:2x3:4x3;b=1x3:2x3:4x3"
    session = spec().load(model, options(tensorrt={"profile": profile}))
    assert world.recorder.sizes == {4 * 3 * 4}
    session.warm_up(1)
    for rows in (1, 4):
        a = np.full((rows, 3), 3, np.float32)
        got = session.infer({"a": a, "b": a})
        assert np.array_equal(got["product"], a * a)
    with pytest.raises(BackendError, match="cannot have the shape"):
        session.infer({"a": np.zeros((9, 3), np.float32), "b": np.zeros((9, 3), np.float32)})
    session.close()
    assert left(world) == {}
    assert "cuGraphLaunch" not in world.recorder.calls


def test_what_runs_is_told(world, model):
    world.recorder.devices(2)
    session = spec().load(model, options(provider=("dla", "cuda:1"), precision="bf16"))
    info = session.describe()
    session.close()
    assert (info.provider, info.assignment, info.precision) == ("cuda:1", {"cuda:1": 2}, "fp32")
    assert [note.split(";")[0].split(" was")[0] for note in info.notes] == [
        "dla is not here",
        "precision bf16",
    ]
    for refused in ({"provider": ("cuda:2", "cuda:0")}, {"precision": "bf16"}):
        with pytest.raises(BackendError):
            spec().load(model, options(strict=True, **refused))
    assert spec().ways() == [(f"cuda:{i}", p) for i in (0, 1) for p in ("fp32", "fp16")]


def test_no_gpu_is_one_line(world, model):
    world.recorder.devices(0)
    from edge_perception.backends import offered_ways

    assert offered_ways(spec()) == ((), "the NVIDIA driver finds no GPU")
    world.recorder.fail("cuInit")
    assert offered_ways(spec())[1].startswith("the NVIDIA driver cannot be used: cuInit failed")
    with pytest.raises(BackendError, match="finds no GPU"):
        spec().load(model, options())


def test_no_driver_is_one_line(world, monkeypatch):
    class Blocked:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "pycuda.driver":
                raise ImportError("libcuda.so.1: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "pycuda.driver")
    monkeypatch.delattr(sys.modules["pycuda"], "driver")
    monkeypatch.setattr(sys.modules["pycuda"], "__path__", [], raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocked, *sys.meta_path])
    with pytest.raises(ConfigurationError, match=r"^no NVIDIA driver is here: libcuda\.so\.1"):
        spec()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"fp16": "1"}, "no tensorrt.fp16; known: cuda_graph"),
        ({"cuda_graph": "maybe"}, "expected true or false"),
        ({"workspace_mb": "0"}, "expected 1 to"),
        ({"optimization_level": "6"}, "expected 0 to 5"),
        ({"profile": "a=1x3:2x3"}, "expected input=smallest:usual:largest"),
        ({"profile": "a=2x3:1x3:4x3"}, "expected input=smallest:usual:largest"),
        ({"profile": "1x3:2x3:4x3"}, "expected input=smallest:usual:largest"),
    ],
)
def test_options_that_mean_nothing(world, model, given, text):
    with pytest.raises(ConfigurationError, match=text):
        spec().load(model, options(tensorrt=given))


def test_fp16_is_in_the_graph_and_computes_alike(world, tmp_path):
    import onnx
    import onnxruntime

    from edge_perception.backends.tensorrt.precision import in_precision

    weight = onnx.numpy_helper.from_array(np.full((3, 3), 0.1, np.float32), "w")
    graph = onnx.helper.make_graph(
        [node("MatMul", ["x", "w"], "y")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, (2, 3))],
        [onnx.helper.make_tensor_value_info("y", 1, (2, 3))],
        [weight],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    model = model.SerializeToString()
    assert in_precision("m", model, "fp32") == (model, "fp32", ())
    half, precision, notes = in_precision("m", model, "fp16")
    (stored,) = onnx.load_model_from_string(half).graph.initializer
    assert (stored.data_type, precision, notes) == (onnx.TensorProto.FLOAT16, "fp16", ())
    one, other = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": A})
        for data in (model, half)
    )
    assert one[0].dtype == other[0].dtype == np.float32
    assert np.allclose(one[0], other[0], atol=2e-3)
    path = Path(__file__).parents[3] / "models" / "bev_lite_int8" / "lidar" / "model.onnx"
    quantised = path.read_bytes()
    assert in_precision("m", quantised, "fp16") == (quantised, "", ())
    with pytest.raises(BackendError, match="m: cannot be converted to fp16"):
        in_precision("m", b"no graph", "fp16")


def test_weights_beside_the_graph_are_part_of_what_is_built_and_cached(world, tmp_path):
    import onnx

    from edge_perception.backends.tensorrt.session import _read

    weight = onnx.numpy_helper.from_array(np.full((3, 3), 0.1, np.float32), "w")
    graph = onnx.helper.make_graph(
        [node("MatMul", ["x", "w"], "y")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, (2, 3))],
        [onnx.helper.make_tensor_value_info("y", 1, (2, 3))],
        [weight],
    )
    path = tmp_path / "m.onnx"
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8),
        path,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    assert weight.raw_data not in path.read_bytes()
    assert weight.raw_data in _read(path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(BackendError, match=r"m\.onnx: cannot be read"):
        spec().load(path, options())
    with pytest.raises(BackendError, match=r"none\.onnx: cannot be read"):
        spec().load(tmp_path / "none.onnx", options())


def test_the_benchmark_of_a_gpu_runs_both_and_leaves_nothing(world, model, tmp_path):
    """The bench that waits for a GPU; what it measures here is nobody's time."""
    from edge_perception.bench.gpu import against_bare, load_cycles

    manifest = manifest_of(
        "lidar",
        "bev_center",
        {"a": (2, 3), "b": (2, 3)},
        {"sum": (2, 3), "product": (2, 3)},
        gates={"absolute_tolerance": 1e-6},
    )
    bundle = write_bundle(
        tmp_path / "bundle", manifest=manifest, model=model, golden_inputs={"a": A, "b": B}
    )
    found = against_bare(spec(), bundle, 2, 3)
    assert found["golden"] == []
    assert found["p50_ratio"] > 0
    assert world.recorder.calls.count("execute") >= 2 * 3
    cycles = load_cycles(spec(), bundle, 100)
    assert cycles["growth"]["gpu_bytes"] == 0
    assert left(world) == {}
