"""Tasks in several processes: errors arrive, and nobody waits for a process that is gone."""

import pickle

import pytest
from pool_workers import make_doubler, make_nothing, make_refuser, make_victim

from edge_perception.core.errors import EdgePerceptionError, UnknownNameError
from edge_perception.evaluation.pool import run_all
from edge_perception.simulation.scenario import ScenarioError

TASKS = [(n,) for n in range(8)]


def run(make, processes=2):
    return run_all(make, None, TASKS, processes=processes, progress=lambda _: None)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_tasks(processes):
    assert run(make_doubler, processes) == [2 * n for (n,) in TASKS]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_task_arrives_as_it_is(processes):
    with pytest.raises(ScenarioError, match="sounds: has 'rain'") as caught:
        run(make_refuser, processes)
    assert caught.value.where == "sounds"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_cannot_be_made_says_why(processes):
    with pytest.raises(ScenarioError, match="plan: cannot be read"):
        run(make_nothing, processes)


def test_a_process_that_ends_is_an_error_and_no_wait_for_ever():
    with pytest.raises(EdgePerceptionError, match=r"a process of ours ended, \d of 8 tasks"):
        run(make_victim)


@pytest.mark.parametrize(
    "error",
    [
        ScenarioError("sounds", "has 'rain'"),
        UnknownNameError(kind="layout", name="x", known=["a", "b"]),
    ],
)
def test_errors_go_from_one_process_to_another(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
