"""Chains of execution providers, and what is said of those that do nothing."""

from types import SimpleNamespace

import pytest
from onnx_models import node, save

from edge_perception.backends import BackendOptions, backends
from edge_perception.backends.onnxruntime.providers import CPU, assignment, chain, shortfalls
from edge_perception.core.errors import BackendError

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
KNOWN = [TENSORRT, CUDA, "OpenVINOExecutionProvider", "AzureExecutionProvider", CPU]


def names(found):
    return [name for name, _ in found.providers]


def test_nothing_asked_for_is_the_cpu():
    found = chain((), {}, [CUDA, CPU], KNOWN)
    assert names(found) == [CPU]
    assert not found.notes


def test_the_order_is_the_callers_and_the_cpu_comes_last():
    found = chain(("cuda", TENSORRT), {"cuda": {"device_id": "1"}}, [TENSORRT, CUDA, CPU], KNOWN)
    assert found.providers == ((CUDA, {"device_id": "1"}), (TENSORRT, {}), (CPU, {}))


def test_automatic_takes_what_is_there_and_nothing_that_sends_tensors_away():
    found = chain(("auto",), {}, ["AzureExecutionProvider", CUDA, CPU], KNOWN)
    assert names(found) == [CUDA, CPU]
    assert not found.notes


def test_what_this_build_lacks_is_skipped_and_said():
    found = chain(("tensorrt", "cuda", "cpu"), {}, [CUDA, CPU], KNOWN)
    assert names(found) == [CUDA, CPU]
    (note,) = found.notes
    assert TENSORRT in note
    assert "CUDAExecutionProvider, CPUExecutionProvider" in note


def test_what_is_named_beside_automatic_is_said_too():
    for asked in (("cuda", "auto"), ("auto", "cuda"), ("cuda", "auto", "cuda")):
        found = chain(asked, {}, [CPU], KNOWN)
        assert names(found) == [CPU]
        (note,) = found.notes
        assert CUDA in note


def test_a_name_that_is_there_twice_is_one():
    found = chain(("cuda", CUDA, "cpu", "cpu"), {}, [CPU], KNOWN)
    assert found.asked == (CUDA, CPU)
    assert names(found) == [CPU]
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    ("asked", "options", "text"),
    [
        (("cpu",), {"cpu": {"use_arena": "0"}}, "it reads none, got use_arena"),
        (("tensorrrt",), {}, "did you mean tensorrt"),
        (("CudaExecutionProvider",), {}, "did you mean CUDAExecutionProvider"),
        (("cuda",), {"tensorrt": {"a": "1"}}, "options of TensorrtExecutionProvider"),
    ],
)
def test_what_nothing_reads_is_refused(asked, options, text):
    with pytest.raises(ValueError, match=text):
        chain(asked, options, [CUDA, CPU], KNOWN)


def test_a_provider_without_a_node_is_not_called_active():
    assert shortfalls((CUDA, CPU), [CUDA, CPU], {CPU: 7}) == [f"{CUDA} runs none of 7 nodes"]
    assert not shortfalls((CUDA, CPU), [CUDA, CPU], {CUDA: 7})
    (note,) = shortfalls((TENSORRT, CUDA), [CUDA, CPU], {CUDA: 7})
    assert "could not be started" in note


def test_the_assignment_is_the_sessions_own_record():
    def part(name, count):
        return SimpleNamespace(ep_name=name, get_nodes=lambda: [None] * count)

    session = SimpleNamespace(
        get_provider_graph_assignment_info=lambda: [part(CUDA, 3), part(CPU, 1), part(CUDA, 2)]
    )
    assert assignment(session) == {CUDA: 5, CPU: 1}
    assert assignment(SimpleNamespace()) == {}


@pytest.fixture
def model(tmp_path):
    return save(
        tmp_path / "sum.onnx", [node("Add", ["a", "b"], "c")], {"a": (2,), "b": (2,)}, {"c": (2,)}
    )


def test_a_session_tells_every_node(model):
    session = backends()["onnxruntime"].load(model, BackendOptions())
    info = session.describe()
    session.close()
    assert info.assignment == {CPU: 1}
    assert info.where == CPU
    assert not info.notes


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_precision_that_the_runtime_does_not_choose_is_a_note_or_a_refusal(model, precision):
    session = backends()["onnxruntime"].load(model, BackendOptions(precision=precision))
    (note,) = session.describe().notes
    session.close()
    assert f"precision {precision} was asked for" in note
    with pytest.raises(BackendError, match=f"strict_provider: precision {precision}"):
        backends()["onnxruntime"].load(model, BackendOptions(precision=precision, strict=True))


def test_a_provider_of_another_build_is_a_note_or_with_strict_a_refusal(model):
    options = BackendOptions(provider=("cuda", "cpu"))
    session = backends()["onnxruntime"].load(model, options)
    info = session.describe()
    session.close()
    if info.provider == CUDA:
        pytest.skip("this machine has CUDA")
    assert info.notes
    assert any(CUDA in note for note in info.notes)
    with pytest.raises(BackendError, match=CUDA):
        backends()["onnxruntime"].load(model, BackendOptions(provider=("cuda",), strict=True))
