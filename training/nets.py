"""The networks of `bev_lite`. Shapes are for one frame; B is the batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

BEV_CHANNELS = 24  # the last one of the LiDAR's is the ground height, m
BOX_CHANNELS = 8  # dx dy z log(l) log(w) log(h) sin cos
IMAGE_BOX_CHANNELS = 3  # log(depth) log(width) log(height); m, px
HEAT_BIAS = -4.0  # a prior of about 2 % keeps the first steps of the focal loss calm


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int | tuple[int, int] = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return functional.relu(x + self.norm(self.second(self.first(x))))


class Heads(nn.Module):
    """Centre heatmap and box regression on a BEV map.

    The axis of an object and which end of it is the front are told apart: the axis is easy, and a
    regression of both learns it alone. `facing` looks at what is around, of a map with more
    channels, and gives a vector that points to the front. The heading (sin, cos) is the axis times
    how sure that is, -1 to 1: its direction is the heading, its length how sure the front is.
    """

    def __init__(self, inputs: int, classes: int, *, around: int, hidden: int = 32) -> None:
        super().__init__()
        self.shared = ConvBlock(inputs, hidden)
        self.heat = nn.Conv2d(hidden, classes, 1)
        self.box = nn.Conv2d(hidden, BOX_CHANNELS, 1)
        self.facing = nn.Sequential(
            ConvBlock(around, 16), ConvBlock(16, 16), nn.Conv2d(16, 2, kernel_size=1)
        )
        nn.init.constant_(self.heat.bias, HEAT_BIAS)

    def forward(
        self, x: Tensor, around: Tensor, ground: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return heatmap logits (B, K, H, W) and boxes (B, 8, H, W).

        `around` (B, C, H, W) is what `facing` looks at. `ground` (B, 1, H, W), m, is added to z,
        so that the network learns heights above ground.
        """
        hidden = self.shared(x)
        box = self.box(hidden)
        z = box[:, 2:3] if ground is None else box[:, 2:3] + ground
        placed = torch.cat([box[:, :2], z, box[:, 3:]], dim=1)
        return self.heat(hidden), headed(placed, self.facing(around))


def headed(box: Tensor, front: Tensor) -> Tensor:
    """Return boxes (B, 8, H, W) whose headings, axes so far, point to where `front` does.

    `front` is (B, 2, H, W); the length of a heading says how sure its end is, 0 to 1.
    """
    axis = box[:, 6:8]
    sure = torch.tanh(0.5 * (axis * front).sum(dim=1, keepdim=True))
    return torch.cat([box[:, :6], axis * sure], dim=1)


