"""Rounds of a robot: a stop waits for no download, and one release holds up no other."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
from fleet_rig import TEAM, Wire, ns, weights

from edge_perception.core.errors import LinkError
from edge_perception.fleet.documents import RUNNING, STOPPED, Rollout, RolloutsDocument, Stage
from edge_perception.fleet.membership import Device
from edge_perception.fleet.pieces import piece_path
from edge_perception.fleet.rounds import Rounds
from edge_perception.fleet.schedule import Pace, PollSchedule

PERIOD_S = 600.0
DAY_S = 86_400.0


class Going:
    """A robot with rounds, and a steady clock that a test sets."""

    def __init__(self, owner, **more):
        self.owner, self.wire, self.at_s = owner, Wire(owner.place), 0.0
        self.pace = Pace(
            0.0, None, threading.Event(), lambda: ns(owner.now), steady_s=lambda: self.at_s
        )
        self.robot = owner.robot(place=self.wire, paced=self.pace, **more)
        self.plans = []
        self.rounds = Rounds(
            self.robot.sync,
            self.pace,
            PollSchedule(PERIOD_S, random.Random(1)),
            period_s=PERIOD_S,
            offline_s=7 * DAY_S,
            planned=lambda: self.plans.append(self.rounds.plan),
            now_ns=lambda: ns(owner.now),
            steady_s=lambda: self.at_s,
        )

    def has(self, document):
        return self.robot.store.shelf.has(document.manifest_sha256)

    def refuse(self, document, number=0):
        """Let the registry have a damaged piece of a release."""
        self.wire.answers[piece_path(document.archive.pieces[number])] = b"damaged"


def stopped(document, **more):
    return Rollout(
        id="x",
        name=document.name,
        version=document.version,
        salt="s",
        manifests=(document.manifest_sha256,),
        **{"stages": (Stage(share=1.0),), "state": STOPPED, "reason": "burns", **more},
    )


def put(owner, *rollouts):
    with owner.change() as registry:
        registry.put_rollouts(TEAM, RolloutsDocument(rollouts=rollouts))


def test_a_stop_is_known_before_any_download_and_although_one_fails(owner):
    going = Going(owner)
    first = owner.add(owner.bundle("1.0.0", 1))
    going.rounds.round()
    going.robot.serve(first.manifest_sha256)
    other = owner.add(owner.bundle("1.0.0", 1, weights(7), name="lister", role="lidar"))
    put(owner, stopped(first))
    going.refuse(other)
    going.plans.clear()
    going.rounds.round()
    assert going.plans[0].retreats == {first.manifest_sha256: "rollout x was stopped: burns"}
    assert not going.has(other)
    assert "damaged" in going.rounds.problem
    assert "damaged" in going.rounds.held["lister 1.0.0"]


def test_one_release_that_cannot_be_fetched_holds_up_no_other(owner):
    going = Going(owner)
    bad = owner.add(owner.bundle("1.0.0", 1))
    good = owner.add(owner.bundle("1.0.0", 1, weights(7), name="lister", role="lidar"))
    going.refuse(bad)
    assert going.rounds.round() > PERIOD_S  # it backs off
    assert (going.has(bad), going.has(good)) == (False, True)
    going.wire.answers.clear()
    assert going.rounds.round() < 1.3 * PERIOD_S
    assert going.has(bad)
    assert (going.rounds.problem, going.rounds.held) == ("", {})


def test_a_download_that_takes_long_lets_the_registry_be_asked_in_between(owner):
    """Of a robot on a slow link: a stop of what serves is heard while the next one comes."""
    going = Going(owner)
    first = owner.add(owner.bundle("1.0.0", 1))
    going.rounds.round()
    going.robot.serve(first.manifest_sha256)
    other = owner.add(owner.bundle("1.0.0", 1, weights(7), name="lister", role="lidar"))
    pieces = len(other.archive.pieces)

    def slow(path):
        if path.startswith("pieces/"):
            going.at_s += 400.0

    going.wire.before = slow
    going.wire.fetched.clear()
    rounds = 0
    while not going.has(other):
        assert rounds < pieces
        wait_s = going.rounds.round()
        rounds += 1
        if rounds == 1:
            assert wait_s == 0.0
            put(owner, stopped(first))
        elif rounds == 2:
            assert going.rounds.plan.retreats
    assert rounds > 1
    asked = [path for path in going.wire.fetched if path.startswith("pieces/")]
    assert len(asked) == len(set(asked)) == pieces  # none of it twice


def test_a_disk_without_room_is_said_at_once_and_a_link_that_breaks_after_days(owner):
    room = [10**4]
    going = Going(owner, free_bytes=lambda _: room[0])
    document = owner.add(owner.bundle())
    going.rounds.round()
    assert "bytes free" in going.rounds.problem
    assert "bytes free" in going.rounds.held["tagger 1.0.0"]
    room[0] = 10**12

    def breaks(path):
        if path.startswith("pieces/"):
            raise LinkError("pieces cannot be reached")

    going.wire.before = breaks
    going.rounds.round()
    assert going.rounds.problem == ""
    assert "cannot be reached" in going.rounds.held["tagger 1.0.0"]
    going.at_s += 8 * DAY_S
    going.rounds.round()
    assert "cannot be reached" in going.rounds.problem
    going.wire.before = None
    going.rounds.round()
    assert going.has(document)
    assert going.rounds.problem == ""


def test_a_registry_that_is_away_is_a_problem_after_days(owner):
    going = Going(owner)
    owner.add(owner.bundle())
    going.rounds.round()
    going.wire.break_after = 0
    owner.later(days=2)
    waits = [going.rounds.round() for _ in range(6)]
    assert waits[-1] > 4 * PERIOD_S
    assert going.rounds.problem == ""
    owner.later(days=6)
    going.rounds.round()
    assert "broke" in going.rounds.problem
    assert going.robot.versions() == []


def test_what_another_release_has_of_its_download_stays(owner):
    """One that is here and does not serve is looked at in every round."""
    going = Going(owner)
    here = owner.add(owner.bundle("1.0.0", 1))
    going.rounds.round()
    assert going.has(here)
    assert going.rounds.plan.offers
    half = owner.add(owner.bundle("1.0.0", 1, weights(7), name="lister", role="lidar"))
    going.refuse(half, -1)
    going.wire.fetched.clear()
    going.rounds.round()
    going.rounds.round()
    asked = [path for path in going.wire.fetched if path.startswith("pieces/")]
    assert len(asked) == len(half.archive.pieces) + 1  # the damaged one again, and no other
    going.wire.answers.clear()
    going.rounds.round()
    assert going.has(half)
    assert list((going.robot.store.root / "fleet" / "pieces").iterdir()) == []


@pytest.mark.parametrize("state", [STOPPED, RUNNING])
def test_a_newer_one_that_may_not_serve_does_not_keep_the_older_away(owner, state):
    """A robot that was away when 1.1.0 was new, and 1.2.0 was stopped or is not for it yet."""
    owner.add(owner.bundle("1.0.0", 1))
    robot = owner.robot()
    assert robot.update() == ["1.0.0"]
    owner.add(owner.bundle("1.1.0", 2))
    newest = owner.add(owner.bundle("1.2.0", 3))
    put(owner, stopped(newest, state=state, stages=(Stage(share=0.0),)))
    assert robot.update() == ["1.1.0"]
    assert "tagger 1.2.0" in robot.poll().waiting
    assert robot.poll().offers == ()


def test_what_serves_is_not_left_for_an_older_one_when_its_rollout_pauses(owner):
    owner.add(owner.bundle("1.1.0", 2))
    robot = owner.robot()
    newest = owner.add(owner.bundle("1.2.0", 3))
    assert robot.update() == ["1.2.0"]
    put(owner, stopped(newest, state="paused"))
    plan = robot.poll()
    assert (plan.offers, plan.retreats) == ((), {})


def test_a_robot_that_changes_its_class_takes_the_variant_of_it_without_news(owner):
    variants = {
        kind: owner.add(owner.bundle("1.0.0", 1, weights(n)), device_class=kind)
        for n, kind in enumerate(("any", "orin", "agx"), 1)
    }
    robot = owner.robot(device=Device(id="r1", device_class="orin"))
    assert robot.update() == ["1.0.0"]
    assert robot.store.slots.get("current")["audio"] == variants["orin"].manifest_sha256
    # Another computer in the same robot, and nothing new in the registry.
    wire = Wire(owner.place)
    changed = owner.robot(device=Device(id="r1", device_class="agx"), place=wire)
    (offer,) = changed.poll().offers
    assert offer.manifest_sha256 == variants["agx"].manifest_sha256
    changed.update()
    wire.fetched.clear()
    assert changed.poll().offers == ()
    assert wire.fetched == ["metadata/timestamp.json"]


def test_a_channel_that_is_not_there_is_said_and_can_be_corrected_without_news(owner):
    from edge_perception.core.errors import RegistryError
    from edge_perception.fleet.sync import Sync

    owner.add(owner.bundle("1.0.0", 1))
    robot = owner.robot()
    robot.poll()

    def of(channel):
        return Sync(
            device=Device(id="r1"),
            store=robot.store,
            trust=owner.trust,
            place=owner.place,
            root=owner.root,
            team=TEAM,
            channel=channel,
        )

    with pytest.raises(RegistryError, match=r"channel-beta.json: not in the registry"):
        of("beta").poll(ns(owner.now))
    assert len(of("stable").poll(ns(owner.now)).offers) == 1


def test_a_variant_that_came_later_is_left_at_a_stop_too(owner):
    first = owner.add(owner.bundle("1.0.0", 1), device_class="orin")
    put(owner, stopped(first, state=RUNNING, reason=""))
    later = owner.add(owner.bundle("1.0.0", 1, weights(7)), device_class="agx")
    (rollout,) = owner.registry().rollouts(TEAM).rollouts
    assert rollout.manifests == (first.manifest_sha256, later.manifest_sha256)
    robot = owner.robot(device=Device(id="r1", device_class="agx"))
    assert robot.update() == ["1.0.0"]
    # Also by what an older `registry add` wrote.
    put(owner, replace(rollout, state=STOPPED, manifests=(first.manifest_sha256,)))
    assert list(robot.poll().retreats) == [later.manifest_sha256]
