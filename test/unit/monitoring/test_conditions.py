"""Conditions: hysteresis, and what the statistics say of simulated and real frames."""

import dataclasses
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_perception.core.conditions import (
    CONDITIONS,
    NOT_KNOWN,
    Conditions,
    as_array,
    from_array,
    joined,
)
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Geometry, ImageFrame, PointCloud
from edge_perception.encoders.camera.statistics import ImageStatistics
from edge_perception.encoders.lidar.statistics import SweepStatistics
from edge_perception.monitoring.condition_state import ConditionState
from edge_perception.simulation.generate import generate_frame
from edge_perception.simulation.scenario import Camera, random_scenario
from edge_perception.simulation.world import World

ROOF = np.eye(4)
ROOF[2, 3] = 1.86
AT_ROOF = Geometry(T_base_sensor=ROOF, pose_source="parameter")
S = 10**9
SHARED = Path(__file__).parents[4] / "shared" / "data"
PANDASET = Path(os.environ.get("EDGE_PERCEPTION_DATA", SHARED)) / "pandaset"


def image(bgr):
    return ImageFrame(stamp_ns=1, frame_id="", bgr=np.ascontiguousarray(bgr, np.uint8))


def told(statistics, frame, geometry=AT_ROOF):
    """What holds after three seconds of frames like this one."""
    state = ConditionState()
    for step in range(16):
        seen = statistics.of(frame, geometry)
        state.step(statistics.scores(seen), (10 + step) * S // 5)
    return state.now


@cache
def simulated(light, weather, seed=77):
    drawn = random_scenario(seed, camera=Camera(width=480, height=270))
    scenario = dataclasses.replace(drawn, light=light, weather=weather, sounds=())
    return generate_frame(scenario, seed, 1.0)


@pytest.mark.parametrize(
    ("light", "weather"),
    [("day", "clear"), ("day", "fog"), ("dusk", "rain"), ("night", "clear"), ("night", "fog")],
)
def test_light_and_weather_of_the_simulator(light, weather):
    frame = simulated(light, weather, seed=77)
    camera, lidar = told(ImageStatistics(), frame.image), told(SweepStatistics(), frame.cloud)
    both = joined([camera, lidar])
    assert both.light == light
    assert both.names - {light} == ({weather} if weather != "clear" else frozenset())


def test_glare_of_a_low_sun_and_none_of_a_white_wall_half_as_bright():
    bgr = simulated("day", "clear").image.bgr
    sun = cv2.circle(bgr.copy(), (250, 75), 60, (255, 255, 255), -1)
    sun = cv2.GaussianBlur(sun, (0, 0), 8)
    assert "glare" in told(ImageStatistics(), image(sun))
    assert "glare" not in told(ImageStatistics(), image(np.minimum(sun, 200)))


def _fisheye(bgr):
    mask = cv2.circle(np.zeros(bgr.shape[:2], np.uint8), (240, 160), 130, 1, -1)
    return bgr * mask[..., None]


def _below_trees(bgr):
    dark = bgr.copy()
    dark[:90] = dark[:90] // 5
    dark[140:] = np.maximum(dark[140:], 150)  # a sunlit road
    return dark


def _sky_exposed_too_long(bgr):
    white = bgr.copy()
    white[:60], white[60:90] = 255, 60  # down to the edge of a roof
    return white


def _pale_road_below_a_blue_sky(bgr):
    rows = np.arange(len(bgr))[:, None]
    colours = [(195, 160, 125), (120, 150, 170), (140, 140, 140)]
    bands = [rows < 130, (rows >= 130) & (rows < 160), rows >= 160]
    pale = np.select([np.repeat(band, bgr.shape[1], axis=1)[..., None] for band in bands], colours)
    return pale + np.random.default_rng(0).normal(0, 5, bgr.shape)


def _autumn(bgr):
    brown = bgr.astype(np.float32)
    brown[90:, :, 2] *= 1.6
    return brown.clip(0, 255)


@pytest.mark.parametrize(
    "changed",
    [_fisheye, _below_trees, _sky_exposed_too_long, _pale_road_below_a_blue_sky, _autumn],
)
def test_a_clear_day_however_it_looks(changed):
    frame = image(changed(simulated("day", "clear").image.bgr))
    assert told(ImageStatistics(), frame).names == {"day"}


def test_those_days_would_mislead_a_single_statistic():
    bgr = simulated("day", "clear").image.bgr
    seen = [ImageStatistics().of(image(f(bgr))) for f in (_fisheye, _below_trees)]
    assert all(item["sky"] < 78.0 for item in seen)
    pale = ImageStatistics().of(image(_pale_road_below_a_blue_sky(bgr)))
    assert pale["veil"] > 0.42
    assert ImageStatistics().of(image(_sky_exposed_too_long(bgr)))["saturated"] > 0.1


@pytest.mark.parametrize("muddy", [True, False])
def test_mud_that_stays_while_the_scene_moves(muddy):
    rng = np.random.default_rng(4)
    fine, coarse = rng.integers(0, 255, (2, 270, 3000, 3), np.uint8)
    scene = 0.7 * cv2.GaussianBlur(fine, (0, 0), 1.2).astype(np.float32) - 70.0
    scene += 10.0 * cv2.GaussianBlur(coarse, (0, 0), 25).astype(np.float32) - 1150.0
    smooth = cv2.GaussianBlur(scene, (0, 0), 20)
    noise = rng.normal(0, 2, (270, 560, 3)).astype(np.float32)
    statistics = ImageStatistics()
    mask = np.zeros((270, 480, 1), np.float32)
    for centre in ((90, 150), (330, 200), (210, 230)):
        mask = cv2.circle(mask, centre, 55, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 4)[..., None]
    for step in range(60):
        here = slice(step * 40, step * 40 + 480)
        seen = scene[:, here]
        if muddy:
            seen = seen * (1 - mask) + 0.6 * smooth[:, here] * mask
        frame = image((seen + noise[:, step : step + 480]).clip(0, 255))
        scores = statistics.scores(statistics.of(frame, AT_ROOF))
    assert (scores["dirty_lens"] > 0.6) is muddy, statistics.of(frame, AT_ROOF)


@cache
def passed(dirty=0.0, wet=0.0):
    """What the statistics say at the end of a simulated drive of 11 s, and their scores."""
    seed = 3
    drawn = random_scenario(
        seed, camera=Camera(width=480, height=270, dirty_lens=dirty, wet_lens=wet)
    )
    scenario = dataclasses.replace(
        drawn, light="day", weather="clear", sounds=(), sensors=("camera",), ego_speed_mps=8.0
    )
    world, statistics = World(scenario, seed), ImageStatistics()
    for step in range(55):
        frame = generate_frame(scenario, seed, 0.2 * step, world=world)
        seen = statistics.of(frame.image, AT_ROOF)
    return seen, statistics.scores(seen)


def test_dirt_of_the_simulator_stays_dark_while_the_scene_moves():
    assert passed(dirty=0.4)[1]["dirty_lens"] > 0.9
    assert passed()[1]["dirty_lens"] < 0.1
    assert passed(dirty=0.4)[0]["shaded"] > 0.15


def test_a_standing_vehicle_does_not_take_a_wall_for_dirt():
    rng, statistics = np.random.default_rng(5), ImageStatistics()
    wall = cv2.GaussianBlur(rng.integers(0, 255, (270, 480, 3), np.uint8), (0, 0), 1.2)
    wall[120:, 150:300] = 128
    noise = rng.normal(0, 4, (270, 560, 3))
    for step in range(80):
        frame = image((wall + noise[:, step : step + 480]).clip(0, 255))
        scores = statistics.scores(statistics.of(frame, AT_ROOF))
    assert np.isnan(scores["dirty_lens"])


def _with_flakes(cloud, share, rng):
    """Near and dim echoes of single beams instead of those of what is behind."""
    xyz, intensity = cloud.xyz_m.copy(), cloud.intensity.copy()
    ranges = np.linalg.norm(xyz, axis=1)
    near = rng.exponential(6.0, len(xyz)) + 1.5
    hit = (rng.random(len(xyz)) < share) & (near < 0.6 * ranges)
    xyz[hit] *= (near[hit] / ranges[hit])[:, None]
    intensity[hit] = 0.008
    return dataclasses.replace(cloud, xyz_m=xyz.astype(np.float32), intensity=intensity)


def test_snow_is_many_single_echoes_with_the_distance_still_there():
    cloud = simulated("day", "clear").cloud
    flakes = _with_flakes(cloud, 0.10, np.random.default_rng(1))
    assert told(SweepStatistics(), flakes).names == {"snow"}
    assert told(SweepStatistics(), cloud).names == frozenset()


def test_points_without_the_order_of_beams_or_intensity_leave_rain_unknown():
    cloud = simulated("dusk", "rain").cloud
    order = np.random.default_rng(0).permutation(len(cloud.xyz_m))
    shuffled = dataclasses.replace(
        cloud, xyz_m=cloud.xyz_m[order], intensity=cloud.intensity[order]
    )
    for unknown in (shuffled, dataclasses.replace(cloud, intensity=None)):
        assert not {"rain", "snow"} & set(told(SweepStatistics(), unknown).known)


@pytest.mark.parametrize("filled_in", [0.0, 1.0])
def test_an_intensity_that_is_filled_in_tells_of_no_weather(filled_in):
    cloud = simulated("dusk", "rain").cloud
    constant = np.full(len(cloud.xyz_m), filled_in, np.float32)
    both = told(SweepStatistics(), dataclasses.replace(cloud, intensity=constant))
    assert not {"rain", "snow", "fog"} & set(both.known)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_courtyard_of_dark_walls_is_no_fog(ordered):
    cloud, rng = _tunnel(), np.random.default_rng(2)
    low = cloud.xyz_m[(cloud.xyz_m[:, 2] < 2.0) & (np.abs(cloud.xyz_m[:, 0]) < 25.0)]
    xyz = low if ordered else rng.permutation(low)
    dim = np.where(rng.random(len(xyz)) < 0.6, 0.02, 0.09).astype(np.float32)
    yard = dataclasses.replace(cloud, xyz_m=xyz, intensity=dim)
    assert told(SweepStatistics(), yard).names == frozenset()


def test_branches_above_the_road_are_no_tunnel():
    cloud, rng = _tunnel(), np.random.default_rng(3)
    above = cloud.xyz_m[:, 2] > 2.9
    xyz = cloud.xyz_m.copy()
    xyz[above] *= rng.uniform(0.6, 1.6, (above.sum(), 1)).astype(np.float32)
    assert told(SweepStatistics(), dataclasses.replace(cloud, xyz_m=xyz)).names == frozenset()


def _tunnel():
    """Walls 5 m beside, a ceiling 5 m above the road, 64 beams from 1.86 m."""
    azimuth, elevation = np.meshgrid(
        np.linspace(-np.pi, np.pi, 900), np.radians(np.linspace(-20, 15, 64)), indexing="ij"
    )
    ray = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    ).reshape(-1, 3)
    with np.errstate(divide="ignore"):
        wall = 5.0 / np.abs(ray[:, 1])
        flat = np.where(ray[:, 2] > 0, 3.14 / ray[:, 2], -1.86 / ray[:, 2])
    ranges = np.minimum(np.minimum(wall, np.abs(flat)), 120.0)
    xyz = (ray * ranges[:, None]).astype(np.float32)
    return PointCloud(
        stamp_ns=1, frame_id="", xyz_m=xyz, intensity=np.full(len(xyz), 0.1, np.float32)
    )


