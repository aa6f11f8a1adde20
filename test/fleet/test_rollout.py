"""Rollouts: who is in, what the gates say of what robots told, and the commands."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fleet_rig import TEAM, Wire, ns

from edge_perception.cli import _fleet_rollout
from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError, FleetError, LinkError, RegistryError
from edge_perception.fleet.batches import pack_batch
from edge_perception.fleet.documents import DONE, PAUSED, RUNNING, STOPPED, Stage
from edge_perception.fleet.ingest import Ingest
from edge_perception.fleet.membership import Device, in_stage, may_take, position
from edge_perception.fleet.options import FleetOptions
from edge_perception.fleet.readings import Reading, encode_reading
from edge_perception.fleet.registry import utc_now
from edge_perception.fleet.rollout import (
    PASS,
    STOP,
    WAIT,
    FleetGate,
    Verdict,
    change,
    judge,
    make_rollout,
    suited,
)
from edge_perception.fleet.tables import Tables
from edge_perception.releases.slo import Slo

STAGES = (Stage(share=0.1, soak_s=3600), Stage(share=1.0, soak_s=3600))
NAMES = [f"r{n:03}" for n in range(100)]
GATE = FleetGate(silent_s=7200)


class Fleet:
    """A release in its first stage, and robots that tell what the test says."""

    def __init__(self, owner, folder):
        self.owner, self.url = owner, str(folder / "fleet.db")
        self.tables = Tables(self.url)
        self.ingest, self.number = Ingest(self.tables), 0
        document = owner.add(owner.bundle(), "dev")
        self.digest = document.manifest_sha256
        for name in NAMES:
            self.tell(name, "versions", models={})
        with owner.change() as registry:
            self.rollout = make_rollout(
                registry,
                TEAM,
                "tagger",
                "1.0.0",
                channel="stable",
                stages=STAGES,
                known=NAMES,
                now=owner.now,
            )
        self.first = [
            n for n in NAMES if in_stage(Device(id=n), self.rollout.salt, self.rollout.stages, 0)
        ]

    def tell(self, device, kind, **data):
        self.number += 1
        reading = Reading(kind=kind, stamp_ns=ns(self.owner.now), data=data)
        payload = pack_batch(device, "s", [(self.number, encode_reading(reading))])
        self.ingest.take(device, payload, ns(self.owner.now))

    def serve(self, device, *, bad=0, views=200):
        models = {"audio": {"sha256": self.digest, "version": "tagger 1.0.0"}}
        self.tell(device, "versions", models=models)
        self.tell(device, "slo", models=models, views=views, bad={"availability": bad})

    def judge(self):
        return judge(self.rollout, self.tables, Slo(), GATE, ns(self.owner.now))


@pytest.fixture
def fleet(owner, tmp_path):
    return Fleet(owner, tmp_path)


def test_a_stage_is_its_share_and_stays_in_the_next(fleet):
    assert 1 <= len(fleet.first) <= 10
    salts = [sum(position(n, f"s{k}") < 0.3 for n in NAMES) for k in range(50)]
    assert 25 < sum(salts) / 50 < 35
    named = Device(id="x", groups=("lab",))
    stages = (Stage(share=0.0, groups=("lab",)),)
    assert in_stage(named, "s", stages, 0)
    assert not in_stage(Device(id="x"), "s", stages, 0)


def test_robots_decide_by_the_document(fleet, owner):
    inside, outside = fleet.first[0], next(n for n in NAMES if n not in fleet.first)
    robots = {n: owner.robot(n, device=Device(id=n)) for n in (inside, outside)}
    assert robots[inside].update() == ["1.0.0"]
    assert robots[outside].update() == []
    assert "not in stage 1" in robots[outside].poll().waiting["tagger 1.0.0"]
    with owner.change() as registry:
        paused = change(
            registry, TEAM, fleet.rollout, Verdict(verdict=PAUSED, text="lunch"), owner.now
        )
    assert "lunch" in may_take(paused, Device(id=inside))
    assert robots[inside].poll().retreats == {}
    with owner.change() as registry:
        stop = Verdict(verdict=STOP, text="burns")
        stopped = change(registry, TEAM, paused, stop, owner.now)
    assert stopped.state == STOPPED
    why = f"rollout {stopped.id} was stopped: burns"
    assert robots[inside].poll().retreats == {fleet.digest: why}
    assert robots[outside].update() == []
    with pytest.raises(FleetError, match="is stopped"):
        change(owner.registry(), TEAM, stopped, Verdict(verdict=PASS, text=""), owner.now)


def test_a_stop_reaches_a_robot_that_was_away_for_a_month(fleet, owner):
    wire = Wire(owner.place)
    robot = owner.robot("away", device=Device(id=fleet.first[0]), place=wire)
    assert robot.update() == ["1.0.0"]
    owner.later(days=1)
    with owner.change() as registry:
        stopped = change(
            registry, TEAM, fleet.rollout, Verdict(verdict=STOP, text="burns"), owner.now
        )
    for _ in range(3):  # it cannot be reached, and what it believes expires
        wire.break_after = 0
        with pytest.raises(LinkError):
            robot.poll()
        owner.later(days=10)
        with owner.change():
            pass
    wire.break_after = None
    assert robot.poll().retreats == {fleet.digest: f"rollout {stopped.id} was stopped: burns"}


def test_a_stage_waits_soaks_and_passes(fleet, owner):
    assert fleet.judge().verdict == WAIT
    for name in fleet.first:
        fleet.serve(name)
    assert "soaked" in fleet.judge().text
    owner.later(hours=1.5)
    verdict = fleet.judge()
    assert verdict.verdict == PASS, verdict.text
    assert verdict.figures["serving"] == len(fleet.first)
    with owner.change() as registry:
        second = change(registry, TEAM, fleet.rollout, verdict, owner.now)
    assert (second.stage, second.state) == (1, RUNNING)
    assert second.evidence[0].figures["views"] == 200 * len(fleet.first)


def test_views_that_are_bad_stop_it(fleet):
    for name in fleet.first:
        fleet.serve(name, bad=30)  # 15 %, 5 % are allowed
    verdict = fleet.judge()
    assert verdict.verdict == STOP
    assert "availability: good in 85.0%" in verdict.text


def test_robots_on_which_it_failed_stop_it(fleet):
    fleet.tell(fleet.first[0], "event", event="rolled back", reason="tagger 1.0.0: NaN", error=True)
    verdict = fleet.judge()
    assert verdict.verdict == STOP
    assert fleet.first[0] in verdict.text


def test_a_rollback_after_the_change_is_known_by_its_transaction(fleet):
    first = fleet.first[0]
    fleet.tell(first, "event", event="commit", transaction="t1", models={"audio": fleet.digest})
    assert fleet.judge().verdict == WAIT
    fleet.tell(first, "event", event="rolled back", transaction="t1", reason="late", error=True)
    assert fleet.judge().verdict == STOP


def test_few_views_are_no_evidence(fleet, owner):
    for name in fleet.first:
        fleet.serve(name, views=1)
    owner.later(hours=1.5)
    assert fleet.judge().verdict == WAIT
    assert "views on it" in fleet.judge().text


def test_what_burns_without_the_release_too_does_not_stop_it(fleet, owner):
    for name in NAMES:
        fleet.tell(name, "slo", models={}, views=200, bad={"availability": 60})
    for name in fleet.first:
        fleet.serve(name, bad=60)
    owner.later(hours=1.5)
    assert fleet.judge().verdict == PASS
    for name in fleet.first:
        fleet.serve(name, bad=120)
    assert fleet.judge().verdict == STOP


def test_failures_of_other_releases_do_not(fleet):
    fleet.tell(fleet.first[0], "event", event="refused", reason="tagger 0.9.0: NaN", error=True)
    assert fleet.judge().verdict == WAIT


def test_silent_robots_count_against_it(fleet, owner):
    fleet.serve(fleet.first[0])
    owner.later(hours=3)
    verdict = fleet.judge()
    assert verdict.verdict == WAIT
    assert "say nothing" in verdict.text


def test_what_all_robots_have_can_be_stopped(fleet, owner):
    robot = owner.robot("late", device=Device(id=NAMES[-1]))
    rollout = fleet.rollout
    for _ in STAGES:
        with owner.change() as registry:
            verdict = Verdict(verdict=PASS, text="good")
            rollout = change(registry, TEAM, rollout, verdict, owner.now)
    assert rollout.state == DONE
    assert robot.update() == ["1.0.0"]
    with pytest.raises(FleetError, match="is done"):
        change(owner.registry(), TEAM, rollout, verdict, owner.now)
    with owner.change() as registry:
        stop = Verdict(verdict=STOP, text="burns after all")
        rollout = change(registry, TEAM, rollout, stop, owner.now)
    assert rollout.state == STOPPED
    assert list(robot.poll().retreats) == [fleet.digest]


def test_two_rollouts_at_once_do_not_disturb_each_other(fleet, owner):
    """Of two models, by two people: one goes on while the other is stopped."""
    other = owner.add(owner.bundle(model=b"l" * 999, name="lister", role="lidar"), "dev")
    first, second = owner.registry(), owner.registry()
    new = make_rollout(
        first,
        TEAM,
        "lister",
        "1.0.0",
        channel="stable",
        stages=STAGES,
        known=NAMES,
        now=owner.now,
    )
    first.publish()
    # Who looked before that must look again: nobody's decision is lost.
    change(second, TEAM, fleet.rollout, Verdict(verdict=STOP, text="burns"), owner.now)
    with pytest.raises(RegistryError, match="meanwhile"):
        second.publish()
    states = {r.id: r.state for r in owner.registry().rollouts(TEAM).rollouts}
    assert states == {fleet.rollout.id: RUNNING, new.id: RUNNING}
    with owner.change() as registry:
        (stopped, _) = registry.rollouts(TEAM).rollouts
        change(registry, TEAM, stopped, Verdict(verdict=STOP, text="burns"), owner.now)
    inside = next(n for n in NAMES if in_stage(Device(id=n), new.salt, new.stages, 0))
    robot = owner.robot(inside, device=Device(id=inside))
    plan = robot.poll()
    assert [d.manifest_sha256 for d in plan.offers] == [other.manifest_sha256]
    assert list(plan.waiting) == ["tagger 1.0.0"]
    # What is told of one release says nothing of the other.
    models = {"lidar": {"sha256": other.manifest_sha256, "version": "lister 1.0.0"}}
    fleet.tell(inside, "slo", models=models, views=500, bad={"availability": 400})
    slo, now_ns = Slo(), ns(owner.now)
    assert judge(new, fleet.tables, slo, GATE, now_ns).verdict == STOP
    assert judge(fleet.rollout, fleet.tables, slo, GATE, now_ns).verdict == WAIT


def test_two_rollouts_of_one_model_at_once(fleet, owner):
    """The newer one is in its first stage; all others go on with the older."""
    owner.add(owner.bundle("1.1.0", 2), "dev")
    with owner.change() as registry:
        all_robots = (Stage(share=1.0),)
        done = make_rollout(
            registry,
            TEAM,
            "tagger",
            "1.1.0",
            channel="stable",
            stages=STAGES,
            known=NAMES,
            now=owner.now,
        )
        document = registry.rollouts(TEAM)
        older = replace(document.rollouts[0], stages=all_robots)
        registry.put_rollouts(TEAM, replace(document, rollouts=(older, done)))
    both = [n for n in NAMES if in_stage(Device(id=n), done.salt, STAGES, 0)]
    one = next(n for n in NAMES if n not in both)
    assert owner.robot(both[0], device=Device(id=both[0])).update() == ["1.1.0"]
    robot = owner.robot(one, device=Device(id=one))
    assert robot.update() == ["1.0.0"]
    assert "not in stage 1" in robot.poll().waiting["tagger 1.1.0"]


def test_a_robot_of_another_class_is_in_the_stage_it_was_in(fleet, owner):
    """Stages go by the name alone: other hardware does not move a robot to another stage."""
    name = fleet.first[0]
    models = {"audio": {"sha256": fleet.digest, "version": "tagger 1.0.0"}}
    for kind in ("orin", "agx"):
        fleet.tell(name, "versions", models=models, device_class=kind)
        assert fleet.judge().figures["robots"] == len(fleet.first)
    found = fleet.tables.rows("SELECT device_class FROM devices WHERE device = ?", (name,))
    assert found == [("agx",)]


def test_robots_that_there_is_no_variant_for_are_not_waited_for(fleet, owner):
    """Of a mixed fleet: nine in ten have other hardware, and will never take it."""
    for n, name in enumerate(NAMES):
        fleet.tell(name, "versions", models={}, device_class="agx" if n % 10 else "orin")
    classes = frozenset({"orin"})
    assert suited(fleet.tables, classes) == NAMES[::10]
    assert len(suited(fleet.tables, {"any"})) == 100
    fleet.rollout = replace(fleet.rollout, stage=1)
    models = {"audio": {"sha256": fleet.digest, "version": "tagger 1.0.0"}}
    for name in NAMES[::10]:
        fleet.tell(name, "versions", models=models, device_class="orin")
        fleet.tell(name, "slo", models=models, views=200, bad={"availability": 0})
    owner.later(hours=1, seconds=1)
    now_ns = ns(owner.now)
    assert "have not taken it" in judge(fleet.rollout, fleet.tables, Slo(), GATE, now_ns).text
    verdict = judge(fleet.rollout, fleet.tables, Slo(), GATE, now_ns, classes=classes)
    assert (verdict.verdict, verdict.figures["robots"]) == (PASS, 10)
    assert owner.registry().classes(TEAM, "tagger", "1.0.0") == {"any"}


def test_the_commands(owner, tmp_path, capsys):
    owner.now = utc_now()
    fleet = Fleet(owner, tmp_path)
    place = str(owner.place.folder)
    common = ["--database", fleet.url]
    signed = [*common, "--keys", str(owner.keys.folder)]
    rollout = ["fleet", "rollout"]
    assert main([*rollout, "create", place, "tagger", "1.0.0", *signed]) == 1
    assert "is running" in capsys.readouterr().err
    ident = fleet.rollout.id
    assert main([*rollout, "advance", place, ident, *signed]) == 0
    assert "wait" in capsys.readouterr().out
    assert main([*rollout, "pause", place, ident, *signed]) == 2  # no reason
    assert main([*rollout, "pause", place, ident, "--reason", "lunch", *signed]) == 0
    assert main([*rollout, "advance", place, ident, *signed]) == 2
    force = ["--force", "--reason", "looked at it"]
    assert main([*rollout, "advance", place, ident, *force, *signed]) == 0
    for name in fleet.first:
        fleet.serve(name, bad=100)
    fleet.tell(fleet.first[0], "event", event="burnt", reason="<b>late</b>", error=True)
    capsys.readouterr()
    assert main([*rollout, "advance", place, ident, *signed]) == 1
    assert "stopped" in capsys.readouterr().out
    page = tmp_path / "fleet.html"
    seen = ["fleet", "status", *common, "--registry", place, "--html", str(page), "--json"]
    assert main(seen) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["robots"] == 100
    assert found["versions"] == [
        {"role": "audio", "version": "tagger 1.0.0", "robots": len(fleet.first)}
    ]
    assert found["rollouts"][0]["state"] == STOPPED
    assert found["objectives"][0]["good"] == 0.5
    assert "&lt;b&gt;late" in page.read_text()
    assert main(["fleet", "status", *common]) == 0
    assert main([*rollout, "status", place, *common]) == 0
    assert main([*rollout, "stop", place, "other", "--reason", "x", *signed]) == 2


def test_a_watch_outlives_registry_and_database_and_ends_with_the_rollout(
    fleet, owner, monkeypatch, capsys
):
    """Who is to stop a bad release must not end because of a server that restarts."""
    owner.now = utc_now()
    ident, place = fleet.rollout.id, str(owner.place.folder)
    said = ["--database", fleet.url, "--keys", str(owner.keys.folder)]

    def state(verdict, text):
        with owner.change() as registry:
            (rollout,) = registry.rollouts(TEAM).rollouts
            change(registry, TEAM, rollout, Verdict(verdict=verdict, text=text), owner.now)

    def away():
        raise FleetError("database: the server is starting up")

    rounds = iter(
        [
            lambda: patch.setattr(_fleet_rollout, "open_registry", lambda _: away()),
            patch.undo if (patch := pytest.MonkeyPatch()) else None,
            lambda: state(PAUSED, "lunch"),
            lambda: state(PASS, "lunch is over"),
            lambda: [fleet.serve(name, bad=100) for name in fleet.first],
        ]
    )
    monkeypatch.setattr(_fleet_rollout.time, "sleep", lambda _: next(rounds)())
    assert main(["fleet", "rollout", "advance", place, ident, "--watch-s", "1", *said]) == 1
    shown = capsys.readouterr()
    assert "starting up" in shown.err
    assert [line.partition(": ")[2].split(":")[0] for line in shown.out.splitlines()] == [
        "wait",
        "wait",
        "wait",
        "wait",
        "stop",
        "stopped, stage 1",
    ]
    assert "paused: lunch" in shown.out
    assert owner.registry().rollouts(TEAM).rollouts[0].state == STOPPED


@pytest.mark.parametrize(
    "options",
    [
        {"device_id": "plant/7"},
        {"device_id": "a b"},
        {"groups": ("lab", "x,y")},
        {"device_id": "#"},
    ],
)
def test_names_that_would_get_lost_on_the_way_are_refused(options):
    with pytest.raises(ConfigurationError, match=f"fleet_{next(iter(options))}"):
        FleetOptions(**options)
    assert FleetOptions(device_id="robot:7.é", groups=("lab",)).groups == ("lab",)
