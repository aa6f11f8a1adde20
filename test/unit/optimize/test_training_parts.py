"""Parts of the training scripts that need PyTorch, in the environment that has it."""

from __future__ import annotations

import json

import pytest
from optimize_commands import run_python, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

UNFOLDED = """
import json
import torch
from edge_perception.optimize.shrinking import folded
from edge_perception.optimize.sources import TorchSource
from training.nets import FusionNet
from training.unfolded import unfold

torch.manual_seed(1)
def inputs(seed):
    g = torch.Generator().manual_seed(seed)
    maps = [torch.rand(1, 24, 24, 16, generator=g) for _ in range(2)]
    return (*maps, torch.rand(1, 32, generator=g), torch.tensor([[1.0, seed % 2, 1.0]]))
old = FusionNet(5, 5)
for norm in (m for m in old.modules() if isinstance(m, torch.nn.BatchNorm2d)):
    norm.running_mean.normal_(); norm.running_var.uniform_(0.5, 2.0)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5); torch.nn.init.normal_(norm.bias)
torch.nn.init.normal_(old.absent_lidar)
arrays = dict(zip("abcd", (t.numpy() for t in inputs(0))))
module = folded(TorchSource(name="old", module=old.eval(), inputs=arrays)).module
new = FusionNet(5, 5)
unfold(new, module, [inputs(seed) for seed in range(6)])
with torch.no_grad():
    same = max(float((a - b).abs().max())
               for seed in range(9) for a, b in zip(old(*inputs(seed)), new.eval()(*inputs(seed))))
    module_of = dict(new.named_modules())
    made = []
    module_of["join.0"].register_forward_hook(lambda m, i, o: made.append(o))
    for seed in range(6):
        new(*inputs(seed))
    mean = torch.cat(made).mean((0, 2, 3))
    off = float((mean - module_of["join.1"].running_mean).abs().max())
print("TOLD" + json.dumps({"same": same, "off": off}))
"""

RECONSTRUCTED = """
import json
import numpy as np
import torch
from torch import nn
from edge_perception.optimize.shrinking import folded, pruned, size_of
from edge_perception.optimize.sources import TorchSource
from training.nets import ConvBlock, Residual
from training.reconstruction import reconstructed

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBlock(3, 16, stride=2)
        self.trunk = nn.Sequential(Residual(16), Residual(16, 2))
        self.bev = nn.Conv2d(16, 4, 1)
        self.heat = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        bev = self.bev(self.trunk(self.stem(x)))
        return bev, self.heat(bev)

torch.manual_seed(3)
net = Net().eval()
for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
    norm.running_mean.normal_(); norm.running_var.uniform_(0.5, 2.0); nn.init.normal_(norm.bias)
rng = np.random.default_rng(5)
frames = [{"x": rng.normal(size=(1, 3, 24, 16)).astype(np.float32)} for _ in range(40)]
source = TorchSource(name="net", module=net, inputs=frames[0])
large = folded(source)

def off(module):
    with torch.no_grad():
        pairs = [(large.module(x)[0], module(x)[0])
                 for x in (torch.from_numpy(frame["x"]) for frame in frames[30:])]
    return float(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs))

same = reconstructed(pruned(large, share=0.01, multiple=1).module, large.module, frames[:30])
small = pruned(large, share=0.25, multiple=4)
before = off(small.module)
after = off(reconstructed(small.module, large.module, frames[:30]))
print("TOLD" + json.dumps({"same": off(same), "before": before, "after": after,
      "share": size_of(small)["operations"] / size_of(large)["operations"]}))
"""

