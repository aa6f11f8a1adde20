"""Mined samples: to a storage and from there to a folder, each once, whatever breaks or lies."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

import pytest
from fleet_rig import weights

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError, FleetError, LinkError
from edge_perception.fleet.collecting import TAKEN, Collector, origin_path
from edge_perception.fleet.documents import Pieces, encode, parse
from edge_perception.fleet.ingest import Ingest
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.outbox import Outbox
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.sample_document import SampleDocument, SampleFile
from edge_perception.fleet.sample_ledger import SampleLedger
from edge_perception.fleet.sample_link import SampleLink
from edge_perception.fleet.spool import Spool
from edge_perception.fleet.tables import Tables
from edge_perception.fleet.uploading import Uploader

PIECE = 16384
DAY_NS = 86_400 * 10**9


class Break(BaseException):
    """As if the process had been killed."""


class Storage:
    """A folder as storage: counts what is written, and ends where it is told to."""

    def __init__(self, folder):
        self.place = ObjectPlace(str(folder))
        self.url = self.place.url
        self.writes: list[str] = []
        self.break_at: tuple[int, bool, type[BaseException]] | None = None

    def write(self, path, data):
        number, after, error = self.break_at or (-1, False, LinkError)
        if number == len(self.writes) and not after:
            self.break_at = None
            raise error("the link broke")
        self.writes.append(path)
        self.place.write(path, data)
        if number == len(self.writes) - 1 and after:
            self.break_at = None
            raise error("the link broke")

    def __getattr__(self, name):
        return getattr(self.place, name)


class Robot:
    """A folder of `record`, and what a restart keeps."""

    def __init__(self, folder, storage, name="r1", **options):
        self.folder, self.storage, self.name, self.options = folder / name, storage, name, options
        self.folder.mkdir()
        self.ledger_path = folder / f"{name}.db"
        self.start()

    def start(self):
        self.ledger = SampleLedger(self.ledger_path)
        self.uploader = Uploader(
            self.name, self.folder, self.storage, self.ledger, piece_bytes=PIECE, **self.options
        )

    def record(self, seed, size=100_000, parameters="/**:\n  ros__parameters: {a: 1}\n"):
        path = self.folder / f"event_{seed}_margin.mcap"
        path.write_bytes(weights(seed, size))
        if parameters:
            path.with_name(f"event_{seed}_margin.params.yaml").write_text(parameters)
        return path

    def upload(self, now_ns=DAY_NS):
        return [self.uploader.upload(path, now_ns) for path in self.uploader.waiting()]


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "storage")


@pytest.fixture
def robot(tmp_path, storage):
    return Robot(tmp_path, storage)


def collected(storage, folder, **options):
    return Collector(storage, folder, url=storage.url, **options).collect()


def test_a_sample_arrives_as_it_was_with_where_it_is_from(robot, storage, tmp_path):
    path = robot.record(1)
    assert [d.sha256 for d in robot.upload()] == [d.sha256 for d in [only(storage)]]
    assert robot.uploader.waiting() == []
    found = collected(storage, tmp_path / "here")
    (here,) = found.new
    assert here == tmp_path / "here" / "r1" / path.name
    assert here.read_bytes() == path.read_bytes()
    assert here.with_name("event_1_margin.params.yaml").is_file()
    origin = json.loads(origin_path(here).read_text())
    assert (origin["robot"], origin["sha256"]) == ("r1", only(storage).sha256)
    again = collected(storage, tmp_path / "here")
    assert (again.new, again.known) == ([], 1)
    assert not list((tmp_path / "here" / ".pieces").iterdir())


def only(storage):
    (name,) = [n for n in storage.names("samples") if n.endswith(".json")]
    return parse(SampleDocument, b"".join(storage.stream(name)), name)


@pytest.mark.parametrize("error", [LinkError, Break])
@pytest.mark.parametrize("after", [False, True])
def test_whatever_write_it_ends_at_nothing_is_sent_twice(tmp_path, error, after):
    """A break and a kill before and after each write; the robot starts anew each time."""
    whole = 2 + 1 + 1  # pieces, parameters, document
    for number in range(whole):
        folder = tmp_path / str(number)
        folder.mkdir()
        storage = Storage(folder / "storage")
        robot = Robot(folder, storage)
        path = robot.record(1, size=PIECE + 10)
        storage.break_at = (number, after, error)
        with pytest.raises(error):
            robot.upload()
        robot.ledger.close()
        robot.start()
        robot.upload()
        assert robot.uploader.waiting() == []
        assert len(storage.writes) == len(set(storage.writes)) == whole
        assert storage.writes[-1].endswith(".json")
        (here,) = collected(storage, folder / "here").new
        assert here.read_bytes() == path.read_bytes()
        assert list(robot.ledger.untold()) == [only(storage).sha256]


def test_a_robot_that_forgot_sends_nothing_again(robot, storage):
    robot.record(1)
    robot.upload()
    before = list(storage.writes)
    robot.ledger.close()
    robot.ledger_path.write_bytes(b"damaged" * 1000)
    robot.start()
    assert robot.upload() == [None]  # it is there
    assert storage.writes == before
    assert robot.uploader.waiting() == []


def test_a_copy_under_another_name_is_the_same_sample(robot, storage):
    path = robot.record(1, parameters="")
    robot.upload()
    before = list(storage.writes)
    path.with_name("event_2_copy.mcap").write_bytes(path.read_bytes())
    assert robot.upload() == [None]
    assert storage.writes == before


def test_a_day_has_its_bytes_and_what_is_left_goes_on_the_next(tmp_path, storage):
    robot = Robot(tmp_path, storage, most_day_bytes=2 * PIECE)
    robot.record(1, size=5 * PIECE, parameters="")
    for day in (1, 1, 2):
        with pytest.raises(LinkError, match="bytes of this day"):
            robot.upload(day * DAY_NS)
        robot.ledger.close()
        robot.start()
    assert len(storage.writes) == 4
    robot.upload(3 * DAY_NS)
    assert len(storage.writes) == len(set(storage.writes)) == 6


def test_what_record_removes_meanwhile_is_no_fault(robot, storage):
    path = robot.record(1)
    waiting = robot.uploader.waiting()
    path.unlink()
    assert [robot.uploader.upload(p, 1) for p in waiting] == [None]
    assert not storage.writes


def test_a_break_of_a_collection_costs_one_piece(robot, storage, tmp_path):
    robot.record(1, parameters="")
    robot.upload()
    asked = []

    def stream(path):
        asked.append(path)
        if len(asked) == 4:
            raise LinkError("broke")
        return storage.place.stream(path)

    storage.stream = stream
    with pytest.raises(LinkError):
        collected(storage, tmp_path / "here")
    (here,) = collected(storage, tmp_path / "here").new
    assert here.stat().st_size == 100_000
    pieces = [path for path in asked if "/pieces/" in path]
    assert len(pieces) == len(set(pieces)) + 1  # that which broke


def test_two_robots_with_one_name_of_a_file(tmp_path, storage):
    for name in ("r1", "r2"):
        robot = Robot(tmp_path, storage, name=name)
        robot.record(1)
        robot.upload()
    # The same name with another content of one robot, too.
    robot.record(1, size=50_000)
    robot.upload()
    found = collected(storage, tmp_path / "here")
    assert len(found.new) == len(set(found.new)) == 3
    assert {p.parent.name for p in found.new} == {"r1", "r2"}
    assert all(p.with_name(p.name.replace(".mcap", ".params.yaml")).is_file() for p in found.new)
    assert collected(storage, tmp_path / "here").known == 3


def test_what_is_taken_out_of_the_storage_comes_no_more(robot, storage, tmp_path):
    robot.record(1)
    robot.upload()
    assert len(collected(storage, tmp_path / "here", remove=True).new) == 1
    assert [n for n in storage.names("samples") if n.endswith(TAKEN)]
    assert sum(len(b"".join(storage.stream(n))) for n in storage.names("samples")) < 2000
    assert collected(storage, tmp_path / "here", remove=True).known == 1
    assert collected(storage, tmp_path / "there").elsewhere == 1
    robot.ledger.close()
    robot.ledger_path.unlink()
    robot.start()
    assert robot.upload() == [None]


def lie(storage, edit, *, path=""):
    document = only(storage)
    name = path or f"samples/r1/{document.sha256}.json"
    data = edit(json.loads(encode(document)))
    storage.place.write(name, json.dumps(data).encode())


def first(data, **changes):
    data["files"][0].update(changes)
    return data


def pieces(data, **changes):
    data["files"][0]["data"].update(changes)
    return data


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: first(d, name="../../evil.mcap"), "plain name"),
        (lambda d: first(d, name=".hidden.mcap"), "plain name"),
        (lambda d: first(d, name="evil.sh"), "plain name"),
        (lambda d: {**d, "device": "../r2"}, "expected a name of letters"),
        (lambda d: {**d, "device": "r2"}, "is of r2"),
        (lambda d: {**d, "files": []}, "expected 1 or 2 files"),
        (lambda d: pieces(d, pieces=["../../victim"] * 7), "in hexadecimal"),
        (lambda d: pieces(d, pieces=["0" * 64] * 7), "not in the registry"),
        (lambda d: pieces(d, size=2**60), "size"),
        (lambda d: pieces(d, sha256="1" * 64), "is of r1 and 1111"),
        (lambda d: [], "expected"),
    ],
)
def test_lies_of_a_robot_are_refused_and_the_others_come(tmp_path, storage, edit, said):
    victim = tmp_path / "victim"
    victim.write_text("stays")
    robot = Robot(tmp_path, storage)
    robot.record(1, parameters="")
    robot.upload()
    lie(storage, edit)
    other = Robot(tmp_path, storage, name="r9")
    other.record(2)
    other.upload()
    found = collected(storage, tmp_path / "here")
    assert [p.parent.name for p in found.new] == ["r9"]
    assert len(found.refused) == 1
    assert said in found.refused[0]
    assert victim.read_text() == "stays"
    assert not list(tmp_path.rglob("*evil*"))


def test_a_disk_without_room_is_said(robot, storage, tmp_path):
    robot.record(1)
    robot.upload()
    with pytest.raises(LinkError, match="bytes free"):
        collected(storage, tmp_path / "here", free_bytes=lambda _: 1000)


def test_names_that_can_be_no_folder(tmp_path, storage):
    for name in ("", "..", "a/b", "a b"):
        with pytest.raises(FleetError, match="expected a name"):
            Uploader(name, tmp_path, storage, None)
    with pytest.raises(ConfigurationError, match="fleet_samples_from"):
        FleetOptions(samples_to="s3://x")
    data = Pieces(sha256="0" * 64, size=1, piece_bytes=1, pieces=("0" * 64,))
    document = SampleDocument(
        device="r1", uploaded_ns=1, files=(SampleFile(name="a.mcap", data=data),)
    )
    with pytest.raises(FleetError, match="1 or 2 files"):
        replace(document, files=())


def test_the_fleet_knows_of_each_once(tmp_path, storage):
    """The thread of a robot; told again after a restart, it is in the table once."""
    robot = Robot(tmp_path, storage)
    robot.record(1)
    robot.record(2)
    robot.ledger.close()
    tables, spool = Tables(str(tmp_path / "fleet.db")), Spool(tmp_path / "spool.db", 10**6)
    told = []

    def link():
        return SampleLink(
            "r1",
            robot.folder,
            storage.url,
            robot.ledger_path,
            most_day_bytes=0,
            most_kb_s=0,
            quiet=None,
            tell=lambda reading, kept: told.append((reading, kept)),
        )

    def wait_for(count):
        end_s = time.monotonic() + 30
        while len(told) < count:
            assert time.monotonic() < end_s, f"{len(told)} of {count} told"
            time.sleep(0.01)

    one = link()
    wait_for(2)
    told[0][1]()  # this one is on the disk of the robot; then it is killed
    one.close()
    assert one.values() == {
        "samples_uploaded": 2,
        "samples_waiting": 0,
        "samples_problem": "none",
    }
    two = link()
    wait_for(3)
    two.close()
    assert told[2][0].data == told[1][0].data
    spool.add(reading for reading, _ in told)
    ingest = Ingest(tables)
    Outbox("r1", spool, lambda payload: ingest.take("r1", payload, 1)).step(0.0)
    rows = tables.rows("SELECT name, bytes FROM samples ORDER BY name")
    assert [name for name, _ in rows] == ["event_1_margin.mcap", "event_2_margin.mcap"]
    assert rows[0][1] > 100_000
    spool.add([Reading(kind="sample", stamp_ns=1, data={"name": "no hash"})])
    Outbox("r1", spool, lambda payload: ingest.take("r1", payload, 1)).step(0.0)
    assert len(tables.rows("SELECT name FROM samples")) == 2
    ((reason, count),) = ingest.aside.items()
    assert (reason.endswith("sample.sha256: expected a value, got nothing"), count) == (True, 1)


def test_the_same_on_s3(tmp_path, s3):
    """A break in the middle on a real S3 server, resumed; then the command collects."""
    place = ObjectPlace(s3)
    storage = Storage(tmp_path / "unused")
    storage.place, storage.url = place, s3
    robot = Robot(tmp_path, storage)
    path = robot.record(1)
    storage.break_at = (3, False, LinkError)
    with pytest.raises(LinkError):
        robot.upload()
    robot.upload()
    assert len(storage.writes) == len(set(storage.writes)) == 9
    out = tmp_path / "here"
    assert main(["fleet", "collect", s3, "--out", str(out), "--remove"]) == 0
    assert (out / "r1" / path.name).read_bytes() == path.read_bytes()
    assert main(["fleet", "collect", s3, "--out", str(out)]) == 0
    assert asdict(only(storage))["device"] == "r1"