class LidarNet(nn.Module):
    """Raster (B, C, 384, 256) to bev (B, 24, 96, 64), heatmap and boxes."""

    def __init__(self, channels: int, classes: int, *, wide: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBlock(channels - 1, 16, stride=2), ConvBlock(16, 16))
        self.quarter = nn.Sequential(ConvBlock(16, 32, stride=2), Residual(32))
        self.eighth = nn.Sequential(
            ConvBlock(32, wide, stride=2), Residual(wide), Residual(wide, 2)
        )
        self.up = ConvBlock(wide, 32, kernel=1)
        self.merge = ConvBlock(64, 32)
        self.bev = ConvBlock(32, BEV_CHANNELS - 1, kernel=1)
        self.heads = Heads(BEV_CHANNELS - 1, classes, around=32)

    def forward(self, raster: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return bev, heatmap logits, boxes."""
        ground = functional.avg_pool2d(raster[:, -1:], 4)
        quarter = self.quarter(self.stem(raster[:, :-1]))
        context = functional.interpolate(
            self.up(self.eighth(quarter)), scale_factor=2, mode="nearest"
        )
        around = self.merge(torch.cat([quarter, context], dim=1))
        bev = self.bev(around)
        heat, box = self.heads(bev, around, ground)
        return torch.cat([bev, ground], dim=1), heat, box


class CameraNet(nn.Module):
    """Image (B, 3, 288, 512) and sampling grid (B, L * 96, 64, 2) to bev, heatmap and boxes.

    Heads on the image itself teach the image layers what an object is and how far away before
    the lifted map has learnt to (perspective supervision, as in Yang et al., BEVFormer v2, 2023);
    they are used in training only and are not exported.
    """

    def __init__(self, classes: int, layers: int, *, rows: int = 96, columns: int = 64) -> None:
        super().__init__()
        self.layers = layers
        self.shape = (rows, columns)
        self.stem = nn.Sequential(ConvBlock(3, 16, stride=2), ConvBlock(16, 24, stride=2))
        self.eighth = nn.Sequential(ConvBlock(24, 48, stride=2), Residual(48))
        self.sixteenth = nn.Sequential(ConvBlock(48, 64, stride=2), Residual(64), Residual(64, 2))
        self.up = ConvBlock(64, 48, kernel=1)
        self.squeeze = ConvBlock(48, 24)
        # At a quarter of the size: where an object meets the road tells how far away it is, and
        # one row at an eighth is 8 m there at a distance of 20 m.
        self.fine = ConvBlock(24, 24)
        self.mix = nn.Sequential(ConvBlock(24 * layers + 4, 32), Residual(32), Residual(32, 2))
        self.bev = ConvBlock(32, BEV_CHANNELS, kernel=1)
        self.heads = Heads(BEV_CHANNELS, classes, around=32)
        self.image_shared = ConvBlock(24, 32)
        self.image_heat = nn.Conv2d(32, classes, 1)
        self.image_box = nn.Conv2d(32, IMAGE_BOX_CHANNELS, 1)
        nn.init.constant_(self.image_heat.bias, HEAT_BIAS)

        self.image_kept = False
        self.norms_kept = False

    def forward(self, image: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return bev, heatmap logits, boxes."""
        return self.lifted(self.image_features(image), grid)

    def keep_image(self) -> None:
        """Train what lies behind the lifting only; what an image looks like is known already."""
        self.image_kept = True
        self.keep_norms()
        for part in self.image_parts():
            part.requires_grad_(requires_grad=False)

    def keep_norms(self) -> None:
        """Leave the batch norms of the image layers as they are."""
        self.norms_kept = True

    def train(self, mode: bool = True) -> CameraNet:
        """Set the mode; kept batch norms stay as they are."""
        super().train(mode)
        if self.norms_kept:
            for part in self.image_parts():
                part.eval()
        return self

    def image_parts(self) -> list[nn.Module]:
        """Return what lies before the lifting, and the heads on the image."""
        on_ground = (self.mix, self.bev, self.heads)
        return [part for part in self.children() if part not in on_ground]

    def image_features(self, image: Tensor) -> Tensor:
        """Return features at a quarter of the image's size, (B, 24, 72, 128)."""
        quarter = self.stem(image)
        return self.refined(quarter, self.eighth(quarter))

    def refined(self, quarter: Tensor, eighth: Tensor) -> Tensor:
        """Return features at a quarter of the size with what is around them at a sixteenth."""
        context = functional.interpolate(
            self.up(self.sixteenth(eighth)), scale_factor=2, mode="nearest"
        )
        coarse = functional.interpolate(
            self.squeeze(eighth + context), scale_factor=2, mode="nearest"
        )
        features: Tensor = self.fine(quarter + coarse)
        return features

    def in_image(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmap logits (B, K, 72, 128) and boxes (B, 3, 72, 128) of the image itself."""
        hidden = self.image_shared(features)
        return self.image_heat(hidden), self.image_box(hidden)

    def lifted(self, features: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return bev, heatmap logits, boxes of image features."""
        lifted = functional.grid_sample(features, grid, mode="bilinear", align_corners=False)
        lifted = lifted.reshape(-1, 24 * self.layers, *self.shape)
        around = self.mix(torch.cat([lifted, self.place(grid)], dim=1))
        bev = self.bev(around)
        heat, box = self.heads(bev, around)
        return bev, heat, box

    def place(self, grid: Tensor) -> Tensor:
        """Return what the grid says of each cell, (B, 4, 96, 64), 0 where it is not seen.

        Seen or not, where in the image its ground is, and how tall the image shows the span of
        the layers there, which is a measure of the distance.
        """
        at = grid.reshape(-1, self.layers, *self.shape, 2)
        seen = (at[..., 0] > -1.5).float()
        ground = at[:, 0].permute(0, 3, 1, 2) * seen[:, :1]
        both = seen[:, :1] * seen[:, -1:]
        tall = (at[:, :1, ..., 1] - at[:, -1:, ..., 1]) * both
        return torch.cat([seen[:, :1], ground, 4.0 * tall], dim=1)


class Inverted(nn.Module):
    """Inverted residual of MobileNetV2: widen, look around in each channel, narrow; ReLU6."""

    def __init__(self, inputs: int, outputs: int, *, widen: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * widen
        around = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        first: list[nn.Module] = [nn.Conv2d(inputs, wide, 1), nn.ReLU6()] if widen > 1 else []
        self.layers = nn.Sequential(*first, around, nn.ReLU6(), nn.Conv2d(wide, outputs, 1))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return `outputs` channels, at the size divided by the stride."""
        made: Tensor = self.layers(x)
        return x + made if self.shortcut else made


class PhotoStem(nn.Module):
    """The first three stages of EfficientNet-Lite0, batch norms part of the convolutions.

    Image (B, 3, H, W) to features at a quarter (B, 24, ...) and an eighth of its size (B, 40, ...).
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6())
        self.second = Inverted(32, 16, widen=1, kernel=3, stride=1)
        self.quarter = nn.Sequential(
            Inverted(16, 24, widen=6, kernel=3, stride=2),
            Inverted(24, 24, widen=6, kernel=3, stride=1),
        )
        self.eighth = nn.Sequential(
            Inverted(24, 40, widen=6, kernel=5, stride=2),
            Inverted(40, 40, widen=6, kernel=5, stride=1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features at a quarter and at an eighth of the size."""
        quarter = self.quarter(self.second(self.first(image)))
        return quarter, self.eighth(quarter)


class PhotoCameraNet(CameraNet):
    """`CameraNet` whose first layers were taught by photographs and stay as they are.

    Rendered images teach the rest, which sees nothing of them but what such layers say: where
    something looks to them as in photographs, it does to the rest.
    """

    def __init__(self, classes: int, layers: int) -> None:
        super().__init__(classes, layers)
        self.stem = PhotoStem().requires_grad_(False)
        self.quarter = ConvBlock(24, 24, kernel=1)
        self.eighth = ConvBlock(40, 48, kernel=1)
        self.sixteenth = nn.Sequential(ConvBlock(48, 64, stride=2), Residual(64, 2))
        self.mix = nn.Sequential(ConvBlock(24 * layers + 4, 32), Residual(32, 2))

    def image_features(self, image: Tensor) -> Tensor:
        """Return features at a quarter of the image's size, (B, 24, 72, 128)."""
        quarter, eighth = (made.detach() for made in self.stem(image))
        return self.refined(self.quarter(quarter), self.eighth(eighth))


def is_photo(weights: Mapping[str, Tensor]) -> bool:
    """Return whether weights are those of a `PhotoCameraNet`."""
    return "stem.first.0.weight" in weights


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network its weights; those from before 0.12 have no `facing`, which stays new."""
    before = {n: v for n, v in net.state_dict().items() if n.startswith("heads.facing.")}
    net.load_state_dict({**before, **weights})


def camera_net_of(weights: Mapping[str, Tensor], classes: int, layers: int) -> CameraNet:
    """Return the camera network that weights belong to, with them."""
    net = PhotoCameraNet(classes, layers) if is_photo(weights) else CameraNet(classes, layers)
    load_weights(net, weights)
    return net


class AudioNet(nn.Module):
    """Log-mel patch (B, 1, 96, 64) to logits (B, K) and embedding (B, 32)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            ConvBlock(1, 16, stride=2),
            ConvBlock(16, 32),
            ConvBlock(32, 48, stride=2),
            ConvBlock(48, 64),
            ConvBlock(64, 80, stride=2),
            ConvBlock(80, 96),
        )
        self.embed = nn.Linear(192, 32)
        self.classify = nn.Linear(32, classes)

    def forward(self, patch: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and embedding."""
        # ln(mel + 0.001) of quiet to loud sound lies between -7 and 3.
        x = self.trunk((patch + 3.0) * 0.3)
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        embedding = functional.relu(self.embed(pooled))
        return self.classify(embedding), embedding


class SirenHead(nn.Module):
    """What a siren is, over 4 s: cells of log-mel (B, 80, 64), each of 50 ms, to a logit (B,).

    It is told as well what the network for single windows makes of the newest one.
    """

    def __init__(self, sounds: int, hidden: int = 48) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            ConvBlock(2, 12, stride=(1, 2)),
            ConvBlock(12, 24, stride=(2, 2)),
            ConvBlock(24, 32, stride=(1, 2)),
        )
        self.squeeze = _over_time(32 * 8, hidden, kernel=1)
        self.later = nn.ModuleList([_over_time(hidden, hidden, dilation=d) for d in (1, 2, 4)])
        self.decide = nn.Sequential(
            nn.Linear(3 * hidden + 32 + sounds, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 1)
        )

    def forward(self, cells: Tensor, embedding: Tensor, logits: Tensor) -> Tensor:
        """Return the logit of a siren in the newest window."""
        # As in AudioNet; tones stand out of what is around them, however loud it is.
        loud = (cells[:, None] + 3.0) * 0.3
        around = functional.avg_pool2d(loud, (1, 9), 1, (0, 4))
        x = self.trunk(torch.cat([loud, 3.0 * (loud - around)], dim=1))  # (B, 32, 40, 8)
        x = self.squeeze(x.permute(0, 1, 3, 2).reshape(-1, 32 * 8, x.shape[2]))
        for block in self.later:
            x = functional.relu(x + block(x))
        pooled = [x[:, :, -1], x.mean(dim=2), x.amax(dim=2)]
        newest = [embedding, logits.clamp(-8.0, 8.0) * 0.25]
        result: Tensor = self.decide(torch.cat([*pooled, *newest], dim=1))[:, 0]
        return result


def _over_time(inputs: int, outputs: int, *, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = kernel // 2 * dilation
    layers: list[nn.Module] = [
        nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm1d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if kernel == 1 else []))


class LongAudioNet(nn.Module):
    """AudioNet, whose score of a siren is that of a head over time.

    Log-mel patch (B, 1, 96, 64) and what was before it (B, 1, 304, 64) to logits (B, K) and
    embedding (B, 32).
    """

    def __init__(self, net: nn.Module, head: SirenHead, cell_frames: int) -> None:
        super().__init__()
        self.net, self.head = net, head
        self.cells = nn.AvgPool2d((cell_frames, 1))

    def forward(self, patch: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, the first of which is that of a siren, and embedding."""
        logits, embedding = self.net(patch)
        cells = self.cells(torch.cat([history, patch], dim=2))[:, 0]
        siren = self.head(cells, embedding, logits)
        return torch.cat([siren[:, None], logits[:, 1:]], dim=1), embedding


class FusionNet(nn.Module):
    """BEV features, audio embedding and presence (B, 3) to heads and sound logits.

    Absent modalities are multiplied by 0 and replaced by a learned constant, so that whatever
    an absent input holds has no effect.
    """

    def __init__(self, classes: int, sounds: int) -> None:
        super().__init__()
        self.absent_camera = nn.Parameter(torch.zeros(1, BEV_CHANNELS, 1, 1))
        self.absent_lidar = nn.Parameter(torch.zeros(1, BEV_CHANNELS - 1, 1, 1))
        self.absent_audio = nn.Parameter(torch.zeros(1, 32))
        self.join = ConvBlock(2 * BEV_CHANNELS - 1 + 2, 32, kernel=1)
        self.mix = nn.Sequential(Residual(32), Residual(32, 2))
        self.heads = Heads(32, classes, around=32)
        self.audio = nn.Linear(32, sounds)

    def forward(
        self, camera_bev: Tensor, lidar_bev: Tensor, audio_embedding: Tensor, presence: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return heatmap logits, boxes, sound logits."""
        has = presence[:, :, None, None]
        ground = lidar_bev[:, -1:] * has[:, 1:2]
        camera = camera_bev * has[:, 0:1] + self.absent_camera * (1 - has[:, 0:1])
        lidar = lidar_bev[:, :-1] * has[:, 1:2] + self.absent_lidar * (1 - has[:, 1:2])
        plane = torch.ones_like(ground)
        flags = torch.cat([plane * has[:, 0:1], plane * has[:, 1:2]], dim=1)
        mixed = self.mix(self.join(torch.cat([camera, lidar, flags], dim=1)))
        heat, box = self.heads(mixed, mixed, ground)
        heard = presence[:, 2:3]
        return heat, box, self.audio(audio_embedding * heard + self.absent_audio * (1 - heard))