def test_a_tunnel_has_something_above_the_road():
    assert told(SweepStatistics(), _tunnel()).names == {"tunnel"}


def test_real_frames_of_a_clear_day():
    folders = sorted(PANDASET.glob("0*"))
    if not folders:
        pytest.skip(f"{PANDASET}: no recorded frames (EDGE_PERCEPTION_DATA)")
    for folder in folders:
        for jpeg in sorted(folder.glob("*.jpg")):
            data = np.load(jpeg.with_suffix(".npz"))
            intensity = data["intensity"].astype(np.float32) / 255.0
            cloud = PointCloud(
                stamp_ns=1,
                frame_id="",
                xyz_m=data["xyz_cm"].astype(np.float32) / 100.0,
                intensity=intensity,
            )
            assert told(ImageStatistics(), image(cv2.imread(str(jpeg)))).names == {"day"}
            assert told(SweepStatistics(), cloud).names == frozenset()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 900), (900, 3), (48, 64), (31, 5000)])
@pytest.mark.filterwarnings("error")
def test_images_of_any_size(size):
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    statistics = ImageStatistics()
    for _ in range(60):
        scores = statistics.scores(statistics.of(image(noise), AT_ROOF))
    assert all(0.0 <= score <= 1.0 or score != score for score in scores.values())


