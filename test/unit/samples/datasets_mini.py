"""KITTI, nuScenes and PandaSet in miniature: one car, seen again and again, in published folders.

Files are made from the scene by the formulas of the data sets' papers and development kits, and
not by code of the package.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

NS = 1_000_000_000
FRAMES = 4
WIDTH, HEIGHT = 128, 96
K = np.array([[90.0, 0, 63.5], [0, 90.0, 47.5], [0, 0, 1]])
CENTER, SIZE, YAW = np.array([14.0, 2.5, 0.8]), (4.2, 1.8, 1.6), 0.4  # base frame
PER_FRAME_M = 0.5  # the vehicle drives ahead, the car with it
INSIDE = 40
START_NS = 1_500_000_000 * NS
AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # base axes to optical axes


def pose(xyz=(0.0, 0.0, 0.0), euler_deg=(0.0, 0.0, 0.0)):
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", euler_deg, degrees=True).as_matrix()
    T[:3, 3] = xyz
    return T


def optical(T):
    """Return the optical frame of a camera whose body is at T."""
    turned = T.copy()
    turned[:3, :3] = T[:3, :3] @ AXES.T
    return turned


def moved(T, points):
    return points @ T[:3, :3].T + T[:3, 3]


def scene_points(seed=0):
    """Return points in the base frame: some inside the car, some on the road around it."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform(-0.45, 0.45, (INSIDE, 3)) * SIZE
    inside = moved(pose(CENTER, (0, 0, np.degrees(YAW))), inside)
    road = rng.uniform((-20, -15, -0.05), (45, 15, 0.05), (400, 3))
    near = np.abs(road[:, :2] - CENTER[:2]).max(axis=1) < 5
    return np.concatenate([inside, road[~near]])


def picture(path: Path, index: int) -> Path:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(rows / (5 + k) + columns / (7 - k) + index) for k in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (128 + 90 * np.stack(waves, -1)).astype(np.uint8))
    return path


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def numbers(values) -> str:
    return " ".join(f"{value:.9e}" for value in np.asarray(values, np.float64).reshape(-1))


@dataclass
class Expected:
    """What a converted recording has to say."""

    T_base_camera: np.ndarray
    T_base_lidar: np.ndarray
    lidar_stamps_ns: list
    odometry: bool = True


# -- KITTI --

VELO = pose((0, 0, 1.73))
# The camera sits ahead of the Velodyne and a little turned.
T_VELO_CAM0 = optical(pose((0.27, 0.05, -0.08), (0.5, -0.4, 0.3)))
R_RECT = Rotation.from_euler("xyz", (0.3, -0.2, 0.4), degrees=True).as_matrix()
OFFSET = np.array([-0.06, 0.0002, 0.003])  # camera 2 against camera 0, rectified frame


def kitti_calibration():
    T_cam0_velo = np.linalg.inv(T_VELO_CAM0)
    T_rect_velo = np.eye(4)
    T_rect_velo[:3, :3] = R_RECT
    T_rect_velo = T_rect_velo @ T_cam0_velo
    P2 = np.hstack([K, (K @ -OFFSET)[:, None]])
    T_rect_cam2 = pose(OFFSET)
    return T_cam0_velo, T_rect_velo, P2, VELO @ np.linalg.inv(T_rect_velo) @ T_rect_cam2


