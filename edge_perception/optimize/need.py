"""Is an export needed at all: PyTorch on this machine against the budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from edge_perception.optimize.findings import NOTE, WARNING, Outcome
from edge_perception.optimize.libraries import torch_library
from edge_perception.optimize.sources import TorchSource

_CONFIDENCE = 0.95
_WARM_UP = 5


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """A percentile with its distribution-free interval (order statistics)."""

    value: float
    low: float
    high: float  # inf: too few samples to bound it
    samples: int


def quantile(samples: NDArray[np.float64], share: float) -> Quantile:
    """Return a percentile and the interval that holds it with 95 %.

    The number of samples below it is binomial, whatever their distribution (David and Nagaraja,
    Order Statistics, 7.1).
    """
    ordered = np.sort(samples)
    count = len(ordered)
    tail = (1 - _CONFIDENCE) / 2
    low = int(binom.ppf(tail, count, share)) - 1
    high = int(binom.ppf(1 - tail, count, share))
    return Quantile(
        value=float(np.quantile(ordered, share)),
        low=float(ordered[low]) if low >= 0 else 0.0,
        high=float(ordered[high]) if high < count else float("inf"),
        samples=count,
    )


def least_samples(share: float) -> int:
    """Return how many samples bound a percentile from above."""
    return int(np.ceil(np.log((1 - _CONFIDENCE) / 2) / np.log(share)))


def timed_ms(
    call: Callable[[], Any], *, share: float, most_s: float, wait: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """Return times of a call, ms: enough for the percentile, as far as the time allows.

    Args:
        call: what is timed.
        share: the percentile, 0 to 1.
        most_s: nothing new begins after it.
        wait: for an asynchronous device to end its work.
    """
    began = time.perf_counter()
    for _ in range(_WARM_UP):
        call()
    wait()
    wanted = 2 * least_samples(share)
    times: list[float] = []
    while len(times) < wanted and (len(times) < 20 or time.perf_counter() - began < most_s):
        start = time.perf_counter()
        call()
        wait()
        times.append((time.perf_counter() - start) * 1e3)
    return np.array(times)


def check_need(
    source: TorchSource,
    outcome: Outcome,
    *,
    budget_ms: float,
    share: float,
    most_s: float,
    threads: int,
) -> None:
    """Add whether PyTorch alone keeps the budget here."""
    torch = torch_library()
    torch.set_num_threads(threads)
    device = next((p.device for p in source.module.parameters()), torch.device("cpu"))
    tensors = [t.to(device) for t in source.tensors()]
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    with torch.inference_mode():
        times = timed_ms(
            lambda: source.module.eval()(*tensors), share=share, most_s=most_s, wait=wait
        )
    found = quantile(times, share)
    name = f"p{100 * share:g}"
    outcome.figures["pytorch_ms"] = {
        "p50": float(np.median(times)), name: found.value, f"{name}_low": found.low,
        f"{name}_high": found.high, "samples": found.samples, "threads": torch.get_num_threads(),
        "device": str(device), "budget": budget_ms,
    }  # fmt: skip
    bound = "not bounded" if np.isinf(found.high) else f"{found.low:.2f} to {found.high:.2f}"
    told = (
        f"PyTorch on {device}, {torch.get_num_threads()} threads: {name} {found.value:.2f} ms "
        f"(95 %: {bound}; {found.samples} runs), budget {budget_ms:g} ms"
    )
    if found.high <= budget_ms:
        outcome.add(NOTE, "need", f"no export is needed for speed: {told}")
    elif found.low > budget_ms:
        outcome.add(WARNING, "need", f"an export is needed: {told}")
    else:
        outcome.add(
            WARNING, "need", f"not decided: {told}",
            f"more runs (--measure-s): {least_samples(share)} bound a {name}",
        )  # fmt: skip
