"""A source that ends earlier or begins later than the others is named with the time."""

from __future__ import annotations

from edge_perception.validation.accounting import account_for, to_json, uneven

START_NS, S = 10**18, 10**9


def account(first_s, last_s, *, rate_hz, **roles):
    """A segment in which every topic came at a rate from one time to another."""
    names = {f"/{name}": role for name, role in roles.items()}
    counts = {topic: round((last_s - first_s) * rate_hz) + 1 for topic in names}
    span = [START_NS + round(first_s * S), START_NS + round(last_s * S)]
    return {
        "damage": [],
        "outputs": 1,
        "counts": {
            "roles": names,
            "types": {},
            "held": counts,
            "read": counts,
            "unusable": {},
            "problems": [],
            "spans": dict.fromkeys(names, span),
        },
    }


def together(*accounts):
    """The accounts as one segment."""
    whole = account(0.0, 0.0, rate_hz=1.0)
    for each in accounts:
        for name in ("roles", "held", "read", "spans"):
            whole["counts"][name].update(each["counts"][name])
    return whole


def told(*segments):
    return uneven(to_json(account_for(segments))["topics"], START_NS)


def test_a_source_that_ends_early_or_begins_late():
    whole = account(0.0, 30.0, rate_hz=10.0, camera="camera", info="calibration of camera")
    assert told(whole) == []
    early = together(whole, account(0.1, 12.3, rate_hz=10.0, points="lidar"))
    assert told(early) == [
        "lidar: its last message came at 12.3 s, 17.7 s before that of the others"
    ]
    late = together(whole, account(5.0, 30.0, rate_hz=10.0, points="lidar"))
    assert told(late) == ["lidar: its first message came at 5.0 s, 5.0 s after that of the others"]


def test_what_need_not_come_all_the_time_is_not_named():
    once = account(0.0, 0.0, rate_hz=1.0, info="calibration of camera", tf="transforms")
    unused = account(0.0, 90.0, rate_hz=1.0, rosout="not used: no source")
    assert told(together(account(0.0, 30.0, rate_hz=10.0, camera="camera"), once, unused)) == []


def test_a_slow_source_may_end_five_of_its_periods_early():
    camera = account(0.0, 30.0, rate_hz=10.0, camera="camera")
    assert told(together(camera, account(0.0, 28.0, rate_hz=2.0, slow="radar"))) == []
    assert told(together(camera, account(0.0, 26.0, rate_hz=2.0, slow="radar")))


def test_segments_and_topics_of_one_source_count_together():
    one = account(0.0, 15.0, rate_hz=10.0, camera="camera", left="lidar", right="lidar")
    two = account(15.0, 30.0, rate_hz=10.0, camera="camera", left="lidar")
    two["counts"]["roles"] = one["counts"]["roles"]
    two["counts"]["spans"].pop("/right", None)
    assert told(one, two) == []
