"""The attacks that TUF and Uptane name: what a robot believes and serves stays, and it says why."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import threading

import pytest
from fleet_rig import TEAM, Owner, Wire, copy_of, ns

from edge_perception.core.errors import ClockNotSetError, LinkError, RegistryError
from edge_perception.fleet import places
from edge_perception.fleet.documents import RUNNING, STOPPED, Rollout, RolloutsDocument, Stage


@pytest.fixture
def wire(owner):
    owner.add(owner.bundle("1.0.0", 1))
    return Wire(owner.place)


@pytest.fixture
def robot(owner, wire):
    robot = owner.robot(place=wire)
    assert robot.update() == ["1.0.0"]
    return robot


def refused(robot, match, kind=RegistryError):
    """The poll is refused, and neither what is believed nor what serves has changed."""
    believed = robot.sync.plan()
    with pytest.raises(kind, match=match):
        robot.update()
    assert robot.versions() == ["1.0.0"]
    assert robot.sync.plan() == believed


def test_rollback_to_an_older_registry(owner, robot, wire):
    old = copy_of(owner.place)
    owner.add(owner.bundle("1.1.0", 2), "dev")
    robot.update()
    wire.answers = old  # a true registry, signed by all, of yesterday
    refused(robot, "BadVersion|expected.*version|version")


def test_freeze_by_holding_news_back(owner, robot, wire):
    old = copy_of(owner.place)
    owner.later(days=2)
    owner.add(owner.bundle("1.1.0", 2))
    wire.answers = old
    assert robot.update() == ["1.0.0"]  # a frozen registry looks like one without news,
    owner.later(days=2)
    refused(robot, "expired")  # but not for long


def test_freeze_against_a_new_robot(owner, wire):
    wire.answers = copy_of(owner.place)
    owner.later(days=4)
    with pytest.raises(RegistryError, match="expired"):
        owner.robot("new", place=wire).poll()


def test_freeze_by_setting_the_clock_back(owner, robot):
    owner.later(days=2)
    owner.add(owner.bundle("1.1.0", 2), "dev")
    robot.update()
    owner.later(days=-10)
    refused(robot, "went back", ClockNotSetError)


@pytest.mark.parametrize("days", [365, -365])
def test_a_clock_that_is_a_year_off_believes_nothing_and_heals_when_it_is_set(owner, robot, days):
    owner.add(owner.bundle("1.1.0", 2))
    owner.later(days=days)
    refused(robot, "expired|went back", (RegistryError, ClockNotSetError))
    owner.later(days=-days)
    assert robot.update() == ["1.1.0"]


def test_a_new_robot_whose_clock_is_a_year_behind_notices_it(owner, wire):
    """Nothing has expired by such a clock: whatever is held back or shown again looks new."""
    owner.later(days=-365)
    with pytest.raises(ClockNotSetError, match="behind"):
        owner.robot("new", place=wire).poll()


def test_a_clock_that_was_never_set(robot):
    with pytest.raises(ClockNotSetError, match="1970"):
        robot.sync.poll(1_000_000_000)


def test_mix_and_match_of_two_true_states(owner, robot, wire):
    old = copy_of(owner.place)
    owner.add(owner.bundle("1.1.0", 2))
    new = copy_of(owner.place)
    # Newest timestamp, but the team's metadata of yesterday under the newest name.
    team = sorted(n for n in new if n.endswith(f".{TEAM}.json") and n.startswith("metadata/"))
    wire.answers = {team[-1]: old[team[0]]}
    refused(robot, "version|BadVersion")


def test_mix_and_match_of_documents(owner, robot, wire):
    owner.add(owner.bundle("1.1.0", 2))
    documents = [n for n in owner.place.names("targets/") if "channel-stable" in n]
    first, second = (b"".join(owner.place.stream(n)) for n in documents[:2])
    wire.answers = {documents[0]: second, documents[1]: first}
    refused(robot, "Length|Hash|long")


def staged(owner, document, stage):
    """Set the stage of the one rollout: true documents, each signed."""
    rollout = Rollout(
        id="x",
        name=document.name,
        version=document.version,
        salt="s",
        stages=(Stage(share=1.0), Stage(share=1.0)),
        stage=stage,
        state=STOPPED if stage else RUNNING,
        reason="burns",
        manifests=(document.manifest_sha256,),
    )
    with owner.change() as registry:
        registry.put_rollouts(TEAM, RolloutsDocument(rollouts=(rollout,)))


def test_a_rollout_of_an_older_stage_is_shown_again(owner, robot, wire):
    """Who holds the link would have a release go on that was stopped."""
    document = owner.add(owner.bundle("1.1.0", 2))
    staged(owner, document, 0)
    running = copy_of(owner.place)
    staged(owner, document, 1)
    now = copy_of(owner.place)
    assert robot.update() == ["1.0.0"]
    assert "stopped" in robot.poll().waiting["tagger 1.1.0"]
    # All of the old registry; the old document under the new name; the old team's metadata.
    wire.answers = running
    refused(robot, "BadVersion|version")
    owner.add(owner.bundle("1.0.1", 1, b"other" * 99), "dev")  # there is news to be asked for
    names = {name for name in now if "rollouts" in name}
    old = next(name for name in names if name in running)
    wire.answers = dict.fromkeys(names, running[old])
    fresh = owner.robot("fresh", place=wire)
    with pytest.raises(RegistryError, match=r"Length|Hash|long"):
        fresh.poll()
    team = sorted(n for n in now if n.endswith(f".{TEAM}.json") and n.startswith("metadata/"))
    newest = sorted(owner.place.names("metadata/"), key=len)
    newest = [n for n in newest if n.endswith(f".{TEAM}.json")][-1]
    wire.answers = {newest: now[team[-2]]}
    refused(robot, "BadVersion|version")
    wire.answers = {}
    assert robot.update() == ["1.0.0"]


@pytest.mark.parametrize(
    "what", ["metadata/timestamp.json", "snapshot", TEAM, "targets/", "pieces/"]
)
def test_endless_data(owner, robot, wire, what):
    before = set(owner.place.names(""))
    owner.add(owner.bundle("1.1.0", 2))
    read = itertools.count()

    def endless():
        for _ in read:
            yield b" " * 65536

    changed = (set(owner.place.names("")) - before) | {"metadata/timestamp.json"}
    wire.answers = {name: endless for name in changed if what in name}
    assert wire.answers
    with pytest.raises(RegistryError, match=r"at most|long"):
        robot.update()
    assert robot.versions() == ["1.0.0"]
    assert next(read) < 100  # some megabytes at most: it stopped reading


def test_a_wrong_key(owner, robot, wire, tmp_path):
    other = Owner(tmp_path / "attacker")
    other.add(other.bundle("6.6.6", 66))
    wire.answers = copy_of(other.place)
    refused(robot, "root|BadVersion|Unsigned|sign")


def test_a_root_of_somebody_else(owner, robot, wire, tmp_path):
    other = Owner(tmp_path / "attacker")
    other.add(other.bundle("6.6.6", 66))
    theirs = copy_of(other.place)
    root = json.loads(theirs["metadata/1.root.json"])
    root["signed"]["version"] = 2
    wire.answers = {**theirs, "metadata/2.root.json": json.dumps(root).encode()}
    refused(robot, "Unsigned|sign")


def test_another_teams_key_signs_our_releases(owner, robot, wire):
    """A delegation holds for the names of its team only."""
    with owner.change() as registry:
        registry.add_team("other", owner.keys.make("other"), 1)
    robot.poll()
    registry = owner.registry()
    stolen = registry._tuf.Metadata(registry.roles[TEAM])
    stolen.signed.version += 1
    for signer in owner.keys.signers("other"):
        stolen.sign(signer)
    owner.add(owner.bundle("1.1.0", 2))
    (name,) = [
        n
        for n in owner.place.names("metadata/")
        if n.endswith(f"{stolen.signed.version}.{TEAM}.json")
    ]
    wire.answers = {name: stolen.to_bytes()}
    refused(robot, "Unsigned|sign")


def test_fast_forward_is_healed_by_a_rotation(owner, robot, wire):
    """Who had the online keys for a moment sets versions that nobody can go beyond."""
    registry = owner.registry()
    registry.roles["timestamp"].version = 2**31
    registry.roles["snapshot"].version = 2**31
    registry.publish()
    robot.poll()
    clean = Owner.registry(owner)
    for role in ("timestamp", "snapshot"):
        clean.rotate(role, [owner.keys.make(role)[-1]], 1)
        clean.roles[role].version = 10
    clean.publish()
    owner.add(owner.bundle("1.1.0", 2))
    assert robot.update() == ["1.1.0"]


def test_a_release_that_is_older_than_what_served(owner, robot):
    owner.add(owner.bundle("1.1.0", 5))
    assert robot.update() == ["1.1.0"]
    with owner.change() as registry:
        registry.retire(TEAM, "tagger", "1.1.0")
    assert robot.poll().offers == ()  # 1.0.0 is offered, but is a downgrade
    assert robot.versions() == ["1.1.0"]


def test_a_registry_alone_cannot_release(owner, robot):
    """Bundles are signed too: whoever holds all keys of the registry is not enough."""
    from edge_perception.releases.signing import generate_key

    owner.release_key = generate_key()
    owner.add(owner.bundle("6.6.6", 66))
    document = robot.poll().offers[0]
    with pytest.raises(Exception, match="not trusted"):
        robot.fetch(document)
    assert robot.versions() == ["1.0.0"]


def test_unsigned_metadata(owner, robot, wire):
    owner.add(owner.bundle("1.1.0", 2))
    bare = json.loads(b"".join(owner.place.stream("metadata/timestamp.json")))
    bare["signatures"] = []
    wire.answers = {"metadata/timestamp.json": json.dumps(bare).encode()}
    refused(robot, "sign")


def test_a_link_that_broke_is_no_attack(owner, robot, wire):
    wire.break_after = 0
    with pytest.raises(LinkError):
        robot.poll()
    assert ns(owner.now) == robot.sync.trusted.refreshed_ns


def test_slow_retrieval_is_given_up(owner, monkeypatch):
    """A mirror that drips bytes for ever holds a robot up for a bounded time."""
    monkeypatch.setattr(places, "_TIMEOUT_S", 1)
    ended = threading.Event()

    class Drips(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.end_headers()
            with contextlib.suppress(OSError):  # the robot hung up
                while not ended.wait(0.05):
                    self.wfile.write(b" ")
                    self.wfile.flush()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Drips) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            place = places.ObjectPlace(f"http://127.0.0.1:{server.server_port}")
            with pytest.raises(LinkError, match="timestamp"):
                owner.robot("slow", place=place).poll()
        finally:
            ended.set()
            server.shutdown()
