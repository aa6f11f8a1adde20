"""Databases that restart, are full or only to be read, and robots that say odd things."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time

import pytest
from servers import Mosquitto, Postgres
from test_broker import wait_until
from test_telemetry import batch_of, reading, sent

from edge_perception.core.errors import FleetError
from edge_perception.fleet.batches import pack_batch
from edge_perception.fleet.ingest import Ingest, IngestService
from edge_perception.fleet.outbox import answer
from edge_perception.fleet.overview import overview, write_page
from edge_perception.fleet.readings import Reading, encode_reading
from edge_perception.fleet.tables import Tables, models_of
from edge_perception.fleet.telemetry import Telemetry


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.close()


def batch(*readings, device="r1", spool="s", first=1):
    rows = [(n, encode_reading(r)) for n, r in enumerate(readings, first)]
    return pack_batch(device, spool, rows)


def versions(number, version, **data):
    models = {"audio": {"sha256": "0", "version": version}}
    return reading("versions", number, models=models, **data)


def serving(tables):
    return {
        device: models_of(models)["audio"]["version"]
        for device, models in tables.rows("SELECT device, models FROM devices")
    }


def count(tables, device):
    return tables.rows("SELECT COUNT(*) FROM readings WHERE device = ?", (device,))[0][0]


def test_postgresql_restarts_while_batches_come(postgres):
    tables = Tables(postgres.url)
    ingest = Ingest(tables)
    batches = [batch(reading("event", n), device="pg", first=n) for n in range(1, 5)]
    ingest.take("pg", batches[0], 1)
    postgres.kill()
    for _ in range(2):  # nobody is answered, so that robots keep it
        with pytest.raises(FleetError, match="database"):
            ingest.take("pg", batches[1], 2)
    with pytest.raises(FleetError, match="database"):
        tables.rows("SELECT 1")
    postgres.start()
    for payload in batches:  # one of them again
        assert ingest.take("pg", payload, 3) == answer(payload)
    assert count(tables, "pg") == 4
    # A restart in between, which nobody asked anything during, is no failure at all.
    postgres.kill()
    postgres.start()
    ingest.take("pg", batch(reading("event", 5), device="pg", first=5), 4)
    postgres.kill()
    postgres.start()
    assert count(tables, "pg") == 5
    tables.close()


def test_a_database_that_is_away_is_said_once_and_robots_keep_their_readings(postgres, tmp_path):
    """The whole way: a broker, two robots, and a server that ends in between."""
    broker, said = Mosquitto(tmp_path / "m"), []
    broker.start()
    tables = Tables(postgres.url)
    service = IngestService(broker.options("ingest"), tables, time.time_ns, on_problem=said.append)
    robots = [
        Telemetry(name, tmp_path / f"{name}.db", broker.options(name), quota_bytes=10**7)
        for name in ("away1", "away2")
    ]

    def tell(begin):
        for robot in robots:
            for n in range(begin, begin + 20):
                robot.tell(reading("event", n))

    try:
        tell(0)
        wait_until(lambda: all(count(tables, r) == 20 for r in ("away1", "away2")), "the first")
        postgres.kill()
        tell(20)
        wait_until(lambda: service.ingest.refused >= 2, "two refusals")
        postgres.start()
        wait_until(lambda: all(count(tables, r) == 40 for r in ("away1", "away2")), "all of them")
        texts = [text.partition(": ")[2] for text in said]
        assert len(texts) == len(set(texts)), said
        assert "database" in texts[0]
    finally:
        for thing in (*robots, service):
            thing.close()
        broker.kill()
        tables.close()


def test_postgresql_that_may_only_be_read(postgres):
    """Of a standby, or of somebody who only looks: no table is made, and all can be shown."""
    import psycopg

    Ingest(Tables(postgres.url)).take("seen", batch(versions(1, "tagger 1"), device="seen"), 1)
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE looker LOGIN")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker")
    looker = Tables(postgres.url_of("looker"))
    found = overview(looker, [], 2, silent_s=1.0)
    assert "seen" in [row["robot"] for row in found["devices"]]
    with pytest.raises(FleetError, match="permission denied"):
        Ingest(looker).take("r9", batch(reading("event", 1), device="r9"), 1)
    assert overview(looker, [], 2, silent_s=1.0)["robots"] == found["robots"]


STARTS = """
import sys
from edge_perception.fleet.tables import Tables
Tables(sys.argv[1]).close()
"""


def test_several_that_start_at_once_make_one_set_of_tables(postgres):
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("CREATE DATABASE new")
    url = postgres.url.replace("/postgres", "/new")
    started = [
        subprocess.Popen([sys.executable, "-c", STARTS, url], stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in started:
        _, said = process.communicate(timeout=110)
        assert process.returncode == 0, said
    assert Tables(url).rows("SELECT COUNT(*) FROM readings") == [(0,)]


def test_a_sqlite_file_on_a_full_disk_takes_nothing_by_half(tmp_path):
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    ingest.take("r1", batch(reading("event", 1)), 1)
    tables._database._db.execute("PRAGMA max_page_count = 1")  # as many as there are
    many = batch(*(reading("event", n, text="x" * 2000) for n in range(100)), first=2)
    with pytest.raises(FleetError, match="full"):
        ingest.take("r1", many, 2)
    assert count(tables, "r1") == 1
    tables._database._db.execute("PRAGMA max_page_count = 100000")  # somebody made room
    assert ingest.take("r1", many, 3) == answer(many)
    assert count(tables, "r1") == 101


def test_a_sqlite_file_that_another_process_holds_is_waited_for_and_then_said(tmp_path):
    path = tmp_path / "t.db"
    tables = Tables(str(path))
    tables._database._db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FleetError, match="locked"):
        Ingest(tables).take("r1", batch(reading("event", 1)), 1)
    other.execute("COMMIT")
    Ingest(tables).take("r1", batch(reading("event", 1)), 1)
    assert count(tables, "r1") == 1


def test_a_clock_that_was_a_year_ahead_does_not_hide_what_serves_now(tmp_path):
    year = 365 * 86_400
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    drift = {"source": "camera"}
    ingest.take(
        "r1", batch(versions(year, "tagger 1"), reading("drift", year, drift="PSI 1", **drift)), 1
    )
    assert [row["source"] for row in overview(tables, [], 2, silent_s=1.0)["drift"]] == ["camera"]
    # Somebody set it right: what it says from now on has older stamps.
    ingest.take(
        "r1", batch(versions(5, "tagger 2"), reading("drift", 5, drift="none", **drift), first=3), 2
    )
    assert serving(tables) == {"r1": "tagger 2"}
    assert overview(tables, [], 3, silent_s=1.0)["drift"] == []


def test_batches_that_come_late_do_not_bring_old_versions_back(tmp_path):
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    old = batch(versions(9, "tagger 1"), reading("drift", 9, source="lidar", drift="PSI 2"))
    new = batch(versions(9, "tagger 2", device_class="agx"), first=7)
    cleared = batch(reading("drift", 9, source="lidar", drift="none"), first=8)
    for at, payload in enumerate((new, cleared, old, new), 1):
        ingest.take("r1", payload, at)
    assert serving(tables) == {"r1": "tagger 2"}
    assert tables.rows("SELECT device_class FROM devices") == [("agx",)]
    assert overview(tables, [], 9, silent_s=1.0)["drift"] == []
    # A robot whose disk was lost begins a spool anew, and what the old one sent may still come.
    ingest.take("r1", batch(versions(1, "tagger 3"), spool="t"), 10)
    ingest.take("r1", new, 11)
    assert serving(tables) == {"r1": "tagger 3"}


def test_two_robots_of_one_disk_image_are_told_apart_and_nothing_is_lost(tmp_path):
    """The same name, the same spool, the same numbers: what the second says is no repetition."""
    tables = Tables(str(tmp_path / "t.db"))
    ingest = Ingest(tables)
    first, second = (batch(reading("event", n), reading("metric", n)) for n in (1, 2))
    assert ingest.take("r1", first, 1) == answer(first)
    assert ingest.take("r1", second, 2) == answer(second)
    ingest.take("r1", first, 3)  # sent again: that is no second robot
    assert count(tables, "r1") == 2
    (said,) = overview(tables, [], 4, silent_s=1.0)["aside"]
    assert (said["kept"], said["robot"]) == (1, "r1")
    assert "two robots have the name" in said["reason"]
    assert Ingest(tables).look_again() == 0  # it stays aside, as long as it is unclear
    assert len(tables.aside()) == 1


def test_not_a_number_is_no_second_robot(tmp_path):
    tables = Tables(str(tmp_path / "t.db"))
    payload = sent(batch_of({"kind": "metric", "stamp_ns": 1, "data": {"x": float("nan")}}))
    for at in (1, 2):
        Ingest(tables).take("r1", payload, at)
    assert tables.aside() == []


def test_two_robots_under_one_name_are_named(tmp_path, capsys):
    from edge_perception.cli.main import main

    url = str(tmp_path / "t.db")
    tables = Tables(url)
    ingest = Ingest(tables)
    day = 86_400 * 10**9
    for at, spool in ((1, "a"), (2, "b"), (3, "a"), (4, "b")):
        ingest.take("twice", batch(versions(at, "x"), device="twice", spool=spool, first=at), at)
    # A disk that was replaced is silent once the new one tells.
    for at, spool in ((1, "a"), (2, "a"), (3, "b")):
        ingest.take("once", batch(versions(at, "x"), device="once", spool=spool, first=at), at)
    found = overview(tables, [], 5, silent_s=1.0)
    assert found["doubled"] == [{"robot": "twice", "robots": 2}]
    write_page(found, tmp_path / "fleet.html")
    assert "<td>twice</td><td>2</td>" in (tmp_path / "fleet.html").read_text()
    assert overview(tables, [], 5 + 2 * day, silent_s=1.0)["doubled"] == []
    assert main(["fleet", "status", "--database", url]) == 0
    assert "name of 2 robots" not in capsys.readouterr().out  # it was so in 1970


def test_a_reading_of_the_far_future_is_kept(tmp_path):
    tables = Tables(str(tmp_path / "t.db"))
    ahead = Reading(kind="event", stamp_ns=2**63 - 1, data={"error": True, "reason": "x"})
    Ingest(tables).take("r1", batch(ahead), 1)
    (failure,) = overview(tables, [], 2, silent_s=1.0)["failures"]
    assert failure["at"].startswith("2262")