def kitti_sweep(path: Path, seed: int) -> None:
    xyz = moved(np.linalg.inv(VELO), scene_points(seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.hstack([xyz, np.full((len(xyz), 1), 0.3)]).astype("<f4").tofile(path)


def kitti_object(folder: Path) -> Expected:
    T_cam0_velo, T_rect_velo, P2, T_base_camera = kitti_calibration()
    T_rect_base = T_rect_velo @ np.linalg.inv(VELO)
    length, width, height = SIZE
    center = moved(T_rect_base, CENTER)
    ahead = T_rect_base[:3, :3] @ (np.cos(YAW), np.sin(YAW), 0.0)
    turn = np.arctan2(-ahead[2], ahead[0])
    label = (
        f"Car 0.00 0 0.10 10 20 30 40 {height} {width} {length} "
        f"{center[0]:.6f} {center[1] + height / 2:.6f} {center[2]:.6f} {turn:.6f}\n"
        "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    for index in range(FRAMES):
        name = f"{index:06d}"
        training = folder / "training"
        picture(training / "image_2" / f"{name}.png", index)
        kitti_sweep(training / "velodyne" / f"{name}.bin", index)
        text(training / "label_2" / f"{name}.txt", label)
        text(
            training / "calib" / f"{name}.txt",
            f"P0: {numbers(np.hstack([K, np.zeros((3, 1))]))}\nP2: {numbers(P2)}\n"
            f"R0_rect: {numbers(R_RECT)}\nTr_velo_to_cam: {numbers(T_cam0_velo[:3])}\n\n",
        )
    stamps = [1_317_000_000 * NS + index * NS // 10 for index in range(FRAMES)]
    return Expected(T_base_camera, VELO, stamps, odometry=False)


def kitti_raw(folder: Path, drive: str = "2011_09_26_drive_0001_sync") -> Expected:
    T_cam0_velo, _, P2, T_base_camera = kitti_calibration()
    day = folder / "2011_09_26"
    text(
        day / "calib_cam_to_cam.txt",
        f"calib_time: 09-Jan-2012 13:57:47\nR_rect_00: {numbers(R_RECT)}\n"
        f"P_rect_02: {numbers(P2)}\n",
    )
    text(
        day / "calib_velo_to_cam.txt",
        f"calib_time: 15-Mar-2012 11:37:16\nR: {numbers(T_cam0_velo[:3, :3])}\n"
        f"T: {numbers(T_cam0_velo[:3, 3])}\n",
    )
    text(
        day / "calib_imu_to_velo.txt", f"R: {numbers(np.eye(3))}\nT: {numbers((-0.8, 0.3, -0.8))}\n"
    )
    stamps, poses = [], ""
    length, width, height = SIZE
    velo = moved(np.linalg.inv(VELO), CENTER)
    root = day / drive
    for index in range(FRAMES):
        picture(root / "image_02" / "data" / f"{index:010d}.png", index)
        kitti_sweep(root / "velodyne_points" / "data" / f"{index:010d}.bin", index)
        east_deg = np.degrees(index * PER_FRAME_M / (6378137.0 * np.cos(np.radians(49.0))))
        text(
            root / "oxts" / "data" / f"{index:010d}.txt",
            f"49.0 {8.4 + east_deg:.12f} 112.0 0 0 0 " + "0 " * 24,
        )
        stamps.append(f"2011-09-26 13:02:{25 + index / 10:012.9f}")
        poses += (
            f"<item><tx>{velo[0]}</tx><ty>{velo[1]}</ty><tz>{velo[2] - height / 2}</tz>"
            f"<rx>0</rx><ry>0</ry><rz>{YAW}</rz></item>"
        )
    for sensor in ("image_02", "velodyne_points", "oxts"):
        text(root / sensor / "timestamps.txt", "\n".join(stamps) + "\n")
    text(
        root / "tracklet_labels.xml",
        '<?xml version="1.0"?><boost_serialization><tracklets><count>1</count><item_version>1'
        f"</item_version><item><objectType>Car</objectType><h>{height}</h><w>{width}</w>"
        f"<l>{length}</l><first_frame>0</first_frame><poses><count>{FRAMES}</count>{poses}"
        "</poses></item></tracklets></boost_serialization>",
    )
    start_ns = 1_317_042_145 * NS  # 2011-09-26 13:02:25 UTC
    return Expected(T_base_camera, VELO, [start_ns + i * NS // 10 for i in range(FRAMES)])


# -- nuScenes --


def wxyz(T):
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    return [w, x, y, z]


def nuscenes(folder: Path) -> Expected:
    T_camera = optical(pose((1.7, 0.02, 1.5), (0.4, 0.6, -0.3)))
    T_lidar = pose((0.94, 0.0, 1.84), (0.5, -0.3, -89.9))  # x to the right, y ahead
    T_global_first = pose((411.0, 1181.0, 0.0), (0.2, -0.1, 100.0))
    tables = {
        "scene": [{"token": "s1", "name": "scene-0061"}, {"token": "s2", "name": "scene-0103"}],
        "sensor": [
            {"token": "c", "channel": "CAM_FRONT"}, {"token": "l", "channel": "LIDAR_TOP"},
            {"token": "r", "channel": "RADAR_FRONT"},
        ],
        "calibrated_sensor": [
            {"token": "cc", "sensor_token": "c", "translation": T_camera[:3, 3].tolist(),
             "rotation": wxyz(T_camera), "camera_intrinsic": K.tolist()},
            {"token": "cl", "sensor_token": "l", "translation": T_lidar[:3, 3].tolist(),
             "rotation": wxyz(T_lidar), "camera_intrinsic": []},
            {"token": "cr", "sensor_token": "r", "translation": [0, 0, 0],
             "rotation": [1, 0, 0, 0], "camera_intrinsic": []},
        ],
        "category": [{"token": "car", "name": "vehicle.car"}],
        "instance": [{"token": "i", "category_token": "car"}],
        "sample": [], "sample_data": [], "ego_pose": [], "sample_annotation": [],
    }  # fmt: skip
    stamps = []
    for index in range(FRAMES):
        T = T_global_first @ pose((index * PER_FRAME_M, 0, 0))
        stamp_us = START_NS // 1000 + index * 50_000
        stamps.append(stamp_us * 1000)
        key = index % 2 == 0
        sample = f"sample{index // 2}"
        place = "samples" if key else "sweeps"
        if key:
            tables["sample"].append({"token": sample, "scene_token": "s1"})
            box = T @ pose(CENTER, (0, 0, np.degrees(YAW)))
            length, width, height = SIZE
            tables["sample_annotation"].append(
                {"token": f"a{index}", "sample_token": sample, "instance_token": "i",
                 "translation": box[:3, 3].tolist(), "rotation": wxyz(box),
                 "size": [width, length, height], "num_lidar_pts": INSIDE}
            )  # fmt: skip
        for channel, calibrated, shift_us, suffix in (
            ("LIDAR_TOP", "cl", 0, "pcd.bin"), ("CAM_FRONT", "cc", -30_000, "jpg"),
        ):  # fmt: skip
            file = f"{place}/{channel}/n__{channel}__{stamp_us}.{suffix}"
            tables["ego_pose"].append(
                {
                    "token": f"e{index}{channel}",
                    "translation": T[:3, 3].tolist(),
                    "rotation": wxyz(T),
                }
            )
            tables["sample_data"].append(
                {"token": f"d{index}{channel}", "sample_token": sample,
                 "ego_pose_token": f"e{index}{channel}", "calibrated_sensor_token": calibrated,
                 "timestamp": stamp_us + shift_us, "is_key_frame": key, "filename": file,
                 "width": WIDTH if suffix == "jpg" else 0,
                 "height": HEIGHT if suffix == "jpg" else 0}
            )  # fmt: skip
            if suffix == "jpg":
                picture(folder / file, index)
            else:
                xyz = moved(np.linalg.inv(T_lidar), scene_points(index))
                rest = np.tile([30.0, 7.0], (len(xyz), 1))
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                np.hstack([xyz, rest]).astype("<f4").tofile(folder / file)
    for name, rows in tables.items():
        text(folder / "v1.0-mini" / f"{name}.json", json.dumps(rows))
    return Expected(T_camera, T_lidar, stamps)


# -- PandaSet --

ITS = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # from REP-103


def place(T):
    w, x, y, z = wxyz(T)
    px, py, pz = T[:3, 3].tolist()
    return {"position": {"x": px, "y": py, "z": pz}, "heading": {"w": w, "x": x, "y": y, "z": z}}


def pandaset(folder: Path, name: str = "001") -> Expected:
    root, length_width_height = folder / name, SIZE
    T_camera = optical(pose((0.4, -0.02, 1.6), (0.2, 0.5, -0.6)))
    world = pose((120.0, -40.0, 3.0), (0.1, 0.2, 60.0))
    lidar_poses, camera_poses, stamps = [], [], []
    for index in range(FRAMES):
        T = world @ pose((index * PER_FRAME_M, 0, 0))  # of our base frame
        at_s = START_NS / NS + index / 10
        stamps.append(at_s)
        lidar_poses.append(place(T @ np.linalg.inv(ITS)))
        camera_poses.append(place(T @ T_camera))
        xyz = moved(T, scene_points(index))
        other = moved(T, scene_points(index)[:20] + 0.01)  # the second LiDAR
        rows = np.concatenate([xyz, other])
        table(
            root / "lidar" / f"{index:02d}.pkl",
            {
                "x": rows[:, 0], "y": rows[:, 1], "z": rows[:, 2], "i": np.full(len(rows), 9.0),
                "t": at_s - np.linspace(0.1, 0.0, len(rows)),
                "d": np.array([0] * len(xyz) + [1] * len(other)),
            },
        )  # fmt: skip
        ahead = T[:3, :3] @ (np.cos(YAW), np.sin(YAW), 0.0)
        center = moved(T, CENTER)
        length, width, height = length_width_height
        yaw = np.arctan2(-ahead[0], ahead[1])
        cuboids = {
            "label": np.array(["Car", "Car"], object), "yaw": np.array([yaw, yaw]),
            "cuboids.sensor_id": np.array([-1, 1]),
        }  # fmt: skip
        for axis, value in zip("xyz", center, strict=True):
            cuboids[f"position.{axis}"] = np.array([value, value])
        for axis, value in zip("xyz", (width, length, height), strict=True):
            cuboids[f"dimensions.{axis}"] = np.array([value, value])
        table(root / "annotations" / "cuboids" / f"{index:02d}.pkl", cuboids)
        picture(root / "camera" / "front_camera" / f"{index:02d}.jpg", index)
    text(root / "lidar" / "poses.json", json.dumps(lidar_poses))
    text(root / "lidar" / "timestamps.json", json.dumps(stamps))
    text(root / "camera" / "front_camera" / "poses.json", json.dumps(camera_poses))
    text(root / "camera" / "front_camera" / "timestamps.json", json.dumps(stamps))
    text(
        root / "camera" / "front_camera" / "intrinsics.json",
        json.dumps({"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}),
    )
    return Expected(T_camera, np.eye(4), [round(s * NS) for s in stamps])


def table(path: Path, columns: dict) -> None:
    """Pickle columns as pandas 2 does, which is not installed: by the names of its parts."""
    modules = {}

    def stand_in(module, name, kind=type):
        modules.setdefault(module, types.ModuleType(module))
        made = type(name, (), {}) if kind is type else (lambda *parts: None)
        made.__module__, made.__name__, made.__qualname__ = module, name, name
        setattr(modules[module], name, made)
        return made

    frame = stand_in("pandas.core.frame", "DataFrame")
    manager = stand_in("pandas.core.internals.managers", "BlockManager")
    index = stand_in("pandas.core.indexes.base", "Index")
    new_index = stand_in("pandas.core.indexes.base", "_new_Index", None)
    block = stand_in("pandas._libs.internals", "_unpickle_block", None)
    names = np.array(list(columns), object)
    count = len(next(iter(columns.values())))

    class Made:
        def __init__(self, *reduced):
            self.reduced = reduced

        def __reduce__(self):
            return self.reduced

    axes = [
        Made(new_index, (index, {"data": names, "name": None})),
        Made(new_index, (index, {"data": np.arange(count), "name": None})),
    ]
    blocks = tuple(
        Made(block, (np.asarray(values)[None], slice(place, place + 1), 2))
        for place, values in enumerate(columns.values())
    )
    state = {"_mgr": Made(manager, (blocks, axes)), "_typ": "dataframe", "attrs": {}}
    whole = Made(frame, (), state)
    for name in list(modules):
        parents = name.split(".")
        for end in range(1, len(parents)):
            modules.setdefault(".".join(parents[:end]), types.ModuleType("pandas"))
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(pickle.dumps(whole, protocol=4))
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


MAKERS = {
    "kitti_object": ("kitti", kitti_object),
    "kitti_raw": ("kitti", kitti_raw),
    "nuscenes": ("nuscenes", nuscenes),
    "pandaset": ("pandaset", pandaset),
}
