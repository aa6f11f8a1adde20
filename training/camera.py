"""Train the camera encoder: `python -m training.camera`."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from edge_perception.core.types import DetectedObject
from edge_perception.encoders.camera.lift import ImagePlacement, LiftConfig, lift_grid
from edge_perception.encoders.lidar.preprocess import bin_points
from edge_perception.fusion.geometry import box_corners, image_rectangles, project
from edge_perception.models.adapters.bev_center import BevCenterDecoder, BevCenterOptions
from training.calibrate import calibration
from training.lidar import CONFIG as RASTER
from training.lidar import OUT, pandaset_folder, print_report
from training.loop import Plan, train
from training.metrics import AHEAD, Region, Truth, best_threshold, evaluate_class
from training.nets import CameraNet, PhotoCameraNet, camera_net_of, is_photo
from training.photo import begin_like, photo_stem
from training.pictures import (
    SIZE,
    VIEWS,
    Picture,
    cached_surround,
    cached_view,
    jitter,
    load_pictures,
    shrink,
)
from training.rasters import count_points
from training.samples import CLASSES
from training.simulated import HELD_OUT_SEED
from training.targets import (
    detection_loss,
    image_loss,
    make_image_targets,
    make_targets,
)

LIFT = LiftConfig(heights_m=(0.0, 0.8, 1.6))
SCALE, MEAN = 1.0 / 64.0, (2.0, 2.0, 2.0)  # input = pixel * SCALE - MEAN, BGR
FIRST_SEED = 10_000
HELD_OUT = range(HELD_OUT_SEED + 200, HELD_OUT_SEED + 350)
FRONT_SHARE = 0.6  # of the simulated pictures; the rest look to the sides and to the back
TURNED_SHARE = 0.3  # of all pictures, whose base frame is turned by any angle
FIT_ON = 80  # pictures, where the network before had other first layers
SEEN_POINTS = 1000  # stands for "seen" where a metric asks for LiDAR returns
PLACEMENT = ImagePlacement(size=SIZE)
REACH_M = 40.0  # farther objects are neither wanted nor wrong
REMEMBER = 5.0  # weight of what the image layers are to say of real pictures as before
SPREAD = 1.5  # of the target's peaks: a camera knows directions better than distances


class CameraSamples(Dataset):
    """Augmented pictures; sample i depends on i alone."""

    def __init__(self, *, frames: int, real: Sequence[Picture], real_share: float) -> None:
        self._frames = frames
        self._real = real
        self._real_share = real_share

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        rng = np.random.default_rng([5, index])
        is_real = rng.random() < self._real_share
        if is_real:
            picture = shrink(self._real[rng.integers(len(self._real))], rng)
        else:
            number = int(rng.integers(self._frames))
            picture = training_picture(number, ahead=rng.random() < FRONT_SHARE)
            if rng.random() < 0.4:  # other lenses
                picture = shrink(picture, rng)
        return {**camera_sample(augmented(picture, rng)), "is_real": np.array(is_real)}


def training_picture(number: int, *, ahead: bool = False) -> Picture:
    """Return the picture of a simulated training scene: ahead, or by the one other camera it has.

    More scenes teach more than more pictures of one.
    """
    seed = FIRST_SEED + number
    return cached_view(seed, 0 if ahead else 1 + seed % (VIEWS - 1))


def augmented(picture: Picture, rng: np.random.Generator) -> Picture:
    """Change the look, mirror, and turn the base frame below the camera."""
    picture = replace(picture, bgr=jitter(picture.bgr, rng))
    if rng.random() < 0.5:
        picture = mirrored(picture)
    any_turn = rng.random() < TURNED_SHARE
    turn = rng.uniform(-np.pi, np.pi) if any_turn else rng.normal(0, 0.15)
    c, s = np.cos(turn), np.sin(turn)
    T = np.array([[c, -s, 0, rng.normal(0, 1)], [s, c, 0, rng.normal(0, 1)],
                  [0, 0, 1, rng.normal(0, 0.03)], [0, 0, 0, 1]])  # fmt: skip
    boxes = picture.boxes.copy()
    boxes[:, :3] = boxes[:, :3] @ T[:3, :3].T + T[:3, 3]
    boxes[:, 6] += turn
    geometry = replace(picture.geometry, T_base_sensor=T @ picture.geometry.T_base_sensor)
    return replace(picture, boxes=boxes, geometry=geometry)


def mirrored(picture: Picture) -> Picture:
    """Swap left and right of the image and of the world."""
    width = picture.bgr.shape[1]
    K = np.asarray(picture.geometry.intrinsics).copy()
    K[0, 2] = width - 1 - K[0, 2]
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    boxes = picture.boxes.copy()
    boxes[:, [1, 6, 8]] *= -1
    pose = flip @ picture.geometry.T_base_sensor @ np.diag([-1.0, 1.0, 1.0, 1.0])
    geometry = replace(picture.geometry, intrinsics=K, T_base_sensor=pose)
    bgr = np.ascontiguousarray(picture.bgr[:, ::-1])
    return replace(picture, bgr=bgr, boxes=boxes, geometry=geometry)


def image_tensor(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (3, H, W) of an image that has the network's size."""
    if (bgr.shape[1], bgr.shape[0]) != SIZE:
        bgr = cv2.resize(bgr, SIZE)
    planes = bgr.astype(np.float32).transpose(2, 0, 1) * np.float32(SCALE)
    return np.ascontiguousarray(planes - np.array(MEAN, np.float32)[:, None, None])


