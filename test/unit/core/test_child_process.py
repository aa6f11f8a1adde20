"""Helpers import as who starts them does, and are ended with what they have started."""

import signal
import subprocess

import psutil
import pytest

from edge_perception.core.child_process import ending, signal_group, start_helper

HELPER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
print(sys.stdin.read(), flush=True)
child.kill()
"""


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A helper from a folder that only this process looks in."""
    (tmp_path / "a_helper_of_this_test.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    with start_helper(
        "a_helper_of_this_test", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        signal_group(process, signal.SIGKILL)


def test_a_helper_takes_and_tells(helper):
    output, _ = helper.communicate(b"said", timeout=120.0)
    assert output.splitlines()[-1] == b"said"
    assert ending(helper.returncode) == "exit code 0"


def test_what_a_helper_has_started_ends_with_it(helper):
    child = psutil.Process(int(helper.stdout.readline()))
    signal_group(helper, signal.SIGKILL)
    assert ending(helper.wait(timeout=120.0)) == "signal SIGKILL"
    _, alive = psutil.wait_procs([child], timeout=120.0)
    assert not alive or child.status() == psutil.STATUS_ZOMBIE
    signal_group(helper, signal.SIGKILL)  # nobody is left: nothing happens
