"""A node that fails while it is made: an error is an error, the end of the process is none."""

import pytest
import rclpy

from edge_perception.nodes.spin import run


class BrokenError(Exception):
    pass


@pytest.fixture(autouse=True)
def _domain(ros_domain):
    yield
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
