"""Reading the pinned requirement files, and finding what a Python lacks of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

# Import names that differ from the distribution's name.
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "PyYAML": "yaml",
    "prometheus-client": "prometheus_client",
    "pytest-timeout": "pytest_timeout",
    "pytest-xdist": "xdist",
    "types-PyYAML": "yaml-stubs",
    "scipy-stubs": "scipy-stubs",
}
DIRECT_HEADING = "# asked for by name"
COLCON = "colcon-common-extensions"
_PROBE = """
import importlib.util, json, os, sys
def there(name):
    if name.endswith('-stubs'):
        return any(os.path.isdir(os.path.join(p, name)) for p in sys.path)
    return importlib.util.find_spec(name) is not None
print(json.dumps({name: there(name) for name in sys.argv[1:]}))
"""


def pins(files: Iterable[Path]) -> list[str]:
    """Return every requirement line of the files, without comments and options."""
    lines = (line.strip() for path in files for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def direct_pins(files: Iterable[Path]) -> dict[str, list[str]]:
    """Return the requirement lines asked for by name, one list (by marker) a distribution."""
    found: dict[str, list[str]] = {}
    for path in files:
        direct = False
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                direct = line.startswith(DIRECT_HEADING)
            elif direct and line.strip():
                found.setdefault(re.split(r"[=<>!~;\[ ]", line)[0], []).append(line.strip())
    return found


def names_missing_from(
    python: str, files: Iterable[Path], environment: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the direct requirements whose module the given Python does not find, with their pins.

    colcon counts too: a ROS installation may come without it.
    """
    wanted = direct_pins(files) | {COLCON: [COLCON]}
    modules = {name: IMPORT_NAMES.get(name, name) for name in wanted} | {COLCON: "colcon_core"}
    done = subprocess.run(
        [python, "-c", _PROBE, *modules.values()],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(done.stdout)
    return {name: wanted[name] for name in wanted if not there[modules[name]]}


def numpy_constraint(python: str, environment: Mapping[str, str]) -> str:
    """Return the constraint that keeps the NumPy of a Python as it is, or nothing without one."""
    code = "import numpy; print('numpy==' + numpy.__version__)"
    done = subprocess.run(
        [python, "-c", code], env=dict(environment), capture_output=True, text=True
    )
    return done.stdout
