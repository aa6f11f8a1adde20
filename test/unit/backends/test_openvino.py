"""What OpenVINO promises beyond the contract of backends."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BackendError
from edge_perception.models.golden import compare_golden
from edge_perception.models.manifest import load_bundle

pytest.importorskip("openvino", reason="openvino is not installed: the extra `openvino`")

SET = Path(__file__).parents[3] / "models" / "bev_lite"


def load(role: str, **options):
    return backends()["openvino"].load(SET / role / "model.onnx", BackendOptions(**options))


@pytest.mark.parametrize("role", ["camera", "lidar", "audio", "fusion"])
def test_the_bundled_models_agree_with_their_golden_outputs(role):
    session = load(role)
    deviations = compare_golden(load_bundle(SET / role), session)
    info = session.describe()
    session.close()
    assert all(deviation.passed for deviation in deviations), deviations
    assert info.precision == "f32"
    assert set(info.assignment) == {"CPU f32"}


def test_the_precision_is_the_one_that_was_asked_for_or_it_is_said():
    session = load("audio", precision="bf16")
    info = session.describe()
    session.close()
    assert info.precision == "bf16" or any("bf16" in note for note in info.notes)


@pytest.mark.parametrize("provider", [("AUTO",), ("AUTO", "CPU"), ("AUTO:CPU",), ("GPU", "CPU")])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_runs_in_the_precision_that_was_asked_for(provider, precision):
    if ("CPU", precision) not in backends()["openvino"].ways():
        pytest.skip(f"{precision}: OpenVINO does not name it for this processor")
    session = load("audio", provider=provider, precision=precision)
    info = session.describe()
    session.close()
    assert info.provider == "CPU"
    assert info.precision == {"fp32": "f32", "bf16": "bf16"}[precision]
    assert not any("precision" in note for note in info.notes)


def test_a_compiled_model_is_found_again(tmp_path):
    first, second = (load("lidar", cache=tmp_path) for _ in range(2))
    hits = [session.describe().cache_hit for session in (first, second)]
    zeros = {t.name: np.zeros(t.shape, t.dtype) for t in first.describe().inputs}
    a, b = first.infer(zeros), second.infer(zeros)
    for session in (first, second):
        session.close()
    assert hits == [False, True]
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_device_that_is_not_here():
    with pytest.raises(BackendError, match="NPU is not here; OpenVINO finds CPU"):
        load("audio", provider=("NPU",))
    session = load("audio", provider=("NPU", "CPU"))
    info = session.describe()
    session.close()
    assert info.provider == "CPU"
    assert any("NPU is not here" in note for note in info.notes)
    with pytest.raises(BackendError, match="NPU"):
        load("audio", provider=("NPU", "CPU"), strict=True)


@pytest.mark.parametrize("provider", [("CUP",), ("CUP", "CPU"), ("AUTO", "cup.0")])
def test_a_device_that_no_machine_has_is_refused(provider):
    with pytest.raises(BackendError, match=r"is not known; did you mean CPU\?"):
        load("audio", provider=provider)


def test_options_are_of_their_device():
    pinned = {"ENABLE_CPU_PINNING": "True"}
    for provider in (("CPU",), ("AUTO",), ("AUTO", "CPU")):
        load("audio", provider=provider, provider_options={"CPU": pinned}).close()
    skipped = {"GPU": {"NONSENSE": "1"}}  # of a device that is not here: that is said already
    load("audio", provider=("GPU", "CPU"), provider_options=skipped).close()
    for owner in ("GPU", "cuda", "openvino"):
        with pytest.raises(BackendError, match=f"options of {owner.upper()}: expected among"):
            load("audio", provider=("CPU",), provider_options={owner: pinned})


def test_a_cache_that_cannot_be_used_keeps_no_model_from_running(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        session = load("audio", cache=place, strict=True)  # of providers and precisions
        info = session.describe()
        session.close()
        (note,) = info.notes
        assert "compile_cache is not used" in note
        assert info.cache_hit is None
    with pytest.raises(BackendError, match="NONSENSE"):
        load("audio", cache=tmp_path / "file", provider_options={"CPU": {"NONSENSE": "1"}})


def test_damaged_files_in_the_cache_are_compiled_anew(tmp_path):
    load("audio", cache=tmp_path).close()
    for damage in (b"", b"garbage"):
        for path in tmp_path.rglob("*.blob"):
            path.write_bytes(damage)
        session = load("audio", cache=tmp_path)
        assert session.describe().cache_hit is False
        session.close()


@pytest.mark.parametrize("provider", [(), ("AUTO",)])
def test_models_beside_each_other_are_not_bound_to_the_same_core(provider):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core: nothing to be bound to")
    sessions = [load(role, provider=provider) for role in ("camera", "lidar")]
    zeros = [{t.name: np.zeros(t.shape, t.dtype) for t in s.describe().inputs} for s in sessions]
    ended = threading.Event()
    before = {thread.native_id for thread in threading.enumerate()}

    def run(number):
        while not ended.is_set():
            sessions[number].infer(zeros[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    bound = set()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        for task in set(os.listdir("/proc/self/task")) - {str(number) for number in before}:
            try:
                places = os.sched_getaffinity(int(task))
            except OSError:  # ended meanwhile
                continue
            if places != cores:
                bound.add((task, tuple(places)))
        time.sleep(0.0005)
    ended.set()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()
    assert not bound
