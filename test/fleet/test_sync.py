"""A robot fetches over links that break, onto disks that fail, and only what it needs."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import failing_files
import pytest
from fleet_rig import Wire, ns, weights

from edge_perception.core.errors import LinkError, RegistryError
from edge_perception.fleet.delta import apply_delta, make_delta
from edge_perception.fleet.schedule import Pace, PollSchedule, parse_quiet_hours

HEAD = 20_000  # of 60,000 bytes: the last third


def moved(seed: int) -> bytes:
    return weights(1)[:-HEAD] + weights(seed, HEAD)


def test_a_break_costs_one_piece(owner):
    wire = Wire(owner.place)
    document = owner.add(owner.bundle())
    robot = owner.robot(place=wire)
    robot.poll()
    pieces = len(document.archive.pieces)
    for _ in range(pieces - 1):
        wire.break_after = 1
        with pytest.raises(LinkError):
            robot.fetch(document)
    wire.break_after = None
    wire.fetched.clear()
    robot.fetch(document)
    assert len(wire.fetched) == 1


def test_a_damaged_piece_is_refused_and_asked_again(owner):
    wire = Wire(owner.place)
    document = owner.add(owner.bundle())
    robot = owner.robot(place=wire)
    robot.poll()
    name = f"pieces/{document.archive.pieces[1][:2]}/{document.archive.pieces[1]}"
    wire.answers = {name: b"".join(owner.place.stream(name))[::-1]}
    with pytest.raises(RegistryError, match="damaged"):
        robot.fetch(document)
    wire.answers = {}
    assert robot.fetch(document).manifest.version == "1.0.0"


def test_a_delta_of_what_moved_last(owner):
    base = owner.bundle("1.0.0", 1, weights(1))
    owner.add(base)
    wire = Wire(owner.place)
    robot = owner.robot(place=wire)
    robot.update()
    document = owner.add(owner.bundle("1.1.0", 2, moved(9)), bases=[base])
    assert document.deltas[0].patch.size < 0.4 * document.archive.size
    robot.poll()
    wire.bytes = 0
    robot.fetch(document)
    assert wire.bytes == document.deltas[0].patch.size


def test_no_delta_where_everything_moved(owner):
    base = owner.bundle("1.0.0", 1, weights(1, 600_000))
    owner.add(base)
    document = owner.add(owner.bundle("1.1.0", 2, weights(2, 600_000)), bases=[base])
    assert document.deltas == ()


def test_another_base_than_the_deltas_is_noticed_before_a_byte_is_asked(owner):
    base = owner.bundle("1.0.0", 1, weights(1))
    owner.add(base)
    wire = Wire(owner.place)
    robot = owner.robot(place=wire)
    robot.update()
    document = owner.add(owner.bundle("1.1.0", 2, moved(9)), bases=[base])
    (blob,) = [p for p in (robot.store.root / "blobs").iterdir() if p.stat().st_size == 60_000]
    blob.write_bytes(weights(3))  # the disk rotted
    robot.poll()
    wire.fetched.clear()
    robot.fetch(document)
    assert len(wire.fetched) == len(document.archive.pieces)


def test_a_disk_that_is_full_is_asked_first(owner):
    document = owner.add(owner.bundle())
    wire = Wire(owner.place)
    robot = owner.robot(place=wire, free_bytes=lambda _: 100_000)
    robot.poll()
    wire.fetched.clear()
    with pytest.raises(LinkError, match="bytes free"):
        robot.fetch(document)
    assert wire.fetched == []


def test_kill_9_at_every_write_and_every_question_it_goes_on(owner):
    """Old or new after each end, never a mixture; and the next start finishes it."""
    base = owner.bundle("1.0.0", 1, weights(1))
    owner.add(base)
    owner.robot("before").update()
    owner.add(owner.bundle("1.1.0", 2, moved(9)), bases=[base])
    names = ("folder", "root", "trust", "now")
    told = {name: getattr(owner, name) for name in names} | {"url": str(owner.place.folder)}
    (owner.folder / "owner.pickle").write_bytes(pickle.dumps(told))
    script, rig = Path(__file__).with_name("killed_robots.py"), Path(failing_files.__file__).parent
    done = subprocess.run(
        [sys.executable, str(script), str(owner.folder / "owner.pickle")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(rig), *filter(None, sys.path)])},
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_a_fleet_does_not_ask_at_once():
    waits = [PollSchedule(600.0, random.Random(seed)).first_s() for seed in range(1000)]
    assert max(sum(begin <= w < begin + 60 for w in waits) for begin in range(0, 600, 60)) < 150
    schedule = PollSchedule(600.0, random.Random(1))
    failed = [schedule.next_s(failed=True) for _ in range(10)]
    assert failed[0] >= 960
    assert max(failed) <= 6 * 3600 * 1.2
    assert schedule.next_s(failed=False) <= 720


def test_quiet_hours_may_pass_midnight(owner):
    hours = parse_quiet_hours("22:00-06:00")
    assert hours is not None
    held = [h for h in range(24) if hours.holds(ns(owner.now.replace(hour=h)))]
    assert held == [0, 1, 2, 3, 4, 5, 22, 23]


def test_a_download_that_runs_into_quiet_hours_goes_on_after_them(owner):
    wire, clock = Wire(owner.place), iter([21, 21, 22])
    document = owner.add(owner.bundle())
    pace = Pace(
        0.0,
        parse_quiet_hours("22:00-06:00"),
        threading.Event(),
        lambda: ns(owner.now.replace(hour=next(clock, 7))),
    )
    robot = owner.robot(place=wire, paced=pace)
    robot.poll()
    wire.fetched.clear()
    with pytest.raises(LinkError, match="quiet hours"):
        robot.fetch(document)
    assert len(wire.fetched) == 3
    robot.fetch(document)
    assert len(wire.fetched) == len(document.archive.pieces)


def test_what_is_fetched_is_no_faster_than_allowed_and_the_end_of_the_node_ends_it():
    ended = threading.Event()
    pace = Pace(100.0, None, ended, lambda: 0)
    began_s = time.monotonic()
    for _ in range(3):
        pace(5_000)
    assert time.monotonic() - began_s >= 0.15
    ended.set()
    with pytest.raises(LinkError, match="the node ends"):
        pace(10**9)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_003])
def test_a_delta_of_any_length_gives_the_same_bytes(tmp_path, size):
    base, new, patch, made = (tmp_path / name for name in ("base", "new", "patch", "made"))
    base.write_bytes(weights(1, 70_001))
    new.write_bytes((weights(1, 70_001) * 3)[:size])
    make_delta(base, new, patch)
    digests = {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in (("b", base), ("n", new))}
    apply_delta(base, patch, made, base_sha256=digests["b"], sha256=digests["n"], size=size)
    assert made.read_bytes() == new.read_bytes()
    with pytest.raises(RegistryError, match="base"):
        apply_delta(new, patch, made, base_sha256=digests["b"], sha256="", size=size)
    damaged = bytearray(patch.read_bytes())
    damaged[-5] ^= 1
    patch.write_bytes(damaged)
    with pytest.raises(RegistryError, match="delta"):
        apply_delta(base, patch, made, base_sha256=digests["b"], sha256=digests["n"], size=size)


PATCHING = """
import hashlib, resource, sys
from pathlib import Path
from edge_perception.fleet.delta import apply_delta
base, patch, made = (Path(sys.argv[1]) / name for name in ("base", "patch", "made"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
apply_delta(base, patch, made, base_sha256=sys.argv[2], sha256=sys.argv[3], size=int(sys.argv[4]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_patching_takes_three_times_the_file_at_most(tmp_path):
    size = 4 * 2**20
    data = weights(1, size)
    (tmp_path / "base").write_bytes(data)
    new = data[: size // 2] + weights(2, size // 8) + data[size // 2 + size // 8 :]
    (tmp_path / "new").write_bytes(new)
    make_delta(tmp_path / "base", tmp_path / "new", tmp_path / "patch")
    digests = [hashlib.sha256(d).hexdigest() for d in (data, new)]
    command = [sys.executable, "-c", PATCHING, str(tmp_path), *digests, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "made").read_bytes() == new
    assert int(done.stdout) <= 3 * size
