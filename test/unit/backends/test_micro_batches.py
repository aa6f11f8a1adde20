"""Frames of several sources in one run: in their order, as many as there are, none held up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_perception.backends import BackendInfo, TensorInfo
from edge_perception.backends.micro_batches import MicroBatches, Worth
from edge_perception.core.errors import BackendError

INFO = BackendInfo(
    runtime="made up",
    runtime_version="1",
    provider="here",
    inputs=(TensorInfo(name="x", dtype="float32", shape=(-1, -1)),),
    outputs=(TensorInfo(name="y", dtype="float32", shape=(-1, -1)),),
)
LONG_S = 60.0  # a test that waits for it has failed


class Session:
    """Doubles; keeps what ran; holds the first run up until it is let go. Below 0 is refused."""

    def __init__(self, *, hold=False):
        self.runs, self.entered, self.go = [], threading.Event(), threading.Event()
        if not hold:
            self.go.set()

    def describe(self):
        return INFO

    def infer(self, inputs):
        self.runs.append(inputs["x"][:, 0].tolist())
        self.entered.set()
        assert self.go.wait(LONG_S)
        if (inputs["x"] < 0).any():
            raise BackendError("below 0")
        return {"y": inputs["x"] * 2}


class Always:
    ratio, pays, together = float("nan"), True, True

    def took(self, seconds, *, together):
        assert seconds >= 0
        assert together == self.together


def batches(session, *, most=4, wait_s=0.0, concurrent=True, clock=None, worth=None):
    options = {"steady_s": clock} if clock else {}
    return MicroBatches(
        session,
        model="m",
        most=most,
        wait_s=wait_s,
        concurrent=concurrent,
        worth=worth or Always(),
        **options,
    )


def frame(value, width=1):
    return {"x": np.full((1, width), value, np.float32)}


def behind_a_run(made, session, frames):
    """One frame runs; the others come meanwhile, in order; then it goes on. Results in order."""
    with ThreadPoolExecutor(1 + len(frames)) as pool:
        results = [pool.submit(made.infer, frame(0.0), 100)]
        assert session.entered.wait(LONG_S)
        for source, inputs in enumerate(frames):
            results.append(pool.submit(made.infer, inputs, source))
            while len(made._waiting) < source + 1:
                threading.Event().wait(0.001)
        session.go.set()
        return [result.exception() or result.result()["y"] for result in results[1:]]


def test_what_comes_while_a_frame_runs_is_run_together_without_padding():
    session = Session(hold=True)
    made = batches(session)
    results = behind_a_run(made, session, [frame(v) for v in (1, 2, 3)])
    assert [y.tolist() for y in results] == [[[2.0]], [[4.0]], [[6.0]]]
    assert session.runs == [[0.0], [1.0, 2.0, 3.0]]
    figures = made.figures()
    assert (figures.runs, figures.frames, figures.sizes) == (2, 4, {1: 1, 3: 1})


def test_the_oldest_run_first_and_no_more_than_said():
    session = Session(hold=True)
    behind_a_run(batches(session, most=2), session, [frame(v) for v in (1, 2, 3, 4, 5)])
    assert session.runs == [[0.0], [1.0, 2.0], [3.0, 4.0], [5.0]]


def test_frames_of_another_shape_run_by_themselves():
    session = Session(hold=True)
    results = behind_a_run(batches(session), session, [frame(1), frame(2, width=3), frame(3)])
    assert [y.shape for y in results] == [(1, 1), (1, 3), (1, 1)]
    assert session.runs == [[0.0], [1.0, 3.0], [2.0]]


def test_a_bad_frame_harms_no_other():
    session = Session(hold=True)
    results = behind_a_run(batches(session), session, [frame(1), frame(-1), frame(3)])
    assert results[0].tolist() == [[2.0]]
    assert isinstance(results[1], BackendError)
    assert results[2].tolist() == [[6.0]]


def test_an_interrupt_of_who_runs_loses_no_frame_of_others():
    class Interrupted(Session):
        def infer(self, inputs):
            if len(inputs["x"]) > 1:
                self.runs.append("together")
                raise KeyboardInterrupt
            return super().infer(inputs)

    session = Interrupted(hold=True)
    others = behind_a_run(batches(session, most=2), session, [frame(1), frame(2)])
    assert [type(each) for each in others].count(KeyboardInterrupt) == 1
    (served,) = (each for each in others if not isinstance(each, BaseException))
    assert served.tolist() == [[2.0 * session.runs[-1][0]]]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "missing"),
        ({"x": np.zeros((1, 1))}, "float64"),
        ({"x": np.zeros((2, 1), np.float32)}, "expects one frame, got 2"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_waits(inputs, said):
    session = Session()
    with pytest.raises(BackendError, match=said):
        batches(session).infer(inputs, 1)
    assert session.runs == []


def test_a_frame_waits_for_a_source_that_is_due_and_for_no_other():
    now = [0.0]
    session = Session()
    made = batches(session, wait_s=LONG_S, clock=lambda: now[0])
    for source in (1, 2):
        made._note(source, 0.0)
        made._note(source, 100.0)
    now[0] = 110.0  # the other one comes from 175 on, after the deadline
    made.infer(frame(1), 1)
    assert session.runs == [[1.0]]
    made._rhythms[1].last_s, made._rhythms[1].period_s = 100.0, 100.0
    now[0] = 199.0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(made.infer, frame(2), 1)
        while not made._waiting:
            threading.Event().wait(0.001)
        made.infer(frame(3), 2)
        first.result()
    assert session.runs == [[1.0], [2.0, 3.0]]
    made.forget(2)
    now[0] = 300.0
    made.infer(frame(4), 1)  # nobody else is there
    assert session.runs[-1] == [4.0]


def test_a_source_that_stopped_is_waited_for_no_more():
    now = [0.0]
    made = batches(Session(), wait_s=LONG_S, clock=lambda: now[0])
    for now[0] in (0.0, 100.0):
        made.infer(frame(0), 2)
    now[0] = 401.0
    made.infer(frame(1), 1)


def test_a_session_that_takes_one_at_a_time_gets_one_at_a_time_where_batches_do_not_pay():
    session = Session(hold=True)
    worth = Always()
    worth.together = False
    made = batches(session, concurrent=False, worth=worth)
    behind_a_run(made, session, [frame(v) for v in (1, 2)])
    assert session.runs == [[0.0], [1.0], [2.0]]


def test_where_batches_do_not_pay_frames_run_beside_each_other():
    session = Session(hold=True)
    worth = Always()
    worth.together = False
    made = batches(session, worth=worth)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(made.infer, frame(v), v) for v in (1, 2)]
        while len(session.runs) < 2:  # both are in the session
            threading.Event().wait(0.001)
        session.go.set()
        assert sorted(result.result()["y"].item() for result in both) == [2.0, 4.0]
    assert made.figures().alone == 2


def run(worth, calls, *, alone_s, together_s):
    """How many calls ran together."""
    together = 0
    for _ in range(calls):
        way = worth.together
        together += way
        worth.took(together_s if way else alone_s, together=way)
    return together


def test_batches_that_do_not_pay_are_given_up_and_tried_ever_more_rarely():
    worth = Worth(turn=8)
    assert run(worth, 8, alone_s=1.0, together_s=1.2) == 8
    run(worth, 6 * 8, alone_s=1.0, together_s=1.2)
    assert not worth.pays
    assert worth.ratio == pytest.approx(1.2)
    assert run(worth, 5000, alone_s=1.0, together_s=1.2) < 5000 / 20
    assert not worth.together
    run(worth, 50_000, alone_s=1.0, together_s=0.5)  # another load
    assert worth.pays
    assert run(worth, 5000, alone_s=1.0, together_s=0.5) > 5000 * 0.95


def test_a_gain_that_is_noise_is_none():
    worth = Worth(turn=8)
    run(worth, 7 * 8, alone_s=1.0, together_s=0.99)
    assert not worth.pays


def test_who_measures_gets_batches_without_trials():
    worth = Worth(turn=8)
    worth.believe()
    assert run(worth, 1000, alone_s=1.0, together_s=2.0) == 1000