def camera_sample(picture: Picture) -> dict[str, NDArray]:
    """Return image, sampling grid and targets; the heatmap counts only where the camera looks."""
    grid = lift_grid(picture.geometry, LIFT, PLACEMENT)[0]
    targets = make_targets(picture.boxes, picture.labels, within_reach(picture), spread=SPREAD)
    rows, columns = LIFT.shape
    seen = (grid[..., 0] > -1.5).reshape(len(LIFT.heights_m), rows, columns).any(axis=0)
    targets["heat_mask"] = targets["heat_mask"] * seen
    targets["box_mask"] = targets["box_mask"] * seen
    return {
        "image": image_tensor(picture.bgr), "grid": grid, **targets, **image_targets(picture),
    }  # fmt: skip


def image_targets(picture: Picture) -> dict[str, NDArray[np.float32]]:
    """Return the targets of the heads on the image, at a quarter of its size."""
    objects = [
        DetectedObject(
            class_name="", score=1.0, center_m=tuple(b[:3]), size_m=tuple(b[3:6]),
            yaw_rad=float(b[6]),
        )
        for b in picture.boxes.astype(float)
    ]  # fmt: skip
    rectangles, _ = image_rectangles(box_corners(objects), picture.geometry)
    _, depths_m = project(picture.boxes[:, :3].astype(float), picture.geometry)
    return make_image_targets(
        rectangles / 4.0, depths_m, picture.labels, within_reach(picture),
        shape=(SIZE[1] // 4, SIZE[0] // 4),
    )  # fmt: skip


def within_reach(picture: Picture) -> NDArray[np.bool_]:
    """Return which objects the camera sees and can be expected to place."""
    gap = picture.boxes[:, :2] - picture.geometry.T_base_sensor[:2, 3]
    return picture.visible & (np.hypot(gap[:, 0], gap[:, 1]) < REACH_M)


def camera_loss(
    net: nn.Module, batch: dict[str, Tensor], *, half: bool = False, before: CameraNet | None = None
) -> dict[str, Tensor]:
    """Return the losses of a batch, on the ground and in the image.

    Args:
        net: the camera's network.
        batch: `CameraSamples`.
        half: in bfloat16.
        before: the network as it was. What its image layers say of real pictures is to stay, in the
            place of learning the image's heads: simulated pictures unteach the real look.
    """
    assert isinstance(net, CameraNet)
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        with torch.set_grad_enabled(not net.image_kept):
            features = net.image_features(image)
        on_ground = [output.float() for output in net.lifted(features.float(), batch["grid"])]
    heat_loss, box_loss = detection_loss(on_ground[1], on_ground[2], batch)
    losses = {"heat": heat_loss, "box": 0.5 * box_loss}
    if net.image_kept:
        return losses
    if before is not None:
        return {**losses, "forgotten": forgotten(before, image, features, batch["is_real"], half)}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        in_image = [output.float() for output in net.in_image(features)]
    image_heat, image_box = image_loss(in_image[0], in_image[1], batch)
    return {**losses, "image_heat": 0.5 * image_heat, "image_box": 0.25 * image_box}


def forgotten(
    before: CameraNet, image: Tensor, features: Tensor, is_real: Tensor, half: bool
) -> Tensor:
    """Return how far features of real pictures are from those of before, in their spreads.

    Its weight grows with the share of real pictures in the batch, as that of their objects does.
    """
    if not is_real.any():
        return features.new_zeros(())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        wanted = before.image_features(image[is_real]).float()
    spread = wanted.std(dim=(0, 2, 3), keepdim=True) + 0.01
    gaps = (features[is_real].float() - wanted) / spread
    return REMEMBER * is_real.float().mean() * gaps.square().mean()


def real_pictures(sequence: str) -> list[Picture]:
    """Return the frames of a PandaSet sequence; seen is what the LiDAR sees too."""
    result = []
    for picture, sweep in load_pictures(pandaset_folder(), sequence):
        points = count_points(bin_points(sweep.xyz_m, RASTER), sweep.boxes, RASTER)
        result.append(replace(picture, visible=picture.visible & (points >= 5)))
    return result


def detect(
    net: nn.Module, pictures: Sequence[Picture], options: BevCenterOptions
) -> list[tuple[Truth, Sequence[DetectedObject]]]:
    """Return truth and detections of pictures."""
    decoder = BevCenterDecoder(options, CLASSES)
    frames = []
    with torch.no_grad():
        for picture in pictures:
            picture = shrink(picture)
            grid = torch.from_numpy(lift_grid(picture.geometry, LIFT, PLACEMENT))
            image = torch.from_numpy(image_tensor(picture.bgr))[None]
            _, heat, box = net(image, grid)
            found = decoder({"heatmap": heat.numpy(), "boxes": box.numpy()}, None).objects
            points = np.where(picture.visible, SEEN_POINTS, 0)
            frames.append((Truth(boxes=picture.boxes, labels=picture.labels, points=points), found))
    return frames


def evaluate(net: nn.Module, seeds: Sequence[int] = HELD_OUT) -> dict:
    """Return metrics on held-out simulated pictures and on both PandaSet sequences."""
    scenes = [cached_surround(seed) for seed in seeds]
    sets = {
        "simulated_held_out": [picture for scene in scenes for picture in scene],
        "simulated_ahead": [scene[0] for scene in scenes],
        "pandaset_001_trained_on": real_pictures("001"),
        "pandaset_002_held_out": real_pictures("002"),
    }
    found = {
        name: detect(net, pictures, BevCenterOptions(score_threshold=0.05))
        for name, pictures in sets.items()
    }
    thresholds = {
        name: best_threshold(k, found["simulated_held_out"], region=Region())
        for k, name in enumerate(CLASSES)
    }
    report: dict = {
        "thresholds": thresholds,
        "calibration": calibration(found["simulated_held_out"]),
    }
    for name, frames in found.items():
        kept = [(t, [d for d in ds if d.score >= thresholds[d.class_name]]) for t, ds in frames]
        report[name] = {
            area: {
                CLASSES[k]: {
                    **evaluate_class(k, kept, region=region),
                    "ap": evaluate_class(k, frames, region=region)["ap"],
                }
                for k in range(len(CLASSES))
            }
            for area, region in (("all", Region()), ("ahead_40m", AHEAD))
        }
    return report


def network(start: str, *, photo: bool) -> CameraNet:
    """Return a network to train.

    Args:
        start: name of the weights to begin with, those of an earlier version too; what has another
            shape begins anew. "": all does.
        photo: its first layers are those that photographs have taught, and stay as they are.
    """
    size = len(CLASSES), len(LIFT.heights_m)
    old = torch.load(OUT / f"{start}.pt", weights_only=True) if start else {}
    net = CameraNet(*size)
    if photo:
        net = PhotoCameraNet(*size)
        net.stem.load_state_dict(photo_stem().state_dict())
        if old and not is_photo(old):
            images = [image_tensor(training_picture(number).bgr) for number in range(FIT_ON)]
            begin_like(net, camera_net_of(old, *size).eval(), images)
            return net
    new = net.state_dict()
    fits = {n: value for n, value in old.items() if n in new and new[n].shape == value.shape}
    net.load_state_dict({**new, **fits})
    return net


def main() -> None:
    """Train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=1300, help="simulated scenes to train on")
    parser.add_argument("--held-out", type=int, default=150, help="simulated scenes to judge on")
    parser.add_argument("--real-share", type=float, default=0.12)
    parser.add_argument("--name", default="camera")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--half", action="store_true", help="bfloat16: a processor with AVX-512")
    parser.add_argument("--start", default="", help="weights to begin with, where they fit")
    parser.add_argument("--keep-image", action="store_true", help="train behind the lifting only")
    parser.add_argument(
        "--image-rate", type=float, default=0.0, metavar="SHARE",
        help="train the image layers at this share of the rate, and remember real pictures",
    )  # fmt: skip
    parser.add_argument("--photo", action="store_true", help="first layers of EfficientNet-Lite0")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    net = network(arguments.start, photo=arguments.photo).to(memory_format=torch.channels_last)
    before = None
    if arguments.keep_image:
        net.keep_image()
    elif arguments.image_rate:
        before = copy.deepcopy(net).eval()
        net.keep_norms()
    data = CameraSamples(
        frames=arguments.frames, real=real_pictures("001"), real_share=arguments.real_share
    )
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=arguments.learning_rate, folder=OUT,
    )  # fmt: skip
    slower = dict.fromkeys(net.image_parts() if before else (), arguments.image_rate)
    loss = partial(camera_loss, half=arguments.half, before=before)
    average = train(plan, net, data, loss, slower=slower)
    report = evaluate(average, HELD_OUT[: arguments.held_out])
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    print_report(report)


if __name__ == "__main__":
    main()
