"""What a simulated drive contains: a frozen configuration, valid by construction."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from edge_perception.core.errors import ConfigurationError
from edge_perception.simulation.seeding import stream

WEATHERS = ("clear", "fog", "rain")
LIGHTS = ("day", "dusk", "night")
LAYOUTS = ("intersection", "road")
SENSORS = ("camera", "lidar", "audio")
LIDARS = ("pandar64", "spinning16", "spinning32", "spinning64", "spinning128")
SIRENS = ("wail", "yelp", "hi_lo")
DIRECTIONS = ("behind", "ahead", "left", "right")
WAITING_MPS = 0.5  # slower than this the ego vehicle counts as waiting
SOUNDS = ("horn", "engine", "speech", "street", "rain")


@dataclass(frozen=True, kw_only=True)
class Actors:
    """How many road users of each class are drawn within 80 m, inclusive."""

    car: tuple[int, int] = (8, 30)
    truck: tuple[int, int] = (0, 3)
    bus: tuple[int, int] = (0, 1)
    pedestrian: tuple[int, int] = (0, 10)
    cyclist: tuple[int, int] = (0, 4)


@dataclass(frozen=True, kw_only=True)
class Emergency:
    """One emergency vehicle with its siren."""

    direction: str = "behind"  # one of DIRECTIONS
    siren: str = "wail"  # one of SIRENS
    distance_m: float = 40.0
    speed_mps: float = 12.0


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera; its optical axis is level and, by default, along +x of the base frame."""

    width: int = 960
    height: int = 540
    horizontal_fov_deg: float = 52.0
    position_m: tuple[float, float, float] = (0.6, 0.0, 1.8)
    yaw_deg: float = 0.0  # of the optical axis about +z, to the left
    dirty_lens: float = 0.0  # share of the view that dirt on the lens covers, 0 to 1
    wet_lens: float = 0.0  # share of it that drops cover, 0 to 1
    name: str = "camera"  # of its source


@dataclass(frozen=True, kw_only=True)
class Lidar:
    """A LiDAR, by default the one on the roof; level, x forward."""

    model: str = "pandar64"  # one of LIDARS
    position_m: tuple[float, float, float] = (0.66, 0.0, 1.86)
    dropout: float = 0.0  # extra share of returns lost, 0 to 1
    name: str = "lidar"  # of its source


