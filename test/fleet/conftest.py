"""Skips that name the extra, and an owner with a registry."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from servers import reach_s3

from edge_perception.core.ports import free_port

_SERVERS = Path(__file__).resolve().parents[2] / ".venv-servers" / "bin"
_NEEDED = ("tuf", "obstore", "paho")
_MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items):
    if _MISSING:
        skip = pytest.mark.skip(
            reason=f"{', '.join(_MISSING)} not installed: `make setup-fleet` (extra `fleet`)"
        )
        for item in items:
            if "test/fleet/" in str(item.path):
                item.add_marker(skip)


@pytest.fixture
def owner(tmp_path):
    from fleet_rig import Owner

    return Owner(tmp_path)


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server of PyPI (moto), which starts slowly: one for all tests."""
    server = shutil.which("moto_server", path=f"{_SERVERS}{os.pathsep}{os.environ['PATH']}")
    if server is None or subprocess.run([server, "--help"], capture_output=True).returncode != 0:
        pytest.skip("no S3 server: `make setup-servers` brings moto")
    port = free_port()
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    process = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)],
        env=clean,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end_s = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end_s or process.poll() is not None:
                pytest.skip("moto_server does not start here")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A folder in a bucket of its own, and the environment to reach it."""
    reach_s3(s3_server, monkeypatch)
    bucket = f"fleet-{secrets.token_hex(4)}"
    request = urllib.request.Request(f"{s3_server}/{bucket}", method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    return f"s3://{bucket}/registry"
