"""The kserve backend against a real Triton, over HTTP and gRPC: killed, stopped, restarted."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import cloud_rig
import numpy as np
import pytest
from triton_server import Triton, why_not

from edge_perception.backends import BackendOptions, backends
from edge_perception.backends.kserve.session import open_remote
from edge_perception.core.errors import BackendError
from edge_perception.models.golden import compare_golden
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.models.triton_repository import export_triton, stated_by

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

SET = Path(__file__).parents[2] / "models" / "bev_lite"
ROLES = ("camera", "lidar", "audio", "fusion")
PATIENCE_MS = "20000"  # of tests that are not about time


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    scratch = tmp_path_factory.mktemp("triton")
    for role in ROLES:
        export_triton(bundle(role), scratch / "repository", backend="python")
    server = Triton(scratch / "repository", scratch)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, triton: Triton) -> str:
    if request.param == "grpc" and importlib.util.find_spec("grpc") is None:
        pytest.skip("grpcio is not installed: the extra `kserve`")
    return str(getattr(triton, request.param))


def bundle(role: str) -> Bundle:
    return load_bundle(SET / role)


def connect(url: str, role: str, **options: str):
    values = {"model": f"bev_lite_{role}", "deadline_ms": PATIENCE_MS, **options}
    return backends()["kserve"].load(
        SET / role / "model.onnx",
        BackendOptions(provider=(url,), provider_options={"kserve": values}),
    )


def golden(role: str) -> dict[str, np.ndarray]:
    with np.load(SET / role / "golden_inputs.npz") as arrays:
        return {name: np.ascontiguousarray(arrays[name]) for name in arrays}


def patiently(condition, seconds: float = 120.0) -> bool:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("shared", ["true", "false"])
@pytest.mark.parametrize("role", ROLES)
def test_the_bundled_models_agree_with_their_golden_outputs(
    url: str, role: str, shared: str
) -> None:
    session = connect(url, role, fallback="none", shared_memory=shared)
    deviations = compare_golden(bundle(role), session)
    info = session.describe()
    assert info.provider.endswith(", shared memory") == (shared == "true")
    session.close()
    assert not list(Path("/dev/shm").glob("edge_perception_*"))
    assert all(deviation.passed for deviation in deviations), deviations
    assert info.runtime_version.startswith("triton 2.")
    assert not info.notes


def test_the_server_states_what_was_exported(url: str) -> None:
    for role in ROLES:
        remote = open_remote(url, f"bev_lite_{role}")
        stated = remote.stated(float(PATIENCE_MS) / 1e3)
        remote.close()
        assert stated.items() >= stated_by(bundle(role)).items()


def test_a_doubtful_frame_is_asked_about_and_a_server_of_another_release_is_refused(
    url: str,
) -> None:
    route = cloud_rig.Route(f"site {url} deadline_ms={PATIENCE_MS}")
    assert [route.handle(), route.handle()] == ["answered"] * 2
    assert route.late[-1].objects
    newer = cloud_rig.other_release(cloud_rig.bundle(), version="9.0.0")
    assert route.handle(serving=newer) == "dropped, refused"
    assert "expected bev_lite_camera 9.0.0" in route.tiers[0].problem
    route.close()


def test_crops_are_asked_about_compressed(url: str) -> None:
    route = cloud_rig.Route(f"site {url} deadline_ms={PATIENCE_MS}", send="crops")
    seen = {"objects": [cloud_rig.box(score=0.5, ahead_m=20.0)]}
    assert [route.handle(**seen), route.handle(**seen)] == ["answered"] * 2
    assert route.late[-1].crops == 1
    assert route.tiers[0].budget.used(0.0) < 2_000_000  # two frames are 4.5 MB
    route.close()


def test_a_model_of_another_signature_is_refused(url: str) -> None:
    with pytest.raises(BackendError, match="input 'log_mel' expects"):
        connect(url, "audio", model="bev_lite_lidar")


def test_a_model_that_the_server_does_not_have(url: str) -> None:
    with pytest.raises(BackendError, match="no_such_model"):
        connect(url, "audio", model="no_such_model", fallback="none")


def test_a_stopped_server_costs_the_deadline_and_the_local_model_answers(
    url: str, triton: Triton
) -> None:
    session = connect(url, "audio", deadline_ms="200", open_s="0.1", failures="2")
    inputs = golden("audio")
    right = session.infer(inputs)
    # A busy machine needs more than one question. The deadline stays short: a stub of the Python
    # backend that stands still for seconds counts as dead.
    assert patiently(lambda: session.infer(inputs) and not session.describe().notes)
    triton.pause()
    try:
        outputs = [session.infer(inputs) for _ in range(3)]
        info = session.describe()
    finally:
        triton.go_on()
    assert info.notes
    assert info.provider == "CPUExecutionProvider"
    for output in outputs:
        np.testing.assert_allclose(output["logits"], right["logits"], atol=1e-4)
    # The breaker asks once more after its pause, and the server serves again.
    assert patiently(lambda: session.infer(inputs) and not session.describe().notes)
    session.close()


def test_a_killed_server_is_found_again_after_its_restart(url: str, triton: Triton) -> None:
    session = connect(url, "audio", deadline_ms="2000", open_s="0.1", failures="1")
    inputs = golden("audio")
    right = session.infer(inputs)["logits"]
    triton.kill()
    try:
        for _ in range(5):
            np.testing.assert_allclose(session.infer(inputs)["logits"], right, atol=1e-4)
        assert "does not serve" in session.describe().notes[0]
    finally:
        triton.start()
    assert patiently(lambda: session.infer(inputs) and not session.describe().notes)
    session.infer(inputs)
    assert session.describe().provider.endswith(", shared memory")  # a new region
    session.close()


def test_without_a_fall_back_a_dead_server_is_an_error_in_time(url: str, triton: Triton) -> None:
    session = connect(url, "audio", deadline_ms="300", fallback="none")
    inputs = golden("audio")
    triton.pause()
    try:
        began_s = time.monotonic()
        with pytest.raises(BackendError, match="kserve"):
            session.infer(inputs)
        took_s = time.monotonic() - began_s
    finally:
        triton.go_on()
    session.close()
    assert took_s < 60.0  # not for ever; the deadline itself is measured by the benchmark