@pytest.mark.parametrize("points", [0, 1, 15, 16, 17, 300])
@pytest.mark.filterwarnings("error")
def test_sweeps_of_any_size(points):
    cloud = PointCloud(stamp_ns=1, frame_id="", xyz_m=np.zeros((points, 3), np.float32))
    statistics = SweepStatistics()
    scores = statistics.scores(statistics.of(cloud, AT_ROOF))
    assert all(0.0 <= score <= 1.0 or score != score for score in scores.values())


# -- over time --


def test_a_condition_begins_and_ends_late_and_single_frames_change_nothing():
    state, held = ConditionState(), []
    scores = [0.0] * 20 + [1.0] + [0.0] * 20 + [1.0] * 40 + [0.0] + [1.0] * 10 + [0.0] * 60
    for step, score in enumerate(scores):
        state.step({"fog": score}, 100 * S + step * S // 5)
        held.append("fog" in state.now)
    assert not any(held[:45])
    assert all(held[55:92])
    assert held.count(True) == np.flatnonzero(held)[-1] - np.flatnonzero(held)[0] + 1
    assert not any(held[120:])


def test_one_light_holds_and_a_gap_forgets_it():
    state = ConditionState()
    for step in range(50):
        flicker = 0.45 if step % 2 else 0.55
        state.step({"day": flicker, "dusk": 1 - flicker, "night": 0.0}, step * S // 5 + S)
    assert state.now.light == "day"
    for step in range(50):
        state.step({"day": 0.0, "dusk": 0.0, "night": 1.0}, step * S // 5 + 11 * S)
    assert state.now.light == "night"
    state.step({"fog": float("nan")}, 100 * S)
    assert state.now == NOT_KNOWN


def test_not_known_is_not_absent_and_the_surest_source_counts():
    camera = Conditions(holding=(("day", 0.9), ("fog", 0.7)), known=("day", "dusk", "night", "fog"))
    lidar = Conditions(holding=(("fog", 0.9),), known=("fog", "rain"))
    both = joined([camera, lidar, NOT_KNOWN])
    assert both.holding == (("day", 0.9), ("fog", 0.9))
    assert both.known == ("day", "dusk", "night", "rain", "fog")
    assert "tunnel" not in both
    assert "tunnel" not in both.known
    two = joined([camera, Conditions(holding=(("night", 0.95),), known=("night",))])
    assert two.light == "night"
    assert NOT_KNOWN.text == "not known"


def test_conditions_on_the_wire():
    said = Conditions(holding=(("night", 0.5), ("rain", 0.75)), known=("night", "rain", "fog"))
    values = as_array(said)
    assert np.isnan(values).sum() == len(CONDITIONS) - 3
    assert from_array(values) == said
    for broken in (values[:3], values.astype(np.float64), values * 2, values - np.inf):
        with pytest.raises(InvalidFrameError, match="conditions"):
            from_array(broken)
