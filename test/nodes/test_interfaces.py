"""Real nodes with message packages that the wheels lack; each set in a process of its own."""

from concurrent.futures import ThreadPoolExecutor

import interfaces
import pytest

CASES = {
    "common": ("tf_case.py", "detections_case.py", "bond_case.py"),
    "ros_drivers": ("audio_common_case.py",),
    "mgonzs13": ("audio_common_case.py",),
}


@pytest.fixture(scope="module", autouse=True)
def built():
    """Build the sets beside each other: most of a build is CMake, in one process."""
    with ThreadPoolExecutor(len(interfaces.SETS)) as pool:
        list(pool.map(interfaces.install_space, interfaces.SETS))


@pytest.mark.timeout(900)  # the packages are built once, on a busy machine
@pytest.mark.parametrize("name", interfaces.SETS)
def test_with(name):
    done = interfaces.run_cases(name, [f"test/nodes/{file}" for file in CASES[name]])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
