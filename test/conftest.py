"""Fixtures of all layers, and skips that name what is missing."""

from __future__ import annotations

import importlib
import os
import random
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is a matter of the machine, and no fault of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# What a shell starts in the background, or nohup, is told to ignore interrupts, and so are its
# children: programs under test are interrupted all the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
LAYERS_WITH_ROS = ("nodes", "launch", "faults")
# In these layers, and no deadline of running nodes in them.
WITHOUT_NODES = ("test_fault_matrix_virtual", "test_fuzzing", "test_store_faults")
NICE_WITHOUT_NODES = 9  # above that of quiet work, which tests look at
# Ports of ROS's own domain_coordinator: tests of other packages keep away from our domains too.
DOMAIN_PORT_BASE = 32768
DOMAINS = range(1, 101)
# A killed node stays in its domain for 20 s: a domain is used again as late as possible.
_next_domains = deque(random.sample(DOMAINS, len(DOMAINS)))

# Helper modules beside the tests; test files of the same name may exist in several folders.
sys.path += sorted(
    {
        str(path.parent)
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_")
        and path.name != "conftest.py"
        # a plug-in folder is no part of the path, that is its point
        and "extensions" not in path.parts
    }
)
# Without an install space on the paths the core is tested from the checkout.
sys.path.append(str(ROOT))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-ros", action="store_true", help="fail, not skip, where ROS 2 is missing"
    )
    parser.addoption(
        "--whole-matrix",
        action="store_true",
        help="run every cell of long matrices too, as `make matrix` does",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # Nodes first, see `pytest_xdist_make_scheduler`; of the others the short ones last.
        items.sort(key=lambda item: (not _has_nodes(item.nodeid), "test/unit/" in item.nodeid))
    if config.getoption("--whole-matrix"):
        return
    skip = pytest.mark.skip(reason="a cell of a longer matrix: `make matrix` runs it")
    for item in items:
        if item.get_closest_marker("matrix"):
            item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give all tests with nodes to one worker of `-n`, in turn; whole files without to the others.

    Nodes have deadlines: two of these tests at once would take the cores that they are measured on.
    Tests without nodes take what is left, see `pytest_runtest_setup`.
    """
    from xdist.scheduler import LoadScopeScheduling

    class NodesFirst(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "nodes" if _has_nodes(nodeid) else nodeid.split("::")[0]

    config.option.loadscopereorder = False
    return NodesFirst(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let tests without nodes wait for those of the other worker, which takes some at its end."""
    if hasattr(item.config, "workerinput") and not _has_nodes(item.nodeid):
        os.nice(max(0, NICE_WITHOUT_NODES - os.nice(0)))


def pytest_configure(config: pytest.Config) -> None:
    reason = why_no_ros()
    if reason and config.getoption("--require-ros"):
        raise pytest.UsageError(reason)


def why_no_ros() -> str:
    """Return what the tests with nodes lack, empty when they can run."""
    for module in ("rclpy", "edge_perception.msg"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"{module} cannot be imported ({error}); `make test` sets it up"
    return ""


class _SkippedModule(pytest.Module):
    """A module that is not even imported, as its first lines would fail."""

    def collect(self) -> Iterator[pytest.Item]:
        raise pytest.skip.Exception(why_no_ros(), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> object:
    if _needs_ros(module_path.resolve().relative_to(TESTS)) and why_no_ros():
        return _SkippedModule.from_parent(parent, path=module_path)
    return None


def _needs_ros(path: Path) -> bool:
    return path.parts[0] in LAYERS_WITH_ROS or path.stem.endswith("_in_nodes")


def _has_nodes(nodeid: str) -> bool:
    path = (ROOT / nodeid.split("::")[0]).relative_to(TESTS)
    return _needs_ros(path) and path.stem not in WITHOUT_NODES


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The recordings and public models."""
    path = Path(os.environ.get("EDGE_PERCEPTION_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no recordings: {path} is not there, set EDGE_PERCEPTION_DATA")
    return path


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain that no other test on this machine uses meanwhile, set as ROS_DOMAIN_ID."""
    yield from _reserved_domain(monkeypatch)


@pytest.fixture(scope="module")
def shared_domain() -> Iterator[int]:
    """The same for all tests of a module, whose nodes go on from one to the next."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield from _reserved_domain(monkeypatch)


def _reserved_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for _ in DOMAINS:
        domain = _next_domains[0]
        _next_domains.rotate(-1)
        with socket.socket() as reservation:
            try:
                reservation.bind(("", DOMAIN_PORT_BASE + domain))
            except OSError:
                continue
            monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
            yield domain
            return
    pytest.fail(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use")


@pytest.fixture
def harness(ros_domain: int) -> Iterator[object]:
    """Real nodes and a driver over DDS; closed with all its nodes at the end."""
    yield from _harness(ros_domain)


@pytest.fixture(scope="module")
def shared_harness(shared_domain: int) -> Iterator[object]:
    """One harness for all tests of a module: where each leaves the nodes as they were."""
    yield from _harness(shared_domain)


def _harness(domain: int) -> Iterator[object]:
    from harness import Harness

    harness = Harness(domain)
    yield harness
    harness.close()
