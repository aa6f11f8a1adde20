"""Telemetry: nothing of importance is lost, nothing is there twice, whatever ends or breaks."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import make_dataclass

import pytest
import zstandard

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.core.parameter import parameter
from edge_perception.fleet.batches import Batch, pack_batch, unpack
from edge_perception.fleet.figures import DriftSeen, Figures
from edge_perception.fleet.ingest import Ingest
from edge_perception.fleet.outbox import Outbox, answer
from edge_perception.fleet.overview import overview
from edge_perception.fleet.readings import Reading, encode_reading
from edge_perception.fleet.spool import Spool
from edge_perception.fleet.tables import Tables

HOUR_S = 3600


def reading(kind, number, **data):
    return Reading(kind=kind, stamp_ns=number * 10**9, data={"n": number, **data})


class BadLink:
    """Loses, repeats, damages and delays both ways, at random."""

    def __init__(self, tables, seed=1, *, faults=0.3):
        self.ingest, self.rng, self.faults = Ingest(tables), random.Random(seed), faults
        self.up, self.outbox, self.late = True, None, []

    def send(self, payload):
        if not self.up:
            raise LinkError("down")
        kind = self.rng.random()
        if kind < self.faults / 3:
            return  # lost on its way
        if kind < self.faults * 2 / 3:
            damaged = bytearray(payload)
            damaged[self.rng.randrange(len(damaged))] ^= 0xFF
            try:
                self.ingest.take("r1", bytes(damaged), 1)
            except FleetError:
                return
        times = 2 if kind < self.faults else 1
        for _ in range(times):
            said = self.ingest.take("r1", payload, 1)
        if self.rng.random() > self.faults / 3:  # else the answer is lost
            self.late.append(said)

    def deliver(self):
        while self.late:
            self.outbox.on_answer(self.late.pop(0))


def drained(spool, link, now_s=0.0):
    link.outbox = link.outbox or Outbox("r1", spool, link.send)
    for _ in range(3000):
        link.outbox.step(now_s)
        link.deliver()
        if not spool.counts() and not link.outbox.under_way:
            return now_s
        now_s += 20.0
    pytest.fail(f"not sent: {spool.counts()}")


def stored(tables, kind):
    return [row[0] for row in tables.rows("SELECT body FROM readings WHERE kind = ?", (kind,))]


def test_a_day_offline_at_full_telemetry(tmp_path):
    """24 virtual hours: a metric a second, a state each 10 s, an event a minute."""
    spool = Spool(tmp_path / "spool.db", 12 * 2**20)
    tables = Tables(str(tmp_path / "fleet.db"))
    events = states = metrics = 0
    for at in range(0, 24 * HOUR_S, 600):
        batch = [reading("metric", at + s, name="inference_ms", value=s / 7) for s in range(600)]
        batch += [reading("slo", at + s, views=9, bad={"a": 1}) for s in range(0, 600, 10)]
        batch += [reading("event", at + s, event="watched") for s in range(0, 600, 60)]
        metrics, states, events = metrics + 600, states + 60, events + 10
        spool.add(batch)
    assert spool.used_bytes <= 12 * 2**20
    kept = spool.counts()
    assert (kept[0], kept[1]) == (events, states)
    assert set(spool.dropped()) <= {2}
    link = BadLink(tables, faults=0.3)
    drained(spool, link)
    assert len(set(stored(tables, "event"))) == len(stored(tables, "event")) == events
    assert len(stored(tables, "slo")) == states
    told = len(stored(tables, "metric"))
    assert told + spool.dropped().get(2, 0) + spool.thinned == metrics
    assert tables.rows("SELECT dropped FROM spools") == [(sum(spool.dropped().values()),)]


def test_the_oldest_of_the_least_important_goes_first(tmp_path):
    spool = Spool(tmp_path / "s.db", 20_000)
    spool.add([reading("event", n) for n in range(20)])
    for start in range(0, 2000, 10):
        spool.add([reading("metric", n) for n in range(start, start + 10)])
    assert spool.used_bytes <= 20_000
    assert spool.counts()[0] == 20
    numbers = [n for n, _ in spool.waiting(10**6, most=5000)]
    assert numbers[:20] == list(range(1, 21))  # the most important first
    assert spool.dropped()[2] + spool.counts()[2] + spool.thinned == 2000
    assert spool.thinning
    spool.taken(numbers)
    assert not spool.thinning
    assert spool.used_bytes == 0
    # Important ones alone have room only where they have: the oldest goes, and is counted.
    spool.add([reading("event", n, text="x" * 500) for n in range(100)])
    assert spool.counts()[0] + spool.dropped()[0] == 100


CHILD = """
import sys
from pathlib import Path
from edge_perception.fleet.spool import Spool
from edge_perception.fleet.readings import Reading
import os, signal
at, seen = int(sys.argv[2]), 0
def point(name):
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
spool = Spool(Path(sys.argv[1]), 10**6, point=point)
for n in range(3):
    spool.add([Reading(kind="event", stamp_ns=n, data={"n": 10 * at + n}) for _ in range(5)])
    print(f"added {10 * at + n}", flush=True)
