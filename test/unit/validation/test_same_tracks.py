"""Ids and ages of tracks across the cut of two segments."""

from edge_perception.validation.same_tracks import Overlap, SameTracks

NS = 1_000_000_000


def record(second, objects, candidates=()):
    """Return a record; objects are (x, id, age)."""
    return {
        "published_ns": second * NS // 10,
        "stamp_ns": second * NS // 10,
        "objects": [
            {"center_m": [x, 0.5, 0], "track_id": name, "age_s": age} for x, name, age in objects
        ],
        "sound_events": [{"track_id": name, "candidates": [[name, 0.9]]} for name in candidates],
    }


def test_what_was_seen_on_both_sides_of_a_cut_is_one():
    tracks = SameTracks()
    tracks.start([])
    for at in range(50, 60):
        tracks.apply(record(at, [(10.0 + at, 1, at / 10), (5.0, 2 + (at > 55), 0.1)]))
    overlap = Overlap()
    for at in range(50, 60):  # the next segment saw the same and counts from one
        overlap.add(record(at, [(10.0 + at, 1, (at - 50) / 10), (5.0, 2, 0.1)]))
    tracks.start(overlap.tracks)
    after = record(60, [(70.0, 1, 1.0), (5.0, 2, 0.2), (90.0, 3, 0)], candidates=(1, 77))
    tracks.apply(after)
    assert [item["track_id"] for item in after["objects"]] == [1, 3, 4]
    assert after["objects"][0]["age_s"] == 6, "since the first segment saw it"
    assert after["sound_events"][0] == {"track_id": 1, "candidates": [[1, 0.9]]}
    assert after["sound_events"][1] == {"track_id": 0, "candidates": []}


def test_only_the_newest_seconds_are_kept():
    overlap = Overlap()
    for at in range(100):
        overlap.add(record(at, [(1.0 * at, 1, 0.0)]))
    assert 15 < len(overlap.tracks) <= 22
