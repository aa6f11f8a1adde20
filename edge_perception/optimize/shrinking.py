"""Fewer channels, really removed; and training with quantisation in the loop."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, ModelError
from edge_perception.optimize.libraries import (
    extensions_folder,
    free_abandoned_builds,
    nncf_library,
    operation_counter,
    pruning_library,
    quantiser_hooks,
    torch_library,
)
from edge_perception.optimize.ranges import quiet
from edge_perception.optimize.sources import TorchSource, call_factory
from edge_perception.optimize.torch_check import hushed, named_outputs, run_torch


def widths(source: TorchSource) -> dict[str, int]:
    """Return the output channels of every layer by its name."""
    found = {}
    for name, module in source.module.named_modules():
        width = getattr(module, "out_channels", getattr(module, "out_features", None))
        if isinstance(width, int):
            found[name] = width
    return found


def pruned(
    source: TorchSource,
    *,
    share: float,
    keep: Sequence[str] = (),
    multiple: int = 4,
    whole: Mapping[str, int] | None = None,
) -> TorchSource:
    """Return a copy with a share of the channels removed, those with the least weights.

    Outputs keep their shapes: layers that make them are left as they are.

    Args:
        source: module and inputs.
        share: of the channels of each group of layers that depend on each other.
        keep: names of modules that are not to be touched.
        multiple: of this are the channels that are left, the nearest one.
        whole: `widths` that the share is of, where rounds before have removed some; None: of the
            source. Rounding would else add up over rounds.

    Raises:
        ConfigurationError: a name is unknown.
        ModelError: the module cannot be pruned.
    """
    torch, pruning = torch_library(), pruning_library()
    module = copy.deepcopy(source.module).eval()
    known = dict(module.named_modules())
    unknown = [name for name in keep if name not in known]
    if unknown:
        raise ConfigurationError(f"--keep: no module {', '.join(unknown)} in {source.name}")
    left = [known[name] for name in keep] + _outputs_of(module, source)
    now = widths(source)
    shares = {}
    for name, width in (whole or now).items():
        wanted = max(multiple, multiple * round(width * (1 - share) / multiple))
        # Half a channel more: the library cuts off what is behind the point.
        shares[known[name]] = max(0.0, 1 - (wanted + 0.5) / now[name])
    before = [tuple(v.shape) for _, v in named_outputs(run_torch(source))]
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    try:
        with hushed(), torch.enable_grad():
            pruning.pruner.MagnitudePruner(
                module, source.tensors(),
                importance=pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=share, pruning_ratio_dict=shares, ignored_layers=left,
                round_to=multiple,
            ).step()  # fmt: skip
        made = replace(source, module=module.eval())
        after = [tuple(v.shape) for _, v in named_outputs(run_torch(made))]
    except Exception as error:
        head = str(error).strip().splitlines()
        raise ModelError(
            f"{source.name}: cannot be pruned: {type(error).__name__}: "
            f"{head[0][:200] if head else ''}; leave modules that reshape by fixed channel counts "
            "out with --keep NAME"
        ) from error
    if before != after:
        raise ModelError(
            f"{source.name}: pruning changed the outputs from {before} to {after}: --keep NAME of "
            "the layers that make them"
        )
    return made


def _outputs_of(module: Any, source: TorchSource) -> list[Any]:
    """Return the layers whose results reach an output without another layer with weights."""
    torch = torch_library()
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Linear)
    layers = [m for m in module.modules() if isinstance(m, kinds)]
    by_node: dict[int, Any] = {}
    hooks = []
    for layer in layers:

        def note(owner: Any, _given: Any, made: Any) -> None:
            if made.grad_fn is not None:
                by_node[id(made.grad_fn)] = (owner, made.grad_fn)

        hooks.append(layer.register_forward_hook(note))
    try:
        with torch.enable_grad():
            made = module(*source.tensors())
    finally:
        for hook in hooks:
            hook.remove()
    found, seen = [], set()
    waiting = [v.grad_fn for _, v in named_outputs(made) if v.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if id(node) in by_node:
            found.append(by_node[id(node)][0])
            continue
        waiting += [child for child, _ in node.next_functions]
    return found


def size_of(source: TorchSource) -> dict[str, int]:
    """Return multiply-adds and weights of a module."""
    counter = operation_counter()
    with counter:
        run_torch(source)
    return {
        "operations": int(counter.get_total_flops()),
        "parameters": sum(p.numel() for p in source.module.parameters()),
    }


def folded(source: TorchSource) -> TorchSource:
    """Return a copy whose batch norms are part of the convolutions before them, for inference."""
    torch = torch_library()
    module = copy.deepcopy(source.module).eval()
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    layers = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    made_by: dict[int, Any] = {}
    kept: list[Any] = []  # tensors stay alive, so that none is taken for another
    pairs: list[tuple[str, str]] = []
    runs: Counter[str] = Counter()
    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, layers):

            def note(_part: Any, _given: Any, made: Any, name: str = name) -> None:
                made_by[id(made)] = name
                kept.append(made)
                runs[name] += 1

            hooks.append(part.register_forward_hook(note))
        elif isinstance(part, kinds):

            def pair(_part: Any, given: Any, name: str = name) -> None:
                if id(given[0]) in made_by:
                    pairs.append((made_by[id(given[0])], name))

            hooks.append(part.register_forward_pre_hook(pair))
    made = replace(source, module=module)
    try:
        run_torch(made)
    finally:
        for hook in hooks:
            hook.remove()
    known = dict(module.named_modules())
    for layer, norm in pairs:
        if runs[layer] == 1 and sum(norm == other for _, other in pairs) == 1:
            fused = torch.nn.utils.fusion.fuse_conv_bn_eval(known[layer], known[norm])
            _put(module, layer, fused)
            _put(module, norm, torch.nn.Identity())
    return made


def _put(module: Any, name: str, part: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent) if parent else module, last, part)


def fine_tuned(source: TorchSource, train: str) -> TorchSource:
    """Return a module after the user's own training: `module:function` of the module.

    Raises:
        ConfigurationError: it raises, or returns what is no module.
    """
    torch = torch_library()
    with torch.enable_grad():
        made = call_factory(train, source.module.train())
    made = source.module if made is None else made
    if not isinstance(made, torch.nn.Module):
        raise ConfigurationError(f"{train}: expected the module or nothing, got {type(made)}")
    return replace(source, module=made.eval())


def with_quantisers(source: TorchSource, frames: Sequence[Mapping[str, NDArray]]) -> TorchSource:
    """Return a copy that computes as 8 bits would, its ranges begun from frames; it trains."""
    nncf, torch = nncf_library(), torch_library()
    free_abandoned_builds(extensions_folder())  # NNCF compiles one at its first use

    def tensors(frame: Mapping[str, NDArray]) -> Any:
        made = tuple(torch.from_numpy(np.array(frame[name])) for name in source.inputs)
        return made[0] if len(made) == 1 else made

    with quiet(), hushed():
        import logging

        nncf.set_log_level(logging.ERROR)
        module = nncf.quantize(
            copy.deepcopy(source.module).eval(),
            nncf.Dataset(list(frames), tensors),
            subset_size=len(frames),
        )
    return replace(source, module=module)


def stripped(source: TorchSource) -> TorchSource:
    """Return a copy of a trained module with plain quantisation in the place of what trained it."""
    nncf, hooks_of = nncf_library(), quantiser_hooks()
    tensors = source.tensors()
    example = tensors[0] if len(tensors) == 1 else tensors
    shared: dict[int, list[str]] = {}
    for name, hook in hooks_of(source.module).named_hooks(remove_duplicate=False):
        shared.setdefault(id(hook), []).append(name)
    with quiet(), hushed():
        module = nncf.strip(source.module.eval(), example_input=example)
    # Tensors that are stacked or added share one quantiser, and NNCF replaces it at its first place
    # only; what stays at the others would become an operator that OpenVINO alone has.
    hooks = hooks_of(module)
    for first, *others in shared.values():
        for name in others:
            hooks.set_submodule(name, hooks.get_submodule(first))
    return replace(source, module=module.eval())
