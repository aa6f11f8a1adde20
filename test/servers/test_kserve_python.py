"""The kserve backend against KServe's own Python server, over HTTP and gRPC."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from triton_server import ROOT

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BackendError
from edge_perception.core.ports import free_port
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.manifest import load_bundle

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
if not PYTHON.exists():
    pytest.skip("KServe is not installed: `make setup-kserve`", allow_module_level=True)

AUDIO = load_bundle(ROOT / "models" / "bev_lite" / "audio")
NAME = "audio_here"
PATIENCE_MS = "20000"  # of tests that are not about time


class KserveServer:
    """One server of one model; the same ports at each start."""

    def __init__(self, scratch: Path) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        self._log = scratch / "kserve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("kserve_process.py")
        ports = (str(self.http_port), str(self.grpc_port))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, script, NAME, AUDIO.model_path, *ports],
                env={"PATH": f"{PYTHON.parent}:/usr/bin:/bin", "HOME": str(self._log.parent)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end_s = time.monotonic() + 180.0
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://127.0.0.1:{self.http_port}/v2/models/{NAME}/ready"
        while time.monotonic() < end_s and self._process.poll() is None:
            try:
                with opener.open(url, timeout=1.0):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"KServe did not start:\n{self._log.read_text()[-3000:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)
        if number is signal.SIGKILL:
            self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KserveServer]:
    server = KserveServer(tmp_path_factory.mktemp("kserve"))
    server.start()
    yield server
    server.signal(signal.SIGKILL)


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: KserveServer) -> str:
    if request.param == "grpc" and importlib.util.find_spec("grpc") is None:
        pytest.skip("grpcio is not installed: the extra `kserve`")
    return f"{request.param}://127.0.0.1:{getattr(server, f'{request.param}_port')}"


def connect(url: str, **options: str):
    values = {"model": NAME, "deadline_ms": PATIENCE_MS, **options}
    return backends()["kserve"].load(
        AUDIO.model_path, BackendOptions(provider=(url,), provider_options={"kserve": values})
    )


def patiently(condition, seconds: float = 120.0) -> bool:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_golden_outputs_agree_and_tensors_are_sent(url: str) -> None:
    session = connect(url, fallback="none", shared_memory="true")
    deviations = compare_golden(AUDIO, session)
    info = session.describe()
    session.close()
    assert all(deviation.passed for deviation in deviations), deviations
    assert "kserve" in info.runtime_version
    assert info.notes == ("shared_memory: the server does not offer it",)


def test_a_model_that_the_server_does_not_have(url: str) -> None:
    with pytest.raises(BackendError, match="no_such_model"):
        connect(url, model="no_such_model", fallback="none")


def test_frames_of_another_shape_are_refused_and_the_next_is_served(url: str) -> None:
    session = connect(url, fallback="none")
    inputs, _ = read_golden(AUDIO)
    with pytest.raises(BackendError, match="log_mel"):
        session.infer({name: array[..., :-1] for name, array in inputs.items()})
    assert session.infer(inputs)["logits"].shape == (1, 5)
    session.close()


def test_a_stopped_server_costs_the_deadline_and_a_killed_one_is_found_again(
    url: str, server: KserveServer
) -> None:
    session = connect(url, deadline_ms="2000", open_s="0.1", failures="1")
    inputs, _ = read_golden(AUDIO)
    right = session.infer(inputs)["logits"]
    server.signal(signal.SIGSTOP)
    try:
        np.testing.assert_allclose(session.infer(inputs)["logits"], right, atol=1e-4)
        assert "does not serve" in session.describe().notes[0]
    finally:
        server.signal(signal.SIGCONT)
    assert patiently(lambda: session.infer(inputs) and not session.describe().notes)
    server.signal(signal.SIGKILL)
    try:
        np.testing.assert_allclose(session.infer(inputs)["logits"], right, atol=1e-4)
        assert "does not serve" in session.describe().notes[0]
    finally:
        server.start()
    assert patiently(lambda: session.infer(inputs) and not session.describe().notes)
    session.close()
