"""Workers of `test_pool`, which other processes import."""

import os
import signal

from edge_perception.simulation.scenario import ScenarioError


def make_doubler(_plan):
    return lambda value: 2 * value


def make_refuser(_plan):
    def refuse(value):
        if value == 3:
            raise ScenarioError("sounds", "has 'rain'")
        return value

    return refuse


def make_victim(_plan):
    def die(value):
        if value == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    return die


def make_nothing(_plan):
    raise ScenarioError("plan", "cannot be read")
