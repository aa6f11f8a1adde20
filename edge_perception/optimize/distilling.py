"""A student learns what a teacher says: decisions, boxes and features, on frames of recordings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.optimize.differences import kind_of
from edge_perception.optimize.libraries import torch_library
from edge_perception.optimize.sources import TorchSource, call_factory
from edge_perception.optimize.torch_check import named_outputs

Teacher = Callable[[Mapping[str, NDArray]], Mapping[str, NDArray]]
_CLASSES = ("class_scores", "bev_heatmap")
_SAVE_EVERY = 50


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a student is taught."""

    steps: int
    batch: int = 4
    learning_rate: float = 1e-3
    temperature: float = 2.0  # of classes: the higher, the more of what is nearly chosen counts
    alpha: float = 1.0  # share of the teacher; the rest is the user's own loss
    seed: int = 0


def teach(
    student: TorchSource,
    teacher: Teacher,
    frames: Sequence[Mapping[str, NDArray]],
    plan: Plan,
    *,
    names: Sequence[str],
    own_loss: str = "",
    checkpoint: Path | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[float]:
    """Train a student in place; return the loss of each step.

    Args:
        student: its module is trained, and left in eval mode.
        teacher: graph inputs of one frame to outputs by name.
        frames: graph inputs, each with a batch of 1.
        plan: how.
        names: of the student's outputs, in their order; those that the teacher has too are taught.
        own_loss: `module:function` of (module, inputs, outputs by name); counts 1 - alpha.
        checkpoint: an interrupted training goes on from it.
        progress: is told how many steps are done.

    Raises:
        ConfigurationError: nothing in common, or a loss that is no number.
    """
    torch = torch_library()
    torch.manual_seed(plan.seed)
    told = [teacher(frame) for frame in frames]
    common = [n for n in names if n in told[0]]
    if not common:
        raise ConfigurationError(
            f"distill: the student's outputs {', '.join(names)} and the teacher's "
            f"{', '.join(told[0])} have no name in common: --output NAME, each"
        )
    scale = {n: max(float(np.std([t[n] for t in told])), 1e-6) for n in common}
    optimizer = torch.optim.AdamW(student.module.parameters(), lr=plan.learning_rate)
    first, losses = _resumed(checkpoint, student, optimizer)
    student.module.train()
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _share(step, plan.steps)
        chosen = np.random.default_rng([plan.seed, step]).integers(len(frames), size=plan.batch)
        inputs = {
            name: torch.from_numpy(np.concatenate([np.array(frames[i][name]) for i in chosen]))
            for name in student.inputs
        }
        made = dict(named_outputs(student.module(*inputs.values()), names))
        loss = plan.alpha * sum(
            _loss(torch, made[n], _batch(torch, told, chosen, n), n, scale[n], plan.temperature)
            for n in common
        )
        if own_loss and plan.alpha < 1:
            loss = loss + (1 - plan.alpha) * call_factory(own_loss, student.module, inputs, made)
        if not bool(torch.isfinite(loss)):
            raise ConfigurationError(f"distill: the loss is {float(loss)} at step {step}: --rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.module.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress(step + 1)
        if checkpoint is not None and (step + 1) % _SAVE_EVERY == 0:
            _save(checkpoint, student, optimizer, losses)
    student.module.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return losses


def _batch(torch: Any, told: Sequence[Mapping[str, NDArray]], chosen: Any, name: str) -> Any:
    return torch.from_numpy(np.concatenate([told[i][name] for i in chosen]))


def _loss(torch: Any, got: Any, wanted: Any, name: str, scale: float, temperature: float) -> Any:
    """Return the loss of one output.

    Classes: what the softened probabilities say, times the square of the temperature (Hinton et
    al., 2015), each class by itself as detectors have them. Others: smooth L1 of the scaled values.
    """
    functional = torch.nn.functional
    if kind_of(name) in _CLASSES:
        soft = torch.sigmoid(wanted / temperature)
        whole = functional.binary_cross_entropy_with_logits(got / temperature, soft)
        least = functional.binary_cross_entropy(soft, soft)  # of the teacher itself
        return temperature**2 * (whole - least) * 10.0 + functional.smooth_l1_loss(
            got / scale, wanted / scale
        )
    return functional.smooth_l1_loss(got / scale, wanted / scale)


def _share(step: int, steps: int) -> float:
    """Return the share of the rate: up over a tenth of the steps, then a cosine down."""
    rise = max(1.0, 0.1 * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return float(0.5 + 0.5 * np.cos(np.pi * (step - rise) / max(steps - rise, 1.0))) + 1e-3


def _resumed(
    checkpoint: Path | None, student: TorchSource, optimizer: Any
) -> tuple[int, list[float]]:
    torch = torch_library()
    if checkpoint is None or not checkpoint.is_file():
        return 0, []
    with suppress(Exception):  # of another model or damaged: begin anew
        data = torch.load(checkpoint, weights_only=True)
        if data["about"] == _about(student):
            student.module.load_state_dict(data["module"])
            optimizer.load_state_dict(data["optimizer"])
            return len(data["losses"]), list(data["losses"])
    return 0, []


def _save(path: Path, student: TorchSource, optimizer: Any, losses: list[float]) -> None:
    torch = torch_library()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(
            {
                "about": _about(student), "module": student.module.state_dict(),
                "optimizer": optimizer.state_dict(), "losses": losses,
            },
            file,
        )  # fmt: skip
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _about(student: TorchSource) -> str:
    shapes = [(k, tuple(v.shape)) for k, v in student.module.state_dict().items()]
    return hashlib.sha256(f"{student.name} {shapes}".encode()).hexdigest()


def frames_of_function(text: str, inputs: Sequence[str], most: int) -> list[dict[str, NDArray]]:
    """Return graph inputs that a user's function yields: mappings, tuples or arrays.

    Raises:
        ConfigurationError: it yields something else, or nothing.
    """
    found: list[dict[str, NDArray]] = []
    made = call_factory(text)
    if not isinstance(made, Iterable):
        raise ConfigurationError(f"{text}: expected frames one after the other, got {type(made)}")
    for item in made:
        if isinstance(item, Mapping):
            values = dict(item)
        else:
            parts = item if isinstance(item, (tuple, list)) else (item,)
            values = dict(zip(inputs, parts, strict=False))
        if set(inputs) - set(values):
            raise ConfigurationError(
                f"{text}: expected {', '.join(inputs)} in every frame, got {', '.join(values)}"
            )
        arrays = {n: values[n] for n in inputs}
        found.append({
            n: a.numpy() if hasattr(a, "numpy") else np.asarray(a) for n, a in arrays.items()
        })  # fmt: skip
        if len(found) >= most:
            break
    if not found:
        raise ConfigurationError(f"{text}: expected frames, got none")
    return found
