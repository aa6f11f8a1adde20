"""Doubtful frames to servers that serve, die, come back, are slow, or serve something else."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace

import cloud_rig as rig
import numpy as np
import pytest

from edge_perception.backends.kserve.server import ModelServer
from edge_perception.core.health import Level
from edge_perception.models.triton_repository import stated_by

PATIENT = "deadline_ms=20000"
SURE, UNSURE = rig.box(score=0.99), rig.box(score=0.5)


@pytest.fixture
def server():
    made = rig.server()
    yield made
    made.close()


@pytest.fixture
def route():
    made = []

    def make(*tiers, **options):
        made.append(rig.Route(*tiers, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def accounted(route):
    """Return whether every doubtful frame became one thing."""
    counts = route.route.counts()
    ended = counts["answered"] + counts["cached"]
    return counts["doubtful"] == ended + sum(
        n for name, n in counts.items() if name.startswith("dropped")
    )


def test_an_answer_says_whose_it_is_of_when_and_of_which_model(route, server):
    asked = route(f"site {server.url} {PATIENT}")
    stamp_ns = asked.clock.now().node_ns
    assert asked.handle() == "answered"
    late = asked.late[0]
    assert (late.source, late.tier, late.stamp_ns) == ("camera", "site", stamp_ns)
    assert late.asked_stamp_ns == stamp_ns
    assert late.model == rig.bundle().version_for("camera")
    # The decisions are those of the same model here.
    encoder = rig.SPEC.make_encoder(rig.bundle().manifest, rig.model())
    inputs = encoder.preprocess(rig.frame(stamp_ns), rig.GEOMETRY)
    here = encoder.postprocess(encoder.infer(inputs), rig.frame(stamp_ns), rig.GEOMETRY)
    assert list(map(told, late.objects)) == list(map(told, here.objects))
    assert late.objects
    assert all(item.sources == ("camera@site",) for item in late.objects)


def told(item):
    return item.class_name, item.score, item.center_m, item.size_m, item.yaw_rad


def test_features_are_of_no_use_here_so_the_next_question_does_not_ask_for_them(route):
    made = ModelServer("bev_lite_camera", rig.model(), stated_by(rig.bundle()))
    try:
        asked = route(f"site {made.url} {PATIENT}")
        assert asked.handle() == "answered"
        first = asked.tiers[0].budget.used(0.0)
        assert asked.handle() == "answered"
        assert asked.tiers[0].budget.used(0.0) - first < first - 500_000
        assert list(map(told, asked.late[1].objects)) == list(map(told, asked.late[0].objects))
        assert made.requests == 2
    finally:
        made.close()


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ({"release": "0.4.0"}, "bev_lite_camera 0.4.0, feature space"),
        ({"release": None}, "no release"),
        ({"bundle": "other"}, f"states other {rig.bundle().manifest.version}"),
        ({"feature_space": "bev_lite-0.4.0"}, "'bev_lite-0.4.0'"),
        ({"feature_space": None}, "no feature space"),
        ({"sha256": "0" * 64}, "000000000000, expected"),
    ],
)
def test_a_server_of_another_model_is_refused_by_name_and_gets_no_frame(route, stated, text):
    server = rig.server(**stated)
    asked = route(f"site {server.url} {PATIENT}")
    assert asked.handle() == "dropped, refused"
    health = asked.route.health()
    assert health.level is Level.WARN
    assert text in health.message
    assert "site" in health.message
    assert asked.handle() == "dropped, refused"  # and it is left alone
    assert server.requests == 0
    # The server is mended.
    server.metadata = rig.metadata(rig.bundle())
    asked.clock.advance(31.0)
    assert asked.handle() == "answered"
    assert asked.route.health().level is Level.OK
    server.close()


def test_a_change_of_the_model_here_asks_for_the_same_there(route, server):
    asked = route(f"site {server.url} {PATIENT}")
    assert asked.handle() == "answered"
    newer = rig.other_release(rig.bundle(), version="0.6.0")
    assert asked.handle(serving=newer) == "dropped, refused"
    assert "expected bev_lite_camera 0.6.0" in asked.tiers[0].problem
    server.metadata = rig.metadata(newer)
    asked.clock.advance(31.0)
    assert asked.handle(serving=newer) == "answered"
    assert asked.late[-1].model.version == "0.6.0"


def test_a_larger_model_there_must_be_of_the_same_feature_space(route, server):
    larger = rig.other_release(rig.bundle(), name="large", version="1.0.0")
    server.metadata = rig.metadata(larger)
    asked = route(f"site {server.url} {PATIENT} bundle=large", fixed=larger)
    assert asked.handle() == "answered"
    assert asked.late[0].model.name == "large"
    apart = rig.other_release(rig.bundle(), feature_space="another")
    refused = route(f"site {server.url} {PATIENT} bundle=large", fixed=apart)
    assert refused.handle() == "dropped, refused"
    assert "another feature space than bev_lite_camera" in refused.tiers[0].problem


def test_another_signature_is_a_failure_said_by_name(route, server):
    server.metadata = json.loads(json.dumps(server.metadata))
    server.metadata["inputs"][0]["shape"] = [1, 3, 1, 1]
    asked = route(f"site {server.url} {PATIENT}")
    assert asked.handle() == "dropped, failed"
    assert "input 'images' expects (1, 3, 288, 512)" in asked.tiers[0].problem
    assert server.requests == 0


def test_an_answer_of_another_version_than_agreed_is_dropped(route, server):
    asked = route(f"site {server.url} {PATIENT}")

    def other_version(handler, inputs):
        body = {"model_version": "2", "outputs": []}
        for name, array in rig.model().infer(inputs).items():
            told = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
            body["outputs"].append({**told, "data": array.ravel().tolist()})
        server.reply(handler, body)

    server.answer = other_version
    assert asked.handle() == "dropped, refused"
    assert "of version 2 on the server, agreed on 1" in asked.tiers[0].problem
    assert not asked.late


def wrong(server, gate):
    return {
        "another shape": lambda h, _: server.tensors(h, {"heatmap": np.zeros(3, np.float32)}),
        "NaN": lambda h, i: server.tensors(
            h, {name: array * np.nan for name, array in rig.model().infer(i).items()}
        ),
        "no JSON": lambda h, _: server.send(h, b"<html>"),
        "closes": lambda h, _: h.connection.shutdown(socket.SHUT_RDWR),
        "busy": lambda h, _: server.reply(h, {"error": "busy"}, 503),
        "never": lambda _h, _i: gate.wait(20),
    }


@pytest.mark.parametrize("name", wrong(None, None))
def test_whatever_a_server_does_nothing_comes_of_it_and_it_is_left_alone(route, server, name):
    gate = threading.Event()
    limit = "deadline_ms=150" if name == "never" else PATIENT
    asked = route(f"site {server.url} {limit} failures=2 open_s=5")
    server.answer = wrong(server, gate)[name]
    try:
        assert [asked.handle() for _ in range(4)] == [
            *["dropped, failed"] * 2,
            *["dropped, breaker"] * 2,
        ]
        if name != "never":  # a busy machine may not have sent all of it in its 150 ms
            assert server.requests == 2
        assert not asked.late
        assert "breaker open" in asked.route.values()["cloud_site"]
        assert asked.route.health().level is Level.WARN
    finally:
        gate.set()
    # Half open: one question, and it decides.
    asked.clock.advance(5.0)
    assert asked.handle() == "dropped, failed"
    asked.clock.advance(5.1)
    assert asked.handle() == "dropped, breaker"  # twice as long now
    if name == "never":  # and the machine may be too busy for 150 ms
        return
    server.answer = server.right
    asked.clock.advance(5.0)
    assert asked.handle() == "answered"
    assert asked.route.health().level is Level.OK


def test_a_server_that_was_killed_costs_next_to_no_budget_and_comes_back(route):
    made = ModelServer("bev_lite_camera", rig.model(), stated_by(rig.bundle()))
    asked = route(f"site {made.url} {PATIENT} failures=1 open_s=1")
    assert asked.handle() == "answered"
    made.close()
    port = int(made.url.rpartition(":")[2])
    try:
        before = asked.tiers[0].budget.used(0.0)
        asked.clock.advance(61.0)  # what was agreed is asked for again
        assert asked.handle() == "dropped, failed"
        assert asked.tiers[0].budget.used(61.0) == before
        made = ModelServer("bev_lite_camera", rig.model(), stated_by(rig.bundle()), port=port)
        assert asked.handle() == "dropped, breaker"
        asked.clock.advance(1.0)
        assert asked.handle() == "answered"
    finally:
        made.close()


def test_tiers_are_asked_in_order_and_the_next_where_one_fails(route, server):
    site = rig.server()
    asked = route(
        f"site {site.url} {PATIENT} failures=1 open_s=60", f"cloud {server.url} {PATIENT}"
    )
    asked.options = asked.route.options = replace(asked.options, doubt_bits=1.0)
    assert asked.handle() == "answered"
    assert (asked.late[-1].tier, server.requests) == ("site", 0)
    site.answer = lambda handler, _: site.reply(handler, {"error": "busy"}, 503)
    assert asked.handle() == "answered"
    assert asked.late[-1].tier == "cloud"
    assert asked.handle() == "answered"
    assert site.requests == 2  # left alone
    assert asked.route.health().level is Level.OK  # somebody answers
    site.close()


def test_a_server_that_is_in_doubt_itself_hands_on(route, server):
    site = rig.server()
    asked = route(f"site {site.url} {PATIENT}", f"cloud {server.url} {PATIENT}", doubt_bits=0.0)
    assert asked.handle() == "answered"  # whatever it says is not below 0 bit
    assert [late.tier for late in asked.late] == ["cloud"]
    server.answer = lambda handler, _: server.reply(handler, {"error": "busy"}, 503)
    assert asked.handle() == "answered"
    assert asked.late[-1].tier == "site"  # better than nothing
    site.close()


def test_a_budget_that_is_used_up_ends_the_questions_until_an_hour_is_over(route, server):
    asked = route(f"site {server.url} {PATIENT} mb_per_hour=6")
    became = [asked.handle() for _ in range(5)]
    assert became == ["answered"] * 2 + ["dropped, budget"] * 3
    assert server.requests == 2
    assert asked.tiers[0].budget.used(0.0) <= 6e6
    assert "budget used up" in asked.route.values()["cloud_site"]
    asked.clock.advance(3661.0)
    assert asked.handle() == "answered"


def test_an_answer_serves_for_a_frame_that_hardly_differs_and_says_so(route, server):
    asked = route(f"site {server.url} {PATIENT}", cache_s=10.0)
    first_ns = asked.clock.now().node_ns
    assert asked.handle() == "answered"
    asked.clock.advance(2.0)
    assert asked.handle() == "cached"
    late = asked.late[-1]
    assert (late.stamp_ns, late.asked_stamp_ns) == (first_ns, first_ns + 2_000_000_000)
    assert late.round_trip_s != late.round_trip_s  # NaN: nobody was asked
    assert asked.handle(seed=5) == "answered"  # another scene
    moved = replace(rig.GEOMETRY, T_base_sensor=rig.T_BASE_CAMERA + 0.01)
    assert asked.handle(geometry=moved) == "answered"
    assert server.requests == 3
    assert asked.route.values()["cloud_cache"] == "1 of 4 hits (25%), 3 answers"
    asked.clock.jump_node_clock(-1000.0)  # a bag that begins again
    assert asked.handle() == "answered"


def test_only_doubtful_frames_of_the_model_that_serves_leave(route, server):
    asked = route(f"site {server.url} {PATIENT}")
    asked.offer(objects=[SURE])
    asked.offer(objects=[])
    asked.offer(invalid_reason="broken")
    asked.offer(inferred_stamp_ns=5)
    assert asked.route.counts()["doubtful"] == 0
    stand_in = rig.other_release(rig.bundle()).version_for("camera")
    now_ns = asked.clock.now().node_ns
    other = replace(rig.feature(now_ns), model=stand_in)
    asked.route.offer(rig.frame(now_ns), other, rig.GEOMETRY, rig.bundle())
    old = rig.feature(now_ns - 2_000_000_000)
    asked.route.offer(rig.frame(now_ns), old, rig.GEOMETRY, rig.bundle())
    counts = asked.route.counts()
    assert counts["dropped, another model served"] == counts["dropped, too old"] == 1
    assert accounted(asked)
    assert server.requests == 0


def test_the_newest_frame_wins_nothing_waits_and_all_are_counted(route, server):
    asked = route(f"site {server.url} {PATIENT}")
    gate, reached = threading.Event(), threading.Event()

    def slow(handler, inputs):
        reached.set()
        gate.wait(20)
        server.right(handler, inputs)

    server.answer = slow
    asked.route.start()
    asked.offer()
    assert reached.wait(60)
    for _ in range(5):  # one is in work: these come and go at once
        asked.clock.advance(0.01)
        asked.offer()
    newest_ns = asked.clock.now().node_ns
    assert asked.route.counts()["dropped, overwritten"] == 4
    gate.set()
    asked.wait(lambda: accounted(asked), "every frame accounted for")
    assert [late.stamp_ns for late in asked.late] == [newest_ns - 50_000_000, newest_ns]
    assert asked.route.values()["cloud_dropped"] == "overwritten 4"
    assert not asked.errors


def test_an_answer_that_comes_too_late_is_dropped(route, server):
    asked = route(f"site {server.url} {PATIENT}", most_age_s=1.0)

    def late(handler, inputs):
        asked.clock.advance(2.0)
        server.right(handler, inputs)

    server.answer = late
    assert asked.handle() == "dropped, answer too late"
    assert not asked.late


def test_the_frame_is_a_copy_that_the_next_one_does_not_overwrite(route, server):
    asked = route(f"site {server.url} {PATIENT}")
    image = rig.frame(asked.clock.now().node_ns)
    asked.route.offer(image, rig.feature(image.stamp_ns), rig.GEOMETRY, rig.bundle())
    kept = asked.route._mailbox.get(0.0).frame
    image.bgr[:] = 0
    np.testing.assert_array_equal(kept.bgr, rig.frame().bgr)
