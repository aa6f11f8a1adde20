"""Inner rings never import outer ones: read from the sources, and tried."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_perception.core

PACKAGE = Path(edge_perception.core.__file__).resolve().parents[1]
ROS = {
    "rclpy",
    "ament_index_python",
    "nav_msgs",
    "sensor_msgs",
    "std_msgs",
    "geometry_msgs",
    "diagnostic_msgs",
    "visualization_msgs",
    "vision_msgs",
    "builtin_interfaces",
    "rcl_interfaces",
    "lifecycle_msgs",
    "tf2_ros",
    "launch",
    "launch_ros",
}
OWN_MESSAGES = {"edge_perception.msg", "edge_perception.srv"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, at module level)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, id(node) in top


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", sources("core"), ids=name_of)
def test_core_needs_numpy_only(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    for module, _ in imports(path):
        if module.startswith("edge_perception"):
            assert module.startswith("edge_perception.core"), module
        else:
            assert module.split(".")[0] in allowed, module


@pytest.mark.parametrize(
    "path", sources("backends", "encoders", "models", "fusion", "releases"), ids=name_of
)
def test_middle_ring_imports_no_node_and_no_ros(path: Path) -> None:
    for module, at_top in imports(path):
        assert not module.startswith(("edge_perception.nodes", "edge_perception.cli")), module
        assert module not in OWN_MESSAGES, module
        # Where this package is installed can be asked of ROS, where there is one.
        if module.split(".")[0] != "ament_index_python" or at_top:
            assert module.split(".")[0] not in ROS, module


def test_everything_but_the_nodes_imports_without_ros() -> None:
    modules = sorted(
        ".".join(("edge_perception", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sources(
            "core",
            "cdr",
            "backends",
            "encoders",
            "models",
            "fusion",
            "releases",
            "replay",
            "simulation",
            "evaluation",
        )
        if path.name != "__init__.py" and "backends" not in path.parts
    )
    blocked = sorted(ROS | {"cv_bridge"} | OWN_MESSAGES)
    script = (
        "import importlib, sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from edge_perception.encoders import encoders\n"
        "assert not encoders().failures, encoders().failures\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(modules) > 20