SCENE = """
import json
import numpy as np
from training.fusion import fusion_targets
from training.scenes import FRONT, Scene, View, shaken
from training.samples import Sweep
from training.pictures import Picture
from edge_perception.core.types import Geometry

rng = np.random.default_rng(1)
boxes = np.array([[10, 3, 1, 4, 2, 1.5, 0.3, 0, 0], [-8, -6, 1, 4, 2, 1.5, 2.0, 0, 0]], np.float32)
older = boxes + np.array([2.4, 0, 0, 0, 0, 0, 0, 0, 0], np.float32)
views = []
for side in range(2):
    seen = np.zeros((1, 1, 96, 64), np.uint8)
    seen[..., 40 * side : 40 * side + 50, :] = 1
    views.append(View(bev=np.full((24, 96, 64), side + 1, np.float16), seen=seen,
                      shows=np.array([side == 1, side == 0])))
scene = Scene(views=tuple(views), lidar=np.zeros((24, 96, 64), np.float16), boxes=boxes,
              labels=np.zeros(2, np.int64), in_lidar=np.array([True, False]), shown_boxes=older)
both = scene.features((0, 1))
peak = lambda mask: [int(v) for v in
                     np.argwhere(fusion_targets(both, mask)["heat"][0] > 0.999)[-1]]
told = {
    "one": [float(both.camera[0, row, 0]) for row in (5, 45, 80)],
    "shows": both.in_camera.tolist(), "front": scene.features(FRONT).in_camera.tolist(),
    "camera": peak((1, 0, 0)), "both": peak((1, 1, 0)),
}
picture = Picture(bgr=np.zeros((288, 512, 3), np.uint8), boxes=boxes,
                  labels=np.zeros(2, np.int64), visible=np.ones(2, bool),
                  geometry=Geometry(T_base_sensor=np.eye(4), intrinsics=np.eye(3),
                                    image_size=(512, 288)))
sweep = Sweep(xyz_m=boxes[:, :3], intensity=np.zeros(2, np.float32), boxes=boxes,
              labels=np.zeros(2, np.int64))
moved, pictures = shaken(sweep, [picture, picture], np.random.default_rng(3))
told["apart"] = float(np.abs(moved.boxes[:, :7] - pictures[1].boxes[:, :7]).max())
poses = [p.geometry.T_base_sensor for p in pictures]
told["calibration"] = float(np.abs(poses[0] - poses[1]).max())
print("TOLD" + json.dumps(told))
"""

HEARD = """
import json
from dataclasses import replace
import numpy as np
import torch
from edge_perception.core.types import AudioBlock
from edge_perception.encoders.audio.log_mel import LogMel
from edge_perception.encoders.audio.stream import StreamAssembler
from training.audio import CONFIG
from training.nets import AudioNet, LongAudioNet, SirenHead
from training.siren import HISTORY_FRAMES, history
from training.streams import CELL_FRAMES, heard

torch.manual_seed(2)
net, head = AudioNet(5).eval(), SirenHead(5).eval()
sound = np.random.default_rng(4).normal(0, 0.1, 7 * 16000)
sound[48000:] *= 0.2
stream = heard(net, sound, (3.0, 7.0), ("dog",))
runtime = LogMel(replace(CONFIG, history_frames=HISTORY_FRAMES, history_input="history"))
assembler = StreamAssembler(rate_hz=16000, window_samples=CONFIG.patch_samples,
                            hop_samples=CONFIG.patch_hop_samples)
whole, off, apart = LongAudioNet(net, head, CELL_FRAMES).eval(), 0.0, 0.0
windows = []
for first in range(0, len(sound), 160):
    block = AudioBlock(stamp_ns=first * 62500, frame_id="microphone", sample_rate_hz=16000,
                       samples=sound[first : first + 160, None].astype(np.float32),
                       first_sample_index=first)
    window = assembler.push(block)
    if window is not None:
        windows.append(window)
for number, window in enumerate(windows):
    patch = runtime.patch(window)
    frames = np.concatenate([runtime.history, patch])
    cells = frames.reshape(-1, CELL_FRAMES, 64).mean(axis=1)
    given = history(stream, number)
    off = max(off, float(np.abs(cells - given["cells"]).max()))
    with torch.no_grad():
        logits, embedding = whole(torch.from_numpy(patch.copy())[None, None],
                                  torch.from_numpy(runtime.history.copy())[None, None])
        alone = head(*(torch.from_numpy(given[n])[None] for n in ("cells", "embedding", "logits")))
    apart = max(apart, abs(float(logits[0, 0]) - float(alone[0])),
                float((logits[0, 1:] - torch.from_numpy(given["logits"])[1:]).abs().max()))
labels = stream.siren.tolist()
young = history(stream, 40, begun=38)["cells"]
print("TOLD" + json.dumps({
    "windows": [len(windows), len(labels)], "off": off, "apart": apart,
    "labels": [labels.index(-1.0), labels.index(1.0), labels[-1]],
    "young": [float(young[55].max()), float(young[57].min())],
}))
"""

