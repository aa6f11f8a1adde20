"""A student learns what a teacher says: decisions, boxes and features, on frames of recordings."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.whole_file import write_whole
from edge_perception.optimize.differences import CLASS_KINDS, kind_of
from edge_perception.optimize.libraries import torch_library
from edge_perception.optimize.sources import TorchSource, call_factory, where_raised
from edge_perception.optimize.torch_check import named_outputs

_SAVE_EVERY = 50
_SCALE_FRAMES = 100  # tell how large outputs are


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a student is taught."""

    steps: int
    batch: int = 4
    learning_rate: float = 1e-3
    temperature: float = 2.0  # of classes: the higher, the more of what is nearly chosen counts
    alpha: float = 1.0  # share of the teacher; the rest is the user's own loss
    average: float = 0.998  # decay of the moving average of the weights, which is what is kept
    half: bool = False  # bfloat16 where it does no harm; quick on processors that have it
    seed: int = 0


def teach(
    student: TorchSource,
    frames: Sequence[Mapping[str, NDArray]],
    told: Sequence[Mapping[str, NDArray]],
    plan: Plan,
    *,
    names: Sequence[str],
    own_loss: str = "",
    checkpoint: Path | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[float]:
    """Train a student in place; return the loss of each step.

    A checkpoint stays where it is: only its owner knows when nothing after it can fail.

    Args:
        student: its module is trained, and left in eval mode.
        frames: graph inputs, each with a batch of 1.
        told: what the teacher says to each, outputs by name.
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
    common = [n for n in names if n in told[0]]
    if not common:
        raise ConfigurationError(
            f"distill: the student's outputs {', '.join(names)} and the teacher's "
            f"{', '.join(told[0])} have no name in common: --output NAME, each"
        )
    some = told[:: max(1, len(told) // _SCALE_FRAMES)]
    scale = {n: max(float(np.std([t[n] for t in some])), 1e-6) for n in common}
    # As processors compute convolutions best; the values are the same.
    student.module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.module.parameters(), lr=plan.learning_rate)
    training = _Training(student.module, optimizer, _about(student, plan))
    training.resume(checkpoint)
    student.module.train()
    for step in range(len(training.losses), plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _share(step, plan.steps)
        chosen = np.random.default_rng([plan.seed, step]).integers(len(frames), size=plan.batch)
        inputs = {name: _pictures(torch, frames, chosen, name) for name in student.inputs}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=plan.half):
            found = student.module(*inputs.values())
        made = {n: v.float() for n, v in named_outputs(found, names)}
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
        training.follow(float(loss.detach()), plan.average)
        progress(step + 1)
        if checkpoint is not None and ((step + 1) % _SAVE_EVERY == 0 or step + 1 == plan.steps):
            training.save(checkpoint)
    training.finish()
    return training.losses


class _Training:
    """What an interrupted training needs to go on: weights, their average, the optimiser."""

    def __init__(self, module: Any, optimizer: Any, about: str) -> None:
        self._module, self._optimizer, self._about = module, optimizer, about
        self._average = {k: v.clone() for k, v in module.state_dict().items()}
        self.losses: list[float] = []

    def follow(self, loss: float, decay: float) -> None:
        """Note a step; the first ones count less than the decay says, as they are the worst."""
        self.losses.append(loss)
        decay = min(decay, 1 - 1 / (1 + len(self.losses) / 3))
        for name, value in self._module.state_dict().items():
            if value.dtype.is_floating_point:
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name].copy_(value)

    def finish(self) -> None:
        """Leave the module in eval mode with the averaged weights."""
        self._module.load_state_dict(self._average)
        self._module.to(memory_format=torch_library().contiguous_format).eval()

    def resume(self, checkpoint: Path | None) -> None:
        """Go on from a checkpoint; one that is damaged or of another training is nothing."""
        if checkpoint is None or not checkpoint.is_file():
            return
        with suppress(Exception):
            data = torch_library().load(checkpoint, weights_only=True)
            if data["about"] == self._about:
                self._module.load_state_dict(data["module"])
                self._optimizer.load_state_dict(data["optimizer"])
                self._average, self.losses = data["average"], list(data["losses"])

    def save(self, path: Path) -> None:
        """Write a checkpoint beside the last good one, then put it in its place.

        Raises:
            OSError: it cannot be written; the last good one stays.
        """
        data = io.BytesIO()
        torch_library().save(
            {
                "about": self._about, "module": self._module.state_dict(),
                "average": self._average, "optimizer": self._optimizer.state_dict(),
                "losses": self.losses,
            },
            data,
        )  # fmt: skip
        write_whole(path, data.getvalue())


def _pictures(torch: Any, frames: Sequence[Any], chosen: Any, name: str) -> Any:
    given = torch.from_numpy(np.concatenate([np.array(frames[i][name]) for i in chosen]))
    return given.contiguous(memory_format=torch.channels_last) if given.dim() == 4 else given


def _batch(torch: Any, told: Sequence[Mapping[str, NDArray]], chosen: Any, name: str) -> Any:
    return torch.from_numpy(np.concatenate([told[i][name] for i in chosen]))


def _loss(torch: Any, got: Any, wanted: Any, name: str, scale: float, temperature: float) -> Any:
    """Return the loss of one output.

    Classes: what the softened probabilities say, times the square of the temperature (Hinton et
    al., 2015), each class by itself as detectors have them. Others: smooth L1 of the scaled values.
    """
    functional = torch.nn.functional
    if kind_of(name) in CLASS_KINDS:
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


def _about(student: TorchSource, plan: Plan) -> str:
    """Return what a checkpoint must agree with; of the plan all but the number of steps."""
    shapes = [(k, tuple(v.shape)) for k, v in student.module.state_dict().items()]
    how = replace(plan, steps=0)
    return hashlib.sha256(f"{student.name} {how} {shapes}".encode()).hexdigest()


def frames_of_function(
    text: str,
    examples: Mapping[str, NDArray],
    most: int,
    keep: Callable[[Mapping[str, NDArray]], Mapping[str, NDArray]] = lambda arrays: arrays,
) -> list[Mapping[str, NDArray]]:
    """Return graph inputs that a user's function yields: mappings, tuples or arrays.

    Args:
        text: `module:function`.
        examples: inputs that the model is known to take; frames have their shapes and types.
        most: so many at most.
        keep: puts a frame where it may stay, as on disk.

    Raises:
        ConfigurationError: it yields something else, or nothing, or it raises.
    """
    found: list[Mapping[str, NDArray]] = []
    made = call_factory(text)
    if not isinstance(made, Iterable):
        raise ConfigurationError(f"{text}: expected frames one after the other, got {type(made)}")
    items = iter(made)
    while len(found) < most:
        try:
            item = next(items)
        except StopIteration:
            break
        except Exception as error:
            raise ConfigurationError(
                f"{text}: raised {where_raised(error)} after {len(found)} frames"
            ) from error
        found.append(keep(_checked(text, item, examples, len(found))))
    if not found:
        raise ConfigurationError(f"{text}: expected frames, got none")
    return found


def _checked(
    text: str, item: Any, examples: Mapping[str, NDArray], number: int
) -> dict[str, NDArray]:
    """Return a frame as arrays.

    Raises:
        ConfigurationError: it is not like the examples.
    """
    if isinstance(item, Mapping):
        values = dict(item)
    else:
        parts = item if isinstance(item, (tuple, list)) else (item,)
        values = dict(zip(examples, parts, strict=False))
    if set(examples) - set(values):
        raise ConfigurationError(
            f"{text}: expected {', '.join(examples)} in every frame, got {', '.join(values)}"
        )
    arrays = {}
    for name, example in examples.items():
        value = values[name]
        array = value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)
        if (array.shape, array.dtype) != (example.shape, example.dtype):
            raise ConfigurationError(
                f"{text}: frame {number}: '{name}' expects {example.shape} {example.dtype}, got "
                f"{array.shape} {array.dtype}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ConfigurationError(
                f"{text}: frame {number}: '{name}' has values that are no number"
            )
        arrays[name] = array
    return arrays
