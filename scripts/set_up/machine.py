"""What this machine has: tools, and a ROS 2 installation of its own."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A tool this machine lacks, and the Debian package that brings it."""

    what: str
    debian_package: str


@dataclass(frozen=True, kw_only=True)
class Ros:
    """A ROS 2 installation outside this checkout."""

    distro: str
    where: str


def missing_tools() -> list[Missing]:
    """Return the tools of a build that this machine lacks."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = []
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing.append(
            Missing(what=f"venv module of Python {version}", debian_package="python3-venv")
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append(Missing(what=f"headers of Python {version}", debian_package="python3-dev"))
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        missing.append(Missing(what="C++ compiler", debian_package="build-essential"))
    for tool in ("cmake", "make"):
        if shutil.which(tool) is None:
            missing.append(Missing(what=tool, debian_package=tool))
    return missing


def describe_missing(missing: list[Missing]) -> str:
    """Return the text that names each missing tool and the one command that installs them all."""
    lines = [f"missing: {item.what} (Debian package {item.debian_package})" for item in missing]
    packages = sorted({item.debian_package for item in missing})
    return "\n".join([*lines, f"install with: sudo apt-get install {' '.join(packages)}"])


def find_ros(root: Path, environment: Mapping[str, str]) -> Ros | None:
    """Return the machine's own ROS 2, or None where the wheels are to be used.

    The wheels in `.venv` of this checkout, put on the paths by scripts/env.sh, do not count.

    Args:
        root: root of this checkout.
        environment: the process environment.

    Raises:
        RuntimeError: ROS_DISTRO is set, but no rclpy belongs to it.
    """
    distro = environment.get("ROS_DISTRO", "")
    prefixes = [Path(p) for p in environment.get("AMENT_PREFIX_PATH", "").split(":") if p]
    outside = [prefix for prefix in prefixes if root not in prefix.parents]
    for prefix in outside:
        if (prefix / "share" / "rclpy").is_dir():
            return Ros(distro=distro or "unknown", where=str(prefix))
    module = rclpy_directory(environment)
    if module is not None and root not in module.parents:
        return Ros(distro=distro or "unknown", where=str(module))
    if distro and module is None and (outside or not prefixes):
        raise RuntimeError(
            f"ROS_DISTRO is {distro}, but python3 finds no rclpy: source the set-up file of that "
            f"ROS (package ros-{distro}-ros-base), or unset ROS_DISTRO to use wheels"
        )
    return None


def rclpy_directory(environment: Mapping[str, str]) -> Path | None:
    """Return the directory of the rclpy that the machine's Python finds, without importing it."""
    code = "import importlib.util as u; s = u.find_spec('rclpy'); print(s.origin if s else '')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(environment), capture_output=True, text=True
    )
    origin = done.stdout.strip()
    return Path(origin).parent if origin else None


def wheels_exist_for_this_machine() -> bool:
    """Return whether ROS 2 wheels are published for this system and processor."""
    return (platform.system(), platform.machine()) == ("Linux", "x86_64")
