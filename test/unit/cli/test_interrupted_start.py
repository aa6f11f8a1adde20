"""Ctrl-C before a command runs ends it quietly with 130, as Ctrl-C later does."""

import subprocess
import sys

import pytest

# SIGINT comes in the middle of an import, which is where a start spends its time.
IN_AN_IMPORT = """
import importlib, signal, sys
from edge_perception.cli import main
{before}
import_module = importlib.import_module
def interrupted(name):
    signal.raise_signal(signal.SIGINT)
    return import_module(name)
importlib.import_module = interrupted
sys.argv = ["edge-perception", "devices", "--help"]
sys.exit(main.main())
"""
# What `main` starts anew gets the signal that came meanwhile: it is pending, and held back.
HELD = """
import importlib.util, os, signal, sys
from edge_perception.cli import main
from edge_perception.running import transport
main.__spec__ = importlib.util.find_spec("edge_perception.cli.main")
sys.argv = ["edge-perception", "{command}", "--help"]
execve = os.execve
def late(*arguments):
    signal.raise_signal(signal.SIGINT)
    execve(*arguments)
os.execve = late
transport.transport_environment = lambda _: {{"EDGE_PERCEPTION_TEST": "1"}}
os.environ.pop(main._TRANSPORT_TAKEN, None)
main._take_transport()
"""


def ended(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "program",
    [IN_AN_IMPORT.format(before=""), HELD.format(command="devices")],
    ids=["import", "started anew"],
)
def test_ctrl_c_before_the_command_runs_ends_it_quietly(program):
    done = ended(program)

    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


def test_run_ends_with_0_where_the_signal_came_while_it_was_started_anew():
    done = ended(HELD.format(command="run"))

    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_an_ignored_ctrl_c_stays_ignored():
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)"

    done = ended(IN_AN_IMPORT.format(before=ignored))

    assert done.returncode == 0
    assert "usage" in done.stdout
