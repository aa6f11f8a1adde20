"""Message packages that are not among the ROS wheels, built for the tests only.

Field names and types are those of the published packages. Both packages that are called
audio_common_msgs are here, so each set of packages has an install space of its own and is used by
a process of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SETS = ("common", "ros_drivers", "mgonzs13")
BUILD = ROOT / "build" / "test_interfaces"


def install_space(name: str) -> Path:
    """Return the install space of a set, built where its files changed."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    stamp, key = folder / "stamp", _key(name)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs of one checkout
        if not stamp.is_file() or stamp.read_text() != key:
            _build(name, folder)
            stamp.write_text(key)
    return folder / "install"


def _key(name: str) -> str:
    digest = hashlib.sha256(sys.version.encode())
    shared = (HERE / "interfaces.cmake", ROOT / "cmake" / "wheel_targets.cmake")
    for path in (*sorted((HERE / name).rglob("*")), *shared):
        if path.is_file():
            digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def _build(name: str, folder: Path) -> None:
    for part in ("build", "install"):
        shutil.rmtree(folder / part, ignore_errors=True)
    command = [sys.executable, "-m", "colcon", "--log-base", str(folder / "log"), "build"]
    command += ["--base-paths", str(HERE / name), "--build-base", str(folder / "build")]
    command += ["--install-base", str(folder / "install"), "--merge-install"]
    command += ["--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: the interface packages cannot be built:\n{done.stderr}")


def environment(name: str) -> dict[str, str]:
    """Return the environment of a process that has the packages of a set."""
    install = install_space(name)
    changed = dict(os.environ)
    sites = sorted(map(str, install.glob("l*/**/*-packages")))
    for variable, paths in (
        ("AMENT_PREFIX_PATH", [str(install)]),
        ("LD_LIBRARY_PATH", [str(install / "lib")]),
        ("PYTHONPATH", sites),
    ):
        old = [part for part in changed.get(variable, "").split(os.pathsep) if part]
        changed[variable] = os.pathsep.join([*paths, *old])
    return changed


def run_cases(name: str, files: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run files of tests in a process that has the packages of a set."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(name),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
