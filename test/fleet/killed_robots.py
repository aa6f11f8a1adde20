"""Kills a robot at every step of an update, and lets it start again; run by test_sync.py.

A process of its own without threads: each robot is a fork of it, so that a kill is a kill. Told
what there is by a pickle; prints how many steps there were.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from failing_files import CountingFileSystem
from fleet_rig import Robot, Wire

# All that a robot imports, before the first fork.
import obstore.store  # noqa: F401  isort: skip
from edge_perception.encoders import encoders
from edge_perception.fleet.fetching import fetcher  # noqa: F401
from edge_perception.fleet.places import ObjectPlace
from edge_perception.models.adapters import adapters

OLD, NEW = ["1.0.0"], ["1.1.0"]
LANES = 4  # robots at once


def ended(work: Callable[..., None], given: list[tuple[Any, ...]]) -> list[int]:
    """Return how forks that do some work, all at once, ended."""
    children = []
    for each in given:
        pid = os.fork()
        if pid == 0:
            try:
                work(*each)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def killed(owner: SimpleNamespace, name: str, at: int) -> None:
    """Update, and be killed before a step: a write on the disk, or a question to the registry."""
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    wire = Wire(ObjectPlace(owner.url))
    wire.before = step
    robot = Robot(owner, name, wire, CountingFileSystem(step))
    assert robot.update() == NEW


def started(owner: SimpleNamespace, name: str) -> None:
    """Start after a kill: all that is there is the old or the new, and the update goes on."""
    robot = Robot(owner, name, ObjectPlace(owner.url), CountingFileSystem())
    robot.store.recover()
    assert robot.versions() in (OLD, NEW), robot.versions()
    assert robot.update() == NEW
    work = robot.store.root / "fleet" / "work"
    assert robot.poll().offers == ()
    assert not list(work.iterdir())


def main() -> None:
    """Kill until no step is left."""
    encoders()
    adapters()
    owner = SimpleNamespace(**pickle.loads(Path(sys.argv[1]).read_bytes()))
    first = 1
    while True:
        steps = range(first, first + LANES)
        for at in steps:
            shutil.copytree(owner.folder / "before", owner.folder / f"r{at}")
        codes = ended(killed, [(owner, f"r{at}", at) for at in steps])
        assert set(codes) <= {-signal.SIGKILL, 0}, f"steps {steps}: {codes}"
        gone = [at for at, code in zip(steps, codes, strict=True) if code]
        again = ended(started, [(owner, f"r{at}") for at in gone])
        assert not any(again), f"after kills at steps {gone}: {again}"
        for at in steps:
            shutil.rmtree(owner.folder / f"r{at}")
        if len(gone) < LANES:
            break
        first += LANES
    print(first - 1 + len(gone))


if __name__ == "__main__":
    main()
