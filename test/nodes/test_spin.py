"""How nodes are started and ended: an error is an error, the end of the process is none."""

import subprocess
import sys

import pytest
import rclpy
from rclpy.node import Node

from edge_perception.core import native
from edge_perception.nodes.common.spin import serve
from edge_perception.running.ending import Ending, Stage


class BrokenError(Exception):
    pass


@pytest.fixture(autouse=True)
def _domain(ros_domain):
    yield
    rclpy.try_shutdown()


def test_the_end_of_the_context_during_construction_is_a_clean_end():
    def make_nodes():
        rclpy.shutdown()
        return [rclpy.create_node("too_late")]

    assert serve(make_nodes, [], ending=Ending()) == 0


def test_nothing_more_is_made_once_the_end_is_wanted():
    ending, made = Ending(), []

    def make_nodes():
        for name in ("first", "second"):
            node = Recorded(name)
            made.append(node)
            ending.want()
            yield node

    assert serve(make_nodes, [], ending=ending) == 0
    assert len(made) == 1
    assert made[0].calls == ["close"]
    assert ending.stage is Stage.CLOSED


def test_the_last_node_is_closed_first():
    ending, closed = Ending(), []

    def make_nodes():
        for name in ("first", "second"):
            node = Recorded(name)
            node.close = lambda name=name: closed.append(name)
            yield node
        ending.want()

    assert serve(make_nodes, [], ending=ending) == 0
    assert closed == ["second", "first"]


def test_a_node_at_rest_ends_at_once():
    ended = run_python(
        """
class Resting(Node):
    def autostart(self):
        threading.Timer(0.2, end).start()

spin.run(lambda: [Resting()], [])
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_any_other_failure_is_raised():
    def make_nodes():
        raise BrokenError

    with pytest.raises(BrokenError):
        serve(make_nodes, [], ending=Ending())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fusion:\n  rate_hz: 1.0\n", "ros__parameters"),
        ("fusion: [", "expected YAML"),
    ],
)
def test_a_bad_parameter_file_is_one_line(text, said, tmp_path, capfd):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    arguments = ["--ros-args", "--params-file", str(file)]
    assert serve(list, arguments, ending=Ending()) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "edge_perception:" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert str(file) in lines[0]


class Recorded(Node):
    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def autostart(self):
        self.calls.append("autostart")

    def close(self):
        self.calls.append("close")


# -- processes --

HEAD = """
import os, signal, threading
from edge_perception.nodes.common import spin
from edge_perception.running import ending
ending.START_S = ending.CLOSE_S = ending.END_S = 0.3
import ctypes

def hang():
    threading.Event().wait()

def hang_with_the_interpreter():
    ctypes.PyDLL(None).sleep(60)

def end():
    os.kill(os.getpid(), signal.SIGTERM)

class Node(spin.PerceptionNode):
    def __init__(self):
        super().__init__("node")
"""


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_end_that_hangs_is_ended_and_says_where():
    ended = run_python(
        """
class Hanging(Node):
    def autostart(self):
        end()

    def close(self):
        hang()

spin.run(lambda: [Hanging()], [])
"""
    )
    assert ended.returncode == 1
    assert "in close" in ended.stderr


def test_a_step_that_cannot_be_interrupted_is_not_waited_for_and_named():
    ended = run_python(
        """
def make_nodes():
    end()
    hang()

spin.run(make_nodes, [])
"""
    )
    assert ended.returncode == 0
    assert "ended in the middle of a step" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_middleware_that_hangs_once_all_is_closed_keeps_nobody():
    ended = run_python(
        """
class Slow(Node):
    def autostart(self):
        end()

    def destroy_node(self):
        hang()

spin.run(lambda: [Slow()], [])
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_hangs_after_the_interpreter_is_never_reached():
    ended = run_python(
        """
class Ending(Node):
    def autostart(self):
        print("buffered", end="")
        end()

import atexit
atexit.register(lambda: print(" and said at the end", end=""))
class Destructor:
    def __del__(self):
        hang()
kept = Destructor()
spin.run(lambda: [Ending()], [])
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "buffered and said at the end"


@pytest.mark.skipif(native.library() is None, reason="needs a build")
@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("autostart", 0, ["ended in the middle of a step", "in hang_with_the_interpreter"]),
        ("close", 1, ["in hang_with_the_interpreter", "in close"]),
        ("destroy_node", 0, []),
    ],
)
def test_a_library_that_keeps_the_interpreter_keeps_nobody(where, code, said):
    ended = run_python(
        f"""
class Held(Node):
    def autostart(self):
        threading.Timer(0.2, end).start()

    def {where}(self):
        if {where!r} == "autostart":
            end()
        hang_with_the_interpreter()

spin.run(lambda: [Held()], [])
"""
    )
    assert ended.returncode == code
    assert all(words in ended.stderr for words in said)
    assert said or not ended.stderr


def test_a_second_signal_changes_nothing():
    ended = run_python(
        """
class Twice(Node):
    def autostart(self):
        end()

    def close(self):
        end()
        os.kill(os.getpid(), signal.SIGINT)
        super().close()

spin.run(lambda: [Twice()], [])
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")
