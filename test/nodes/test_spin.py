"""A node that fails while it is made: an error is an error, the end of the process is none."""

import faulthandler
import subprocess
import sys

import pytest
import rclpy

from edge_perception.nodes.spin import run


class BrokenError(Exception):
    pass


@pytest.fixture(autouse=True)
def _domain(ros_domain):
    yield
    faulthandler.cancel_dump_traceback_later()  # of a process that ends, and this one goes on
    rclpy.try_shutdown()


def test_a_signal_during_construction_is_a_clean_end():
    def make_nodes():
        rclpy.shutdown()  # what the handler of SIGINT and SIGTERM does
        return [rclpy.create_node("too_late")]

    assert run(make_nodes, []) == 0


def test_any_other_failure_is_raised():
    def make_nodes():
        raise BrokenError

    with pytest.raises(BrokenError):
        run(make_nodes, [])


def test_an_end_that_hangs_is_ended_and_says_where():
    code = """
import threading
from rclpy.node import Node
from edge_perception.nodes import spin

class Hanging(Node):
    def autostart(self):
        raise KeyboardInterrupt

    def close(self):
        threading.Event().wait()

spin.END_S = 0.2
spin.run(lambda: [Hanging("hanging")], [])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "in close" in ended.stderr


def test_nodes_that_hang_when_a_signal_came_are_ended_and_say_where():
    code = """
import os
import signal
import threading
from edge_perception.nodes import spin

def hang():
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        threading.Event().wait(1.0)

spin.END_S = 0.2
spin.run(hang, [])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "in hang" in ended.stderr
