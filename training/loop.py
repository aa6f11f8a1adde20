"""A training loop that can be interrupted at any time and goes on where it was."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

_SAVE_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how."""

    name: str
    steps: int
    batch: int
    learning_rate: float
    folder: Path
    workers: int = 1
    weight_decay: float = 0.01
    average: float = 0.998  # decay of the moving average of the weights


def train(
    plan: Plan,
    net: nn.Module,
    data: Dataset,
    loss: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]],
    *, slower: Mapping[nn.Module, float] = MappingProxyType({}),
) -> nn.Module:  # fmt: skip
    """Return the averaged network after `plan.steps` steps.

    Sample i of `data` depends on i alone, so a resumed run sees what an unbroken one would.
    `slower`: parts of the network that learn at a share of the rate.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(net)
    groups: list[dict] = [{"params": [*m.parameters()], "share": s} for m, s in slower.items()]
    apart = {parameter for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in net.parameters() if parameter not in apart]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "share": 1.0}, *groups],
        lr=plan.learning_rate, weight_decay=plan.weight_decay,
    )  # fmt: skip
    state = {"net": net, "average": average, "optimizer": optimizer}
    checkpoint = plan.folder / f"{plan.name}.checkpoint.pt"
    step, curve = _resume(checkpoint, state)
    net.train()
    started = saved = time.monotonic()
    for batch in _batches(plan, data, step):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(plan, step)
        parts = loss(net, batch)
        total = sum(parts.values())
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        step += 1
        _follow(average, net, min(plan.average, 1 - 1 / (1 + step / 3)))
        curve.append({name: float(value.detach()) for name, value in parts.items()})
        if step % 50 == 0:
            recent = curve[-50:]
            text = " ".join(f"{k} {sum(c[k] for c in recent) / len(recent):.4f}" for k in recent[0])
            print(
                f"{plan.name} {step}/{plan.steps} {text} {time.monotonic() - started:.0f} s",
                flush=True,
            )
        if time.monotonic() - saved > _SAVE_EVERY_S or step == plan.steps:
            _save(checkpoint, state, step, curve)
            _plot(plan, curve)
            saved = time.monotonic()
    average.eval()
    return average


def learning_rate(plan: Plan, step: int) -> float:
    """Return the rate of a step: a cosine up over 15 % of the steps, then one down.

    It depends on nothing but the step, so a run may be resumed with another number of steps.
    """
    rise = max(1.0, 0.15 * plan.steps)
    if step < rise:
        share = 0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * step / rise))
    else:
        share = 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(plan.steps - rise, 1.0))
    return plan.learning_rate * max(share, 1e-3)


def _batches(plan: Plan, data: Dataset, step: int) -> Iterator[dict[str, Tensor]]:
    rest = Subset(data, range(step * plan.batch, plan.steps * plan.batch))
    return iter(
        DataLoader(
            rest, batch_size=plan.batch, num_workers=plan.workers, shuffle=False,
            prefetch_factor=4 if plan.workers else None,
        )
    )  # fmt: skip


def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def _resume(path: Path, state: dict) -> tuple[int, list[dict[str, float]]]:
    if not path.exists():
        return 0, []
    data = torch.load(path, weights_only=True)
    for name, item in state.items():
        item.load_state_dict(data[name])
    print(f"resumed {path.name} at step {data['step']}", flush=True)
    return data["step"], data["curve"]


def _save(path: Path, state: dict, step: int, curve: list[dict[str, float]]) -> None:
    """Write beside the last good checkpoint, then rename: a full disk costs only the new one."""
    partial = path.with_suffix(".partial")
    data = {name: item.state_dict() for name, item in state.items()}
    try:
        with partial.open("wb") as file:
            torch.save({**data, "step": step, "curve": curve}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        print(f"checkpoint at step {step} not written: {error}", flush=True)


def _plot(plan: Plan, curve: list[dict[str, float]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for name in curve[0]:
        values = torch.tensor([c[name] for c in curve])
        window = max(1, len(values) // 100)
        smooth = values[: len(values) // window * window].reshape(-1, window).mean(1)
        axes.plot(torch.arange(len(smooth)) * window, smooth, label=name)
    axes.set(xlabel="step", ylabel="loss", title=plan.name, yscale="log")
    axes.legend()
    figure.savefig(plan.folder / f"{plan.name}_loss.png", dpi=90)
    plt.close(figure)


def between(folder: Path, first: str, second: str, *, share: float) -> dict[str, Tensor]:
    """Return the weights between two files, of which one was trained from the other.

    Args:
        folder: of both.
        first: name of a file of weights.
        second: of the other one.
        share: of the second.
    """
    a, b = (torch.load(folder / f"{name}.pt", weights_only=True) for name in (first, second))
    return {n: a[n].lerp(b[n], share) if a[n].is_floating_point() else b[n] for n in a}