@dataclass(frozen=True, kw_only=True)
class Microphones:
    """Microphones on the roof, base frame; by default a square, which hears all around."""

    positions_m: tuple[tuple[float, float, float], ...] = (
        (0.07, 0.07, 1.6), (0.07, -0.07, 1.6), (-0.07, 0.07, 1.6), (-0.07, -0.07, 1.6),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A sensor that delivers nothing from `start_s` until `end_s`."""

    sensor: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of drive; together with a seed it fixes every number of the simulation."""

    name: str
    description: str = ""
    weather: str = "clear"  # one of WEATHERS
    light: str = "day"  # one of LIGHTS
    layout: str = "intersection"  # one of LAYOUTS
    ego_speed_mps: float = 6.0
    occlusion: bool = False  # a pedestrian steps out from behind a parked van
    actors: Actors = field(default_factory=Actors)
    emergency: Emergency | None = None
    sounds: tuple[str, ...] = ("engine", "street")  # of SOUNDS
    sensors: tuple[str, ...] = SENSORS
    camera: Camera = field(default_factory=Camera)
    lidar: Lidar = field(default_factory=Lidar)
    more_cameras: tuple[Camera, ...] = ()  # beside `camera`, each with a name of its own
    more_lidars: tuple[Lidar, ...] = ()  # beside `lidar`
    microphones: Microphones = field(default_factory=Microphones)
    outages: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values outside their set and combinations that contradict each other."""
        _check_values(self)
        _check_rig(self)
        _check_actors(self.actors)
        _check_emergency(self.emergency)
        _check_contradictions(self)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of its LiDARs and cameras."""
        lidars = (self.lidar, *self.more_lidars) if "lidar" in self.sensors else ()
        cameras = (self.camera, *self.more_cameras) if "camera" in self.sensors else ()
        return (*(item.name for item in lidars), *(item.name for item in cameras))


class ScenarioError(ConfigurationError):
    """A field of a scenario is wrong; `where` is its dotted path."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


def _choice(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise ScenarioError(where, f"expects one of {', '.join(known)}, got '{value}'")


def _limits(value: float, low: float, high: float, where: str) -> None:
    if not low <= value <= high:
        raise ScenarioError(where, f"expects {low} to {high}, got {value}")


def _check_values(scenario: Scenario) -> None:
    _choice(scenario.weather, WEATHERS, "weather")
    _choice(scenario.light, LIGHTS, "light")
    _choice(scenario.layout, LAYOUTS, "layout")
    for index, sound in enumerate(scenario.sounds):
        _choice(sound, SOUNDS, f"sounds[{index}]")
    for index, sensor in enumerate(scenario.sensors):
        _choice(sensor, SENSORS, f"sensors[{index}]")
    if not scenario.sensors:
        raise ScenarioError("sensors", f"expects at least one of {', '.join(SENSORS)}, got none")
    _limits(scenario.ego_speed_mps, 0.0, 20.0, "ego_speed_mps")
    positions = scenario.microphones.positions_m
    if not positions:
        raise ScenarioError("microphones.positions_m", "expects at least one position, got none")
    for i, position in enumerate(positions):
        _check_mount(position, f"microphones.positions_m[{i}]")


def _check_rig(scenario: Scenario) -> None:
    _check_camera(scenario.camera, "camera")
    _check_lidar(scenario.lidar, "lidar")
    for i, camera in enumerate(scenario.more_cameras):
        _check_camera(camera, f"more_cameras[{i}]")
    for i, lidar in enumerate(scenario.more_lidars):
        _check_lidar(lidar, f"more_lidars[{i}]")
    taken = set(SENSORS)
    cameras, lidars = scenario.more_cameras, scenario.more_lidars
    named: list[tuple[str, str, str]] = [
        ("camera", "camera.name", scenario.camera.name),
        ("lidar", "lidar.name", scenario.lidar.name),
        *(("camera", f"more_cameras[{i}].name", c.name) for i, c in enumerate(cameras)),
        *(("lidar", f"more_lidars[{i}].name", item.name) for i, item in enumerate(lidars)),
    ]
    for kind, where, name in named:
        # The prefix is what tells an encoder its modality.
        if name != kind and not name.startswith(f"{kind}_"):
            raise ScenarioError(where, f"expects {kind} or {kind}_…, got '{name}'")
        if name in taken and where != f"{kind}.name":
            raise ScenarioError(where, f"'{name}' is the name of another sensor")
        taken.add(name)


def _check_camera(camera: Camera, where: str) -> None:
    _limits(camera.dirty_lens, 0.0, 1.0, f"{where}.dirty_lens")
    _limits(camera.wet_lens, 0.0, 1.0, f"{where}.wet_lens")
    _limits(camera.width, 64, 4096, f"{where}.width")
    _limits(camera.height, 48, 4096, f"{where}.height")
    _limits(camera.horizontal_fov_deg, 10.0, 150.0, f"{where}.horizontal_fov_deg")
    _limits(camera.yaw_deg, -180.0, 180.0, f"{where}.yaw_deg")
    _check_mount(camera.position_m, f"{where}.position_m")


def _check_lidar(lidar: Lidar, where: str) -> None:
    _choice(lidar.model, LIDARS, f"{where}.model")
    _limits(lidar.dropout, 0.0, 1.0, f"{where}.dropout")
    _check_mount(lidar.position_m, f"{where}.position_m")


def _check_mount(position_m: tuple[float, float, float], where: str) -> None:
    x, y, z = position_m
    _limits(x, -10.0, 10.0, f"{where}[0]")
    _limits(y, -3.0, 3.0, f"{where}[1]")
    _limits(z, 0.2, 5.0, f"{where}[2]")


def _check_actors(actors: Actors) -> None:
    for item in fields(actors):
        low, high = getattr(actors, item.name)
        _limits(low, 0, 200, f"actors.{item.name}")
        _limits(high, 0, 200, f"actors.{item.name}")
        if low > high:
            raise ScenarioError(f"actors.{item.name}", f"minimum {low} is above maximum {high}")


def _check_emergency(emergency: Emergency | None) -> None:
    if emergency is None:
        return
    _choice(emergency.direction, DIRECTIONS, "emergency.direction")
    _choice(emergency.siren, SIRENS, "emergency.siren")
    _limits(emergency.distance_m, 5.0, 200.0, "emergency.distance_m")
    _limits(emergency.speed_mps, 0.0, 40.0, "emergency.speed_mps")


def _check_contradictions(scenario: Scenario) -> None:
    if "rain" in scenario.sounds and scenario.weather != "rain":
        raise ScenarioError("sounds", f"has 'rain', but weather is '{scenario.weather}'")
    if scenario.occlusion and scenario.actors.pedestrian[1] == 0:
        raise ScenarioError("occlusion", "needs a pedestrian, but actors.pedestrian is 0")
    for name in ("dirty_lens", "wet_lens"):
        if getattr(scenario.camera, name) > 0 and "camera" not in scenario.sensors:
            raise ScenarioError(f"camera.{name}", "is set, but sensors has no camera")
    if scenario.lidar.dropout > 0 and "lidar" not in scenario.sensors:
        raise ScenarioError("lidar.dropout", "is set, but sensors has no lidar")
    for index, outage in enumerate(scenario.outages):
        name = f"outages[{index}]"
        more = [*(c.name for c in scenario.more_cameras), *(s.name for s in scenario.more_lidars)]
        _choice(outage.sensor, (*SENSORS, *more), f"{name}.sensor")
        if outage.sensor not in (*scenario.sensors, *scenario.sources):
            have = ", ".join(dict.fromkeys((*scenario.sensors, *scenario.sources)))
            raise ScenarioError(f"{name}.sensor", f"'{outage.sensor}' is not in sensors ({have})")
        if not 0.0 <= outage.start_s < outage.end_s:
            span = f"{outage.start_s} and {outage.end_s}"
            raise ScenarioError(f"{name}.end_s", f"expects 0 <= start_s < end_s, got {span}")


def random_scenario(seed: int, *, camera: Camera | None = None) -> Scenario:
    """Return a scenario drawn from everything the simulator can show, for training.

    Args:
        seed: Seed of the draw; the same seed gives the same scenario.
        camera: Camera to use instead of the default one.
    """
    rng = stream(seed, "scenario")
    weather = str(rng.choice(WEATHERS, p=(0.7, 0.15, 0.15)))
    sounds = [s for s in ("horn", "engine", "speech", "street") if rng.random() < 0.4]
    if weather == "rain":
        sounds.append("rain")
    emergency = None
    if rng.random() < 0.35:
        emergency = Emergency(
            direction=str(rng.choice(DIRECTIONS)),
            siren=str(rng.choice(SIRENS)),
            distance_m=float(rng.uniform(8, 80)),
            speed_mps=float(rng.uniform(0, 18)),
        )
    dense = rng.random() < 0.5
    return Scenario(
        name=f"random_{seed}",
        weather=weather,
        light=str(rng.choice(LIGHTS, p=(0.6, 0.2, 0.2))),
        layout=str(rng.choice(LAYOUTS, p=(0.7, 0.3))),
        ego_speed_mps=float(rng.choice([0.0, rng.uniform(1, 14)])),
        actors=Actors(
            car=(20, 60) if dense else (4, 25),
            truck=(0, 4),
            bus=(0, 2),
            pedestrian=(0, 20),
            cyclist=(0, 6),
        ),
        emergency=emergency,
        sounds=tuple(sounds),
        camera=camera or Camera(),
    )