rows = spool.waiting(10**6, most=5)
spool.taken([n for n, _ in rows])
print("taken", *[n for n, _ in rows], flush=True)
"""


def test_kill_9_at_every_write_point(tmp_path):
    """What was said to be kept is kept; what was taken is gone; numbers are never used twice."""
    path = tmp_path / "spool.db"
    kept, gone = 0, set()
    for at in range(1, 14):
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(path), str(at)], capture_output=True, text=True
        )
        assert child.returncode in (0, -signal.SIGKILL), child.stderr
        lines = child.stdout.split("\n")
        kept += 5 * sum(line.startswith("added") for line in lines)
        for line in lines:
            if line.startswith("taken"):
                gone |= set(map(int, line.split()[1:]))
        spool = Spool(path, 10**6)
        rows = {n for n, _ in spool.waiting(10**7, most=10_000)}
        assert not rows & gone
        # A kill after the commit and before the answer: kept, though nobody was told.
        assert 0 <= len(rows) + len(gone) - kept <= 5 * at
        total = spool._db.execute("SELECT SUM(bytes), COUNT(*) FROM readings").fetchone()
        assert spool.used_bytes == (total[0] or 0)
        spool.close()
    assert at == 13
    assert child.returncode == 0  # the last one was past every point


def test_a_damaged_spool_is_set_aside_and_said(tmp_path):
    path = tmp_path / "spool.db"
    spool = Spool(path, 10**6)
    first = spool.id
    spool.add([reading("event", 1)])
    spool.close()
    data = bytearray(path.read_bytes())
    data[:64] = os.urandom(64)
    path.write_bytes(data)
    again = Spool(path, 10**6)
    assert again.damaged
    assert again.id != first  # its numbers begin anew
    assert (tmp_path / "damaged-spool.db").exists()
    again.add([reading("event", 2)])


def test_an_outbox_waits_for_who_is_slow(tmp_path):
    spool = Spool(tmp_path / "s.db", 10**8)
    spool.add([reading("event", n, text="x" * 1000) for n in range(500)])
    sent = []
    outbox = Outbox("r1", spool, sent.append)
    outbox.step(0.0)
    outbox.step(1.0)
    assert len(sent) == outbox.under_way == 4
    outbox.step(1000.0)  # no answer came: again, and less at once
    assert len(sent) == 8
    assert len(sent[-1]) <= len(sent[0])
    assert outbox.repeated == 4


def test_a_slow_link_gets_fewer_metrics_and_all_that_matters(tmp_path):
    """Long before the disk fills; once answers come in time again, all is told again."""
    spool = Spool(tmp_path / "s.db", 10**8)
    sent = []
    outbox = Outbox("r1", spool, sent.append)
    spool.add([reading("event", n) for n in range(3)])
    at_s = 0.0
    for _ in range(4):
        outbox.step(at_s)
        at_s += 400.0
    assert outbox.slow
    spool.link_slow = outbox.slow
    spool.add([reading(kind, n) for n in range(100) for kind in ("metric", "slo", "event")])
    assert spool.counts() == {0: 103, 1: 100, 2: 10}
    assert spool.thinned == 90
    tables = Tables(str(tmp_path / "t.db"))
    link = BadLink(tables, faults=0.0)
    outbox._send, link.outbox = link.send, outbox
    drained(spool, link, at_s)
    assert not outbox.slow


def test_figures_of_views_and_what_drifts():
    figures = Figures()
    assert figures.take() is None
    for n in range(100):
        figures.view(
            end_to_end_ms=float(n),
            mode="FULL" if n else "NONE",
            valid=n > 1,
            missed=n == 5,
            not_ok=["lidar"] if n < 3 else [],
        )
    figures.view(end_to_end_ms=math.nan, mode="NONE", valid=False, missed=False, not_ok=[])
    assert figures.take() == {
        "views": 101,
        "invalid": 3,
        "deadline_missed": 1,
        "modes": {"FULL": 99, "NONE": 2},
        "not_ok": {"lidar": 3},
        "end_to_end_ms": {"p50": 50.0, "p99": 99.0, "max": 99.0},
    }
    assert figures.take() is None
    seen = DriftSeen()
    assert seen.look("camera", "not known: no reference") is None
    assert seen.look("lidar", "none") is None
    assert not seen.any
    assert seen.look("camera", "score PSI 0.4") == {
        "source": "camera",
        "drift": "score PSI 0.4",
        "before": "not known: no reference",
    }
    assert seen.any
    assert seen.look("camera", "score PSI 0.4") is None
    assert seen.look("camera", "none")["before"] == "score PSI 0.4"
    assert not seen.any
    assert seen.look("audio", "classes PSI 0.9")["before"] == "none"


def test_batches_of_others_and_bombs_are_refused(tmp_path):
    ingest = Ingest(Tables(str(tmp_path / "t.db")))
    payload = pack_batch("r2", "s", [(1, b'{"kind":"event","stamp_ns":1,"data":{}}')])
    with pytest.raises(FleetError, match="expected one of r1"):
        ingest.take("r1", payload, 0)
    with pytest.raises(FleetError, match="at most"):
        unpack(zstandard.ZstdCompressor().compress(b" " * 2**26))
    for bad in (b"", b"x", zstandard.ZstdCompressor().compress(b"[]"), payload[:-6]):
        with pytest.raises(FleetError):
            ingest.take("r2", bad, 0)
    assert ingest.refused == 0
    assert ingest._tables.aside() == []


def sent(document):
    """A batch as another version would send it."""
    text = json.dumps(document).encode()
    return zstandard.ZstdCompressor(write_checksum=True).compress(text)


def batch_of(*readings, **head):
    rows = [{"sequence": n, "reading": r} for n, r in enumerate(readings, 1)]
    return {"schema": 1, "device": "r1", "spool": "s", "readings": rows, **head}


def test_a_newer_schema_is_kept_counted_named_and_read_by_a_version_that_can(tmp_path, monkeypatch):
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    event = json.loads(encode_reading(reading("event", 1, event="committed")))
    newer = sent(batch_of(event, schema=2))
    outbox_answer = ingest.take("r1", newer, 5)
    assert outbox_answer == answer(newer)  # the robot need not keep it any more
    ingest.take("r1", newer, 6)  # sent again, it is there once
    assert stored(tables, "event") == []
    found = overview(tables, (), 7, silent_s=1)
    assert found["robots"] == 1
    assert found["silent"] == []
    assert found["aside"] == [
        {"robot": "r1", "schema": "2", "kept": 1, "reason": "batch.schema: expected 1, got 2"}
    ]
    assert Ingest(tables).look_again() == 0
    monkeypatch.setattr("edge_perception.fleet.batches.SCHEMA", 2)
    monkeypatch.setattr("edge_perception.fleet.batches.Batch", replaced_batch(2))
    assert Ingest(tables).look_again() == 1
    assert len(stored(tables, "event")) == 1
    assert tables.rows("SELECT received_ns FROM readings") == [(5,)]
    assert tables.aside() == []


def replaced_batch(schema):
    """The batch of a version of another schema, which has a field more."""
    number = parameter(schema, choices=(schema,))
    fields = [("schema", int, number), ("zone", str, "")]
    return make_dataclass("Batch", fields, bases=(Batch,), frozen=True, kw_only=True)


GOOD = {"kind": "event", "stamp_ns": 1, "data": {"event": "committed"}}


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"kind": "heat", "stamp_ns": 1, "data": {}}, "kind: expected one of versions"),
        ({**GOOD, "zone": "a"}, "zone: expected one of"),
        ({**GOOD, "stamp_ns": 10**30}, "stamp_ns: expected"),
        ({**GOOD, "data": {"event": 3}}, "event.event: expected a string"),
        ({**GOOD, "data": {"models": [1]}}, "event.models: expected a mapping"),
        ({**GOOD, "data": {"reason": "\ud800"}}, "reason: expected a text"),
        ({"kind": "sample", "stamp_ns": 1, "data": {"name": "x"}}, "sample.sha256: expected"),
        ({"kind": "versions", "stamp_ns": 1, "data": {"groups": [1]}}, "groups[0]: expected"),
        ({"kind": "versions", "stamp_ns": 1, "data": {"device_class": "a\0"}}, "device_class"),
        ({"kind": "slo", "stamp_ns": 1, "data": {"views": -1}}, "slo.views: expected"),
        ("no reading", "expected a mapping"),
    ],
)
def test_a_reading_that_cannot_be_read_is_kept_aside_and_the_others_count(tmp_path, odd, reason):
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    payload = sent(batch_of(GOOD, odd, GOOD))
    assert ingest.take("r1", payload, 5) == answer(payload)
    assert len(stored(tables, "event")) == 2
    ((device, _, received_ns, body),) = tables.aside()
    assert (device, received_ns) == ("r1", 5)
    assert json.loads(body)["readings"] == [{"sequence": 2, "reading": odd}]
    (told,) = ingest.aside
    assert reason in told
    overview(tables, (), 7, silent_s=1)


@pytest.mark.parametrize(
    "head",
    [{"schema": "1"}, {"spool": "\0"}, {"dropped": -1}, {"readings": {}}, {"zone": 1}],
)
def test_a_batch_that_breaks_its_schema_is_kept_aside_whole(tmp_path, head):
    tables = Tables(str(tmp_path / "t.db"))
    payload = sent(batch_of(GOOD, **head))
    assert Ingest(tables).take("r1", payload, 5) == answer(payload)
    assert stored(tables, "event") == []
    assert len(tables.aside()) == 1
    other = sent(batch_of(GOOD, **head, device="r2"))
    with pytest.raises(FleetError, match="expected one of r1"):
        Ingest(tables).take("r1", other, 5)
