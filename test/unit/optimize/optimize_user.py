"""The model of a user as it lies in a folder of theirs; written there by the tests."""

NETS = """
import torch
from torch import nn

class Block(nn.Sequential):
    def __init__(self, a, b, stride=1):
        super().__init__(
            nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)
        )

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.stem = Block(3, width, 2)
        self.body = nn.Sequential(*[Block(width, width) for _ in range(4)])
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, images):
        seen = self.body(self.stem(images))
        return self.head(seen), seen.mean(dim=(2, 3))

def example():
    torch.manual_seed(1)
    return {"images": torch.rand(1, 3, 16, 16)}

def made():
    torch.manual_seed(0)
    return Net(), example()

class Loop(nn.Module):
    def forward(self, images):
        for _ in range(int(images.abs().sum().item()) % 5):
            images = images * 1.1
        return images

def loop():
    return Loop(), example()

class Branch(nn.Module):
    def forward(self, images):
        return images + 1 if images.mean() > 0 else images - 1

def branch():
    return Branch(), example()

@torch.library.custom_op("mine::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@twice.register_fake
def _(x):
    return torch.empty_like(x)

class Custom(nn.Module):
    def forward(self, images):
        return torch.ops.mine.twice(images) + 1

def custom():
    return Custom(), example()

class Noisy(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images, training=True)

def noisy():
    return Noisy(), example()

class Mixed(nn.Module):
    def forward(self, images):
        return {"heat": images, "count": 3}

def mixed():
    return Mixed(), example()

def with_arguments(width, depth=2):
    return Net(width)

def raising():
    raise ValueError("the weights are on another disk")
"""
