"""A registry: channels, classes of devices, teams, keys, and two who publish at once."""

from __future__ import annotations

import pytest
from fleet_rig import START, TEAM, Owner, ns, weights

from edge_perception.core.errors import LinkError, RegistryError
from edge_perception.fleet.documents import ReleaseDocument, release_path
from edge_perception.fleet.membership import Device
from edge_perception.fleet.publishing import publish_release
from edge_perception.fleet.registry import Registry


def test_a_robot_takes_what_its_channel_offers(owner):
    owner.add(owner.bundle("1.0.0", 1), "dev")
    robot = owner.robot()
    with pytest.raises(RegistryError, match="channel-stable"):
        robot.poll()  # nothing was ever in it
    with owner.change() as registry:
        registry.promote(TEAM, "tagger", "1.0.0", "stable")
    assert robot.update() == ["1.0.0"]
    assert robot.poll().offers == ()
    owner.add(owner.bundle("1.1.0", 2))
    assert robot.update() == ["1.1.0"]


def test_only_what_suits_the_hardware(owner):
    owner.add(owner.bundle("1.0.0", 1))
    owner.add(owner.bundle("1.0.0", 1, weights(77)), device_class="orin")
    owner.add(owner.bundle("1.1.0", 2), device_class="xavier")
    orin = owner.robot("o", device=Device(id="o", device_class="orin"))
    plain = owner.robot("p")
    (offer,) = orin.poll().offers
    assert (offer.version, offer.device_class) == ("1.0.0", "orin")
    (offer,) = plain.poll().offers
    assert (offer.version, offer.device_class) == ("1.0.0", "any")


def test_a_document_says_what_is_known(owner):
    bundle = owner.bundle("1.0.0", 1, changelog="hears sirens")
    document = owner.add(bundle, measured={"orin": {"latency_ms": 3.5, "watts": 9}})
    again = owner.registry().document(ReleaseDocument, release_path(TEAM, document))
    assert again.changelog == "hears sirens"
    assert again.licence == "Apache-2.0"
    assert again.metrics == {"f1": 0.5}
    assert again.measured["orin"]["watts"] == 9


def test_a_version_is_released_once(owner):
    owner.add(owner.bundle("1.0.0", 1))
    with pytest.raises(RegistryError, match="released before"):
        owner.add(owner.bundle("1.0.0", 1, weights(5)))


def test_retired_releases_are_no_longer_offered(owner):
    owner.add(owner.bundle("1.0.0", 1))
    owner.add(owner.bundle("1.1.0", 2))
    with owner.change() as registry:
        assert registry.retire(TEAM, "tagger", "1.1.0") == 1
    assert [e.version for e in owner.registry().channel(TEAM, "stable").entries] == ["1.0.0"]
    with pytest.raises(RegistryError, match="in no channel"):
        owner.registry().retire(TEAM, "tagger", "9.9.9")


def test_a_team_signs_only_what_is_named_after_it(owner):
    with owner.change() as registry:
        registry.add_team("other", owner.keys.make("other"), 1)
    document = publish_release(owner.bundle(), owner.place)
    registry = owner.registry()
    with pytest.raises(RegistryError, match="unknown team"):
        registry.add("third", document, "stable")
    # With the other team's key alone nothing of this team can be signed.
    (owner.keys.folder / f"{TEAM}-1.pem").unlink()
    registry = owner.registry()
    registry.add(TEAM, document, "stable")
    with pytest.raises(RegistryError, match=TEAM):
        registry.publish()


def test_two_publishers_do_not_lose_each_others_changes(owner):
    first, second = owner.registry(), owner.registry()
    one = publish_release(owner.bundle("1.0.0", 1), owner.place)
    two = publish_release(owner.bundle("1.1.0", 2), owner.place)
    first.add(TEAM, one, "dev")
    second.add(TEAM, two, "dev")
    first.publish()
    with pytest.raises(RegistryError, match="meanwhile"):
        second.publish()
    again = owner.registry()
    again.add(TEAM, two, "dev")
    again.publish()  # over what the loser left
    entries = owner.registry().channel(TEAM, "dev").entries
    assert [e.version for e in entries] == ["1.0.0", "1.1.0"]
    with owner.change() as registry:
        registry.promote(TEAM, "tagger", "1.1.0", "stable")
    assert owner.robot().update() == ["1.1.0"]


def test_root_with_a_threshold_rotates(tmp_path):
    owner = Owner(tmp_path, root_keys=3, threshold=2)
    owner.add(owner.bundle())
    robot = owner.robot()
    assert robot.update() == ["1.0.0"]
    fresh = owner.keys.make("root", 2)
    with owner.change() as registry:
        registry.rotate("root", fresh, 2)
    with owner.change() as registry:
        registry.rotate("timestamp", owner.keys.make("timestamp"), 1)
    owner.add(owner.bundle("1.1.0", 2))
    assert robot.update() == ["1.1.0"]  # known from the first root on
    assert owner.robot("new").update() == ["1.1.0"]


def test_too_few_root_keys_change_nothing(tmp_path):
    owner = Owner(tmp_path, root_keys=3, threshold=2)
    for number in (1, 2):
        (owner.keys.folder / f"root-{number}.pem").unlink()
    registry = owner.registry()
    registry.rotate("timestamp", owner.keys.make("timestamp"), 1)
    with pytest.raises(RegistryError, match="root: expected 2 signatures, got 1"):
        registry.publish()
    assert Registry(owner.place, None, START).roles["root"].version == 1


def test_without_news_nothing_but_the_timestamp_is_asked(owner):
    from fleet_rig import Wire

    owner.add(owner.bundle())
    wire = Wire(owner.place)
    robot = owner.robot(place=wire)
    robot.update()
    wire.fetched.clear()
    robot.poll()
    assert wire.fetched == ["metadata/timestamp.json"]
    assert robot.sync.trusted.refreshed_ns == ns(owner.now)


@pytest.mark.parametrize("what", ["a release", "a rotation"])
def test_a_publisher_that_ends_at_any_write_leaves_the_old_or_the_new(owner, monkeypatch, what):
    """And whoever publishes next goes on, whatever the one before left."""
    owner.add(owner.bundle("1.0.0", 1))
    robot = owner.robot()
    assert robot.update() == ["1.0.0"]
    document = publish_release(owner.bundle("1.1.0", 2), owner.place, piece_bytes=16384)
    signers = {role: owner.keys.make(role) for role in ("snapshot", "timestamp")}
    left = [0]

    def counted(write):
        def writes(*arguments):
            if left[0] == 0:
                raise LinkError("ended")
            left[0] -= 1
            write(*arguments)

        return writes

    for name in ("write", "replace"):
        monkeypatch.setattr(owner.place, name, counted(getattr(owner.place, name)))
    number, ended = 0, True
    while ended:
        left[0] = number
        try:
            with owner.change() as registry:
                if what == "a rotation":
                    for role, new in signers.items():
                        registry.rotate(role, new, 1)
                registry.add(TEAM, document, "stable")
            ended = False
        except LinkError:
            number += 1
            assert robot.update() == ["1.0.0"]
    assert number >= (5 if what == "a release" else 6)
    assert robot.update() == ["1.1.0"]
    left[0] = 1000
    owner.later(days=1)
    with owner.change():
        pass
    assert owner.robot("new").update() == ["1.1.0"]