FACING = """
import json
import numpy as np
import torch
from torch import nn
from training.facing import gather, teach
from training.nets import Heads
from training.targets import SHAPE, make_targets

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = Heads(3, 5, around=3)

    def forward(self, map_):
        return self.heads(map_, map_)

class Samples(torch.utils.data.Dataset):
    # Cars with their axes in two channels and a spot in front of each in the third.
    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        boxes = np.zeros((6, 9), np.float32)
        boxes[:, 0] = np.arange(6) * 8 - 20 + rng.uniform(0, 2, 6)
        boxes[:, 1], boxes[:, 3:6] = rng.uniform(-18, 18, 6), (4, 2, 1.5)
        boxes[:, 6] = rng.uniform(-np.pi, np.pi, 6)
        map_ = np.zeros((3, *SHAPE), np.float32)
        for box in boxes:
            i, j = ((box[:2] + 25.6) / 0.8).astype(int)
            axis = [np.sin(box[6] % np.pi), np.cos(box[6] % np.pi)]
            map_[:2, i - 1 : i + 2, j - 1 : j + 2] = np.array(axis)[:, None, None]
            ahead = box[:2] + [np.cos(box[6]), np.sin(box[6])]
            i, j = ((ahead + 25.6) / 0.8).astype(int)
            map_[2, i, j] = 1.0
        return {"map": map_, **make_targets(boxes, np.zeros(6, int), np.ones(6, bool))}

torch.manual_seed(1)
torch.set_num_threads(1)
net = Net().eval()
with torch.no_grad():  # the axis is known to the box head
    net.heads.shared[0].weight.zero_(); net.heads.box.weight.zero_(); net.heads.box.bias.zero_()
    for k in range(2):
        net.heads.shared[0].weight[2 * k, k, 1, 1] = 1.0
        net.heads.shared[0].weight[2 * k + 1, k, 1, 1] = -1.0
        net.heads.box.weight[6 + k, 2 * k], net.heads.box.weight[6 + k, 2 * k + 1] = 1.0, -1.0
data = Samples()

def facing():
    right, sure, rest = [], [], []
    for index in range(1000, 1030):
        item = data[index]
        with torch.no_grad():
            heat, box = net(torch.from_numpy(item["map"])[None])
        at = np.nonzero(item["box_mask"] == 1.0)
        heading = box[0, 6:8].numpy()[:, at[0], at[1]]
        along = (heading * item["box"][6:8, at[0], at[1]]).sum(0)
        right += (along > 0).tolist(); sure += np.hypot(*heading).tolist()
        rest.append(box[0, :6].numpy().copy()); rest.append(heat.numpy().copy())
    return np.mean(right), np.mean(sure), rest

before = facing()
cells = gather(net, data, 150, ("map",))
teach(net.heads.facing, cells, steps=300, learning_rate=4e-3)
after = facing()
print("TOLD" + json.dumps({
    "before": before[0], "after": after[0], "sure": after[1],
    "same": all(np.array_equal(a, b) for a, b in zip(before[2], after[2])),
    "cells": len(cells.label) / 150,
}))
"""


def told(tmp_path, code):
    said = run_python(tmp_path, code)
    return json.loads(said.splitlines()[-1].removeprefix("TOLD"))


def test_unfolded_norms_say_the_same_and_fit_the_data(tmp_path):
    found = told(tmp_path, UNFOLDED)
    assert found["same"] < 1e-3
    assert found["off"] < 1e-4  # statistics are those of the batches, so that training goes on


def test_scenes_merge_their_cameras_as_fusion_does(tmp_path):
    found = told(tmp_path, SCENE)
    assert found["one"] == [1.0, 1.5, 2.0]  # seen by the first, by both, by the second
    assert found["shows"] == [True, True]
    assert found["front"] == [False, True]
    assert found["both"][0] + 3 == found["camera"][0]  # 2.4 m older: where the images show it
    assert found["apart"] < 1e-4  # sweep and images are moved by the same
    assert 0 < found["calibration"] < 0.3  # and each camera has an error of its own


def test_reconstruction_gives_back_most_of_what_pruning_takes(tmp_path):
    found = told(tmp_path, RECONSTRUCTED)
    assert found["share"] < 0.8
    assert found["after"] < 0.5 * found["before"]
    assert found["same"] < 1e-6


def test_the_head_is_trained_on_what_the_runtime_gives_it(tmp_path):
    found = told(tmp_path, HEARD)
    assert found["windows"] == [61, 61]
    assert found["off"] < 0.01  # half precision
    assert found["apart"] < 0.01
    assert found["labels"] == [22, 24, 1.0]  # 0.2 s and more of the siren; 0.3 s and more
    silent, sounding = found["young"]
    assert silent < -6.9 < -6.0 < sounding


def test_which_end_is_the_front_is_learned_and_nothing_else_changes(tmp_path):
    found = told(tmp_path, FACING)
    assert 0.3 < found["before"] < 0.7
    assert found["after"] > 0.95
    assert 0.7 < found["sure"] <= 1.0 + 1e-5, "the length of the heading says how sure that is"
    assert found["same"]
    assert 6 <= found["cells"] <= 30
