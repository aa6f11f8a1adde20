"""A real Triton on loopback, started and killed by the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path

from edge_perception.core.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-servers" / "bin" / "python"
START_S = 180.0


def why_not() -> str:
    """What the tests lack; empty: they can run."""
    if not PYTHON.exists():
        return "Triton is not installed: `make setup-servers`"
    return ""


class Triton:
    """One server with its model repository; the same ports at each start."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        (self._site,) = (ROOT / ".venv-servers" / "lib").glob("python3.*/site-packages")
        self._server = self._site / "pytriton" / "tritonserver"
        self._repository, self._log = repository, scratch / "triton.log"
        self._backends = scratch / "backends"
        self._make_backend()
        self.http_port, self.grpc_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        version = self._site.parent.name.removeprefix("python")
        libraries = (sysconfig.get_config_var("LIBDIR"), self._site / "nvidia_pytriton.libs")
        environment = {
            "PATH": f"{PYTHON.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(self._site),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "OMP_NUM_THREADS": "1",
        }
        command = [
            str(self._server / "bin" / "tritonserver"),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._backends}",
            # A region of 1 MB, the default, is too small for features; its name keeps runs apart.
            "--backend-config=python,shm-default-byte-size=16777216",
            f"--backend-config=python,shm-region-prefix-name=ep_test_{os.getpid()}_",
            "--http-address=127.0.0.1",
            f"--http-port={self.http_port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc_port}",
            "--allow-metrics=false",
        ]
        assert version
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the stubs of the Python backend end with it
            )
        self._wait_until_ready()

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for left in Path("/dev/shm").glob(f"ep_test_{os.getpid()}_*"):
                left.unlink(missing_ok=True)

    def pause(self) -> None:
        """Stop it as it is: connections stay, nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _make_backend(self) -> None:
        """The Python backend finds its stub beside itself; the wheel keeps one for each Python."""
        folder = self._backends / "python"
        shutil.copytree(self._server / "backends" / "python", folder)
        version = self._site.parent.name.removeprefix("python")
        stub = self._server / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, folder)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end_s = time.monotonic() + START_S
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < end_s:
            if self._process.poll() is not None:
                break
            try:
                with opener.open(f"{self.http}/v2/health/ready", timeout=1.0):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"Triton did not start:\n{self._log.read_text()[-3000:]}")
