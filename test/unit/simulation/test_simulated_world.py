import numpy as np
import pytest

from edge_perception.simulation.bodies import CLASSES, build_body
from edge_perception.simulation.ground import draw_ground
from edge_perception.simulation.scenario import Actors, Emergency, Scenario, random_scenario
from edge_perception.simulation.scenario_file import load_scenario
from edge_perception.simulation.solids import FACES, from_parts
from edge_perception.simulation.world import World


def test_the_same_seed_gives_the_same_scene_and_another_seed_another():
    scenario = load_scenario("intersection")
    first, again, other = (World(scenario, seed).at(1.5) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.solids.vertices_m, again.solids.vertices_m)
    assert first.actors == again.actors
    assert [a.box.center_m for a in first.actors] != [a.box.center_m for a in other.actors]


@pytest.mark.parametrize("class_name", CLASSES)
def test_bodies_fit_and_fill_their_box(class_name):
    rng = np.random.default_rng(2)
    for _ in range(20):
        size, parts = build_body(class_name, rng)
        vertices = from_parts(parts, [0] * len(parts)).vertices_m.reshape(-1, 3)
        half = np.array(size[:2]) / 2
        # Mirrors stand out a little, as they do over labelled widths.
        assert (np.abs(vertices[:, :2]) <= half + 0.15).all()
        assert vertices[:, 2].min() == pytest.approx(0.0, abs=0.01)
        assert vertices[:, 2].max() == pytest.approx(size[2], abs=0.02)
        assert np.ptp(vertices[:, 0]) > 0.45 * size[0]
        assert np.ptp(vertices[:, 1]) > 0.6 * size[1]


def test_planes_of_tapered_boxes_have_all_corners_inside():
    rng = np.random.default_rng(1)
    parts = [part for _ in range(30) for part in build_body("car", rng)[1]]
    solids = from_parts(parts, [0] * len(parts))
    normals, offsets = solids.planes()
    distance = np.einsum("nfk,nvk->nfv", normals, solids.vertices_m) - offsets[..., None]
    assert distance.max() < 1e-3
    assert FACES.shape == (6, 4)


def test_actors_do_not_overlap_at_the_start():
    for seed in range(5):
        actors = World(load_scenario("crowded_crossing"), seed).actors
        for i, a in enumerate(actors):
            for b in actors[i + 1 :]:
                gap = np.hypot(a.x_m - b.x_m, a.y_m - b.y_m)
                assert gap > 0.4 * min(a.size_m[1] + b.size_m[1], 2.0)


def test_vehicles_keep_to_the_direction_of_their_side():
    scenario = Scenario(name="x", layout="road", ego_speed_mps=8.0, actors=Actors(car=(40, 40)))
    moving = [a for s in range(4) for a in World(scenario, s).actors
              if a.class_name == "car" and a.speed_mps > 0]  # fmt: skip
    assert len(moving) > 20
    for seed in range(4):
        world = World(scenario, seed)
        middle = world.layout.main.centre_m
        for actor in world.actors:
            if actor.class_name == "car" and actor.speed_mps > 0:
                assert (actor.y_m < middle) == (np.cos(actor.yaw_rad) > 0)


def test_motion_follows_the_velocity_seen_from_the_moving_vehicle():
    scenario = Scenario(name="x", layout="road", ego_speed_mps=6.0)
    world = World(scenario, 11)
    before, after = world.at(1.0), world.at(1.5)
    assert any(a.box.velocity_mps[0] != 0 for a in before.actors)
    for a, b in zip(before.actors, after.actors, strict=True):
        moved = np.subtract(b.box.center_m, a.box.center_m)[:2] + np.array([3.0, 0.0])
        np.testing.assert_allclose(moved, 0.5 * np.array(a.box.velocity_mps[:2]), atol=1e-4)


@pytest.mark.parametrize(
    ("direction", "bearing"), [("behind", np.pi), ("ahead", 0.0), ("left", 1.57), ("right", -1.57)]
)
def test_the_emergency_vehicle_starts_where_the_scenario_says(direction, bearing):
    scenario = Scenario(name="x", layout="road", emergency=Emergency(direction=direction))
    vehicle = [a for a in World(scenario, 1).at(0.0).actors if a.emergency]
    assert len(vehicle) == 1
    x, y, _ = vehicle[0].box.center_m
    assert np.cos(np.arctan2(y, x) - bearing) > 0.9
    assert np.hypot(x, y) == pytest.approx(40.0, abs=4.0)


def test_the_ground_touches_the_base_frame_and_rolls_away_gently():
    for seed in range(6):
        ground = draw_ground(np.random.default_rng(seed)).seen_from(20.0, 0.0, 0.3)
        assert ground.height(np.float32(0), np.float32(0)) == pytest.approx(0.0, abs=1e-6)
        x = np.linspace(-50, 50, 101, dtype=np.float32)
        heights = ground.height(x, np.zeros_like(x))
        assert np.abs(np.diff(heights)).max() < 0.25
        assert np.abs(heights[40:61]).max() < 1.0
    flat = draw_ground(np.random.default_rng(0), roughness=0.0)
    assert np.abs(flat.height(x, x)).max() == 0.0


def test_where_things_stand_does_not_depend_on_when_it_is_asked():
    world = World(random_scenario(4), 4)
    late = world.at(2.0)
    world.at(0.3)
    np.testing.assert_array_equal(late.solids.vertices_m, world.at(2.0).solids.vertices_m)


@pytest.mark.parametrize(
    "name", ["horn_traffic", "siren_crossing", "intersection", "straight_road"]
)
def test_nobody_drives_through_the_ego_vehicle(name):
    for seed in range(6):
        world = World(load_scenario(name), seed)
        assert len(world.actors) > 8
        for t_s in np.arange(0.0, 8.0, 0.5):
            for actor in world.at(float(t_s)).actors:
                x, y, _ = actor.box.center_m
                assert abs(x - 1.4) > 2.4 or abs(y) > 1.2


def test_the_occluded_pedestrian_comes_out_from_behind_the_truck():
    scenario = load_scenario("occluded_pedestrian")
    for seed in range(8):
        world = World(scenario, seed)
        truck, walker = world.actors[0], world.actors[1]
        assert (truck.class_name, walker.class_name) == ("truck", "pedestrian")
        start = np.arctan2(walker.y_m, walker.x_m - 0.6)
        # The line of sight from the camera to the pedestrian passes through the truck at first.
        crossing = np.tan(start) * (truck.x_m + 0.5 * truck.size_m[0] - 0.6)
        assert abs(crossing - truck.y_m) < 0.5 * truck.size_m[1]
        assert min(abs(walker.at(t)[1]) for t in np.arange(0, 8, 0.25)) < 0.3
