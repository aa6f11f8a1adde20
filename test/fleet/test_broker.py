"""Telemetry through a real broker with certificates, into SQLite and PostgreSQL."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from servers import Authority, Mosquitto, Postgres

from edge_perception.fleet.batches import pack_batch
from edge_perception.fleet.ingest import Ingest, IngestService
from edge_perception.fleet.overview import overview, write_page
from edge_perception.fleet.readings import Reading, encode_reading
from edge_perception.fleet.tables import Tables
from edge_perception.fleet.telemetry import Telemetry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    server = Mosquitto(tmp_path_factory.mktemp("broker") / "m")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.close()


def wait_until(condition, what):
    end_s = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > end_s:
            pytest.fail(f"not within 60 s: {what}")
        time.sleep(0.02)


def told(robot, begin, count):
    for n in range(begin, begin + count):
        robot.tell(Reading(kind="event", stamp_ns=n, data={"n": n}))


def exactly_once(tables, devices, count):
    rows = tables.rows("SELECT device, body FROM readings")
    assert len(rows) == len(set(rows)) == count * len(devices)
    assert {device for device, _ in rows} == set(devices)


def run(broker, tables, tmp_path):
    robots = {
        name: Telemetry(
            name,
            tmp_path / f"{name}.db",
            broker.options(name),
            quota_bytes=10**7,
        )
        for name in ("r1", "r2")
    }
    services = []
    try:
        for robot in robots.values():
            told(robot, 0, 200)  # before anybody listens
        services.append(IngestService(broker.options("ingest"), tables, time.time_ns))
        wait_until(lambda: services[0].ingest.readings >= 100, "first readings")
        broker.kill()  # and all that it had not handed on
        for robot in robots.values():
            told(robot, 200, 200)
        services[0].close()
        broker.start()
        for robot in robots.values():
            told(robot, 400, 100)
        services.append(IngestService(broker.options("ingest"), tables, time.time_ns))

        def done():
            return all(robot.values()["telemetry_waiting"] == 0 for robot in robots.values())

        wait_until(done, "all answered")
        exactly_once(tables, robots, 500)
        assert all(robot.values()["broker"] == "connected" for robot in robots.values())
    finally:
        for thing in (*services[1:], *robots.values()):
            thing.close()


def test_a_killed_broker_loses_nothing(broker, tmp_path):
    tables = Tables(str(tmp_path / "fleet.db"))
    run(broker, tables, tmp_path)
    tables.close()


def test_the_same_into_postgresql(broker, postgres, tmp_path):
    tables = Tables(postgres.url)
    run(broker, tables, tmp_path)
    told = [
        ("versions", {"models": {"audio": {"sha256": "a", "version": "tagger 1.0.0"}}}),
        ("slo", {"views": 100, "bad": {"availability": 25}}),
        ("event", {"event": "refused", "error": True, "reason": "NaN"}),
    ]
    bodies = [
        (n, encode_reading(Reading(kind=kind, stamp_ns=n, data=data)))
        for n, (kind, data) in enumerate(told, 1)
    ]
    Ingest(tables).take("r3", pack_batch("r3", "s", bodies), 1)
    # The queries of the dashboard, on the tables that are.
    board = json.loads((ROOT / "config" / "fleet" / "grafana.json").read_bytes())
    found = {p["title"]: tables.rows(p["targets"][0]["rawSql"]) for p in board["panels"]}
    assert found["Robots"] == [(3,)]
    assert found["Silent for six hours"] == [(1,)]
    assert found["Versions"] == [("audio", "tagger 1.0.0", 1)]
    assert found["Share of good views by objective"][0][1:] == ("availability", 0.75)
    assert found["Newest failures"][0][2:] == ("refused", "NaN")
    assert all(found.values())
    shown = overview(tables, [], 10**18, silent_s=60.0)
    assert [row["robot"] for row in shown["devices"]] == ["r1", "r2", "r3"]
    assert shown["devices"][2]["models"] == "audio tagger 1.0.0"
    write_page(shown, tmp_path / "fleet.html")
    assert "<td>tagger 1.0.0</td>" in (tmp_path / "fleet.html").read_text()
    tables.close()


def test_a_certificate_that_changes_while_the_broker_is_away(tmp_path):
    """Renewed by the same authority all goes on; of another one nothing leaves, and it is said."""
    broker = Mosquitto(tmp_path / "m")
    broker.start()
    tables = Tables(str(tmp_path / "fleet.db"))
    service = IngestService(broker.options("ingest"), tables, time.time_ns)
    robot = Telemetry("r1", tmp_path / "r1.db", broker.options("r1"), quota_bytes=10**7)

    def arrived(count):
        known = "SELECT COUNT(*) FROM readings"
        wait_until(lambda: tables.rows(known)[0][0] >= count, f"{count} readings")
        exactly_once(tables, ["r1"], count)

    try:
        told(robot, 0, 10)
        arrived(10)
        broker.restart_with(broker.authority)
        told(robot, 10, 10)
        arrived(20)
        other = Authority(tmp_path / "another")
        broker.restart_with(other)
        told(robot, 20, 10)
        wait_until(lambda: "certificate verify failed" in robot.values()["broker"], "the reason")
        wait_until(lambda: robot.values()["telemetry_waiting"] >= 10, "what waits")
        broker.restart_with(broker.authority)
        arrived(30)
        # What the link says comes after what it does: readings arrive before the next report.
        wait_until(lambda: robot.values()["broker"] == "connected", "the report")
    finally:
        robot.close()
        service.close()
        broker.kill()


def test_a_robot_cannot_write_for_another(broker, tmp_path):
    from edge_perception.fleet.mqtt import Broker, topic

    got = []
    service = IngestService(
        broker.options("ingest"), Tables(str(tmp_path / "t.db")), lambda: 1, on_problem=got.append
    )
    body = [(1, b'{"kind":"event","stamp_ns":1,"data":{}}')]
    thief = Broker(
        broker.options("thief"), name="thief", subscribe="none", on_message=lambda *_: None
    )
    try:
        wait_until(lambda: thief.connected and service.broker.connected, "connections")
        thief.send(topic("r1", "telemetry"), pack_batch("r1", "s", body))  # no right to
        thief.send(topic("thief", "telemetry"), pack_batch("r1", "s", body))  # says another name
        wait_until(lambda: got, "the refusal")
        assert "expected one of thief, got one of r1" in got[0]
        assert service.ingest.readings == 0
    finally:
        thief.close()
        service.close()
