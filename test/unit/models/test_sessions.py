"""Sources of one process that serve the same model share its session."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from onnx_models import manifest_of, node, save

from edge_perception.backends import backends, load_model_bytes
from edge_perception.core.errors import BackendError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.sessions import Opened, Sessions, sharing_told, warm_up_by_run
from edge_perception.models.writing import write_bundle

OPTIONS = ModelOptions(model="bev_lite/audio")


@pytest.fixture(autouse=True)
def own_sessions(monkeypatch):
    """What other tests of this process have left open is not shared with."""
    monkeypatch.setattr("edge_perception.models.loading.SESSIONS", Sessions())


@pytest.fixture(scope="module")
def audio():
    return find_bundle("bev_lite/audio", installed_model_folders())


class Closing:
    def __init__(self):
        self.closed, self.warmed = 0, 0

    def describe(self):
        return None

    def warm_up(self, runs):
        self.warmed += runs

    def infer(self, inputs):
        return dict(inputs)

    def close(self):
        self.closed += 1


def test_a_session_is_loaded_once_warmed_once_and_closed_by_the_last():
    sessions, made = Sessions(), []

    def make():
        made.append(Closing())
        return Opened(backend=made[-1])

    first, second = sessions.open("a", make), sessions.open("a", make)
    other = sessions.open("b", make)
    assert len(made) == 2
    first.warm_up(3)
    second.warm_up(3)
    assert made[0].warmed == 3
    assert sharing_told(first) == {"session_users": "2"}
    first.close()
    first.close()
    assert made[0].closed == 0
    assert second.infer({}) == {}
    with pytest.raises(BackendError, match="closed"):
        first.infer({})
    second.close()
    other.close()
    assert [session.closed for session in made] == [1, 1]
    sessions.open("a", make).close()
    assert len(made) == 3


def test_instead_of_one_that_hangs_there_is_one_new_session_for_all():
    sessions, made = Sessions(), []

    def make():
        made.append(Closing())
        return Opened(backend=made[-1])

    hung = [sessions.open("a", make) for _ in range(2)]
    anew = [sessions.open("a", make, instead_of=held) for held in hung]
    assert len(made) == 2
    for held in hung:
        held.close()
    assert [session.closed for session in made] == [1, 0]
    for held in anew:
        held.close()
    assert [session.closed for session in made] == [1, 1]


def test_each_hears_why_a_model_does_not_load():
    sessions = Sessions()

    def fail():
        raise BackendError("no")

    for _ in range(2):
        with pytest.raises(BackendError, match="no"):
            sessions.open("a", fail)
    assert sessions.open("a", lambda: Opened(backend=Closing())).infer({}) == {}


def test_two_sources_share_one_model_and_other_ways_do_not(audio):
    same = [open_bundle(audio, OPTIONS) for _ in range(2)]
    apart = [
        open_bundle(audio, replace(OPTIONS, threads=2)),
        open_bundle(audio, replace(OPTIONS, share_session=False)),
    ]
    try:
        assert sharing_told(same[0].backend) == {"session_users": "2"}
        assert [sharing_told(loaded.backend) for loaded in apart] == [{}, {}]
    finally:
        for loaded in (*same, *apart):
            loaded.backend.close()


def test_frames_of_several_sources_give_what_each_gives_alone(audio):
    options = replace(OPTIONS, batch=3, batch_wait_ms=1.0)
    sources = [open_bundle(audio, options) for _ in range(3)]
    inputs, _ = read_golden(audio)
    scaled = [{name: a * (1 + k) for name, a in inputs.items()} for k in range(3)]
    alone = open_bundle(audio, replace(OPTIONS, share_session=False))
    try:
        assert not sources[0].notes
        with ThreadPoolExecutor(3) as pool:
            for _ in range(20):
                results = pool.map(lambda k: sources[k].backend.infer(scaled[k]), range(3))
                for given, got in zip(scaled, results, strict=True):
                    for name, expected in alone.backend.infer(given).items():
                        assert got[name].shape == expected.shape
                        np.testing.assert_allclose(got[name], expected, rtol=1e-3, atol=1e-4)
        assert all(deviation.passed for deviation in compare_golden(audio, sources[0].backend))
        assert sharing_told(sources[0].backend)["batch"] == "on"
        assert float(sharing_told(sources[0].backend)["batch_frames_mean"]) > 1.0
    finally:
        for loaded in (*sources, alone):
            loaded.backend.close()


@pytest.mark.parametrize(
    ("graph", "shape", "said"),
    [
        # What a frame gives depends on the other frames of the run.
        ([node("ReduceMean", ["x"], "m", keepdims=1), node("Sub", ["x", "m"], "y")], 1, "differs"),
        # One frame is written into the graph.
        ([node("Reshape", ["x", "one"], "y")], 1, "does not run with several frames|no row"),
        ([node("Relu", ["x"], "y")], 20, "expected a first dimension of 1"),
    ],
)
def test_a_model_whose_frames_cannot_run_together_runs_one_by_one_and_says_why(
    tmp_path, graph, shape, said
):
    shapes = ({"x": (shape, 4)}, {"y": (shape, 4)})
    weights = {"one": np.array([1, 4], np.int64)} if graph[0].op_type == "Reshape" else {}
    source = save(tmp_path / "source.onnx", graph, *shapes, weights)
    bundle = write_bundle(
        tmp_path / "bundle",
        manifest=manifest_of("lidar", "bev_center", *shapes),
        model=source,
        golden_inputs={"x": np.arange(shape * 4, dtype=np.float32).reshape(shape, 4)},
    )
    loaded = open_bundle(bundle, ModelOptions(model="", batch=2))
    try:
        assert re.search(f"batch is not used.*({said})", loaded.notes[0])
        assert all(deviation.passed for deviation in compare_golden(bundle, loaded.backend))
    finally:
        loaded.backend.close()


class OneCall:
    """A session of a runtime that takes one call at a time; notes two at once."""

    def __init__(self, backend):
        self._backend, self._busy, self.overlaps = backend, threading.Lock(), 0
        self.describe, self.close = backend.describe, backend.close
        self.met = threading.Event()

    def infer(self, inputs):
        return self._alone(lambda: self._backend.infer(inputs))

    def warm_up(self, runs):
        return self._alone(lambda: self._backend.warm_up(runs))

    def _alone(self, call):
        if not self._busy.acquire(blocking=False):
            self.overlaps += 1
            self.met.set()
            return call()
        try:
            self.met.wait(0.02)  # where calls may overlap, this one lets another come
            return call()
        finally:
            self._busy.release()


@pytest.mark.parametrize("batches", [False, True])
def test_sources_of_a_runtime_that_takes_one_call_at_a_time_wait_for_each_other(
    audio, monkeypatch, batches
):
    """Also where they share a session for batches and its model does not run in any."""
    made = []

    def load(spec, graph, path, settings):
        made.append(OneCall(load_model_bytes(spec, graph, path, settings)))
        return made[-1]

    def refuse(*_, **__):
        raise BackendError("differs")

    one_call = replace(backends()["onnxruntime"], concurrent=False)
    monkeypatch.setattr(
        "edge_perception.models.loading.backends", lambda: {"onnxruntime": one_call}
    )
    monkeypatch.setattr("edge_perception.models.loading.load_model_bytes", load)
    if not batches:
        monkeypatch.setattr("edge_perception.models.loading.prove_batches", refuse)
    inputs, _ = read_golden(audio)
    sources = [open_bundle(audio, replace(OPTIONS, batch=2)) for _ in range(2)]
    try:
        assert bool(sources[0].notes) is not batches
        used = made[-1]
        with ThreadPoolExecutor(2) as pool:
            warm = [pool.submit(s.backend.warm_up, 2) for s in sources]
            runs = [pool.submit(s.backend.infer, inputs) for s in sources * 3]
            assert all(future.exception() is None for future in (*warm, *runs))
        assert used.overlaps == 0
    finally:
        for loaded in sources:
            loaded.backend.close()


def test_a_session_is_warmed_run_by_run_as_often_as_it_was_not_yet():
    made = Closing()
    session = Sessions().open("a", lambda: Opened(backend=made))
    pieces = []

    def run(piece):
        before = made.warmed
        piece()
        pieces.append(made.warmed - before)

    session.warm_up(1)
    warm_up_by_run(session, 4, run)
    assert pieces == [1, 1, 1]
    warm_up_by_run(session, 4, run)
    assert len(pieces) == 3
    warm_up_by_run(made, 2, run)  # nobody shares it, and it keeps no count
    assert pieces[3:] == [1, 1]
