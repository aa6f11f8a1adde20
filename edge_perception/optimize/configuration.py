"""Ways to run a model: which of them a machine offers, and their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_perception.backends import DEFAULT_BACKEND, backends, offered_ways
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import Bundle


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One way to run one model."""

    bundle: Bundle
    backend: str = DEFAULT_BACKEND
    provider: str = ""
    precision: str = "fp32"
    threads: int = 1
    sources: int = 1  # that run it at the same time
    batch: int = 1  # of their frames in one run

    @property
    def name(self) -> str:
        """For people: ``bev_lite_camera 0.5.0 int8, openvino CPU bf16, 2 threads, 2 in a run``."""
        manifest = self.bundle.manifest
        kind = f" {manifest.runtime.precision}" if manifest.runtime.precision else ""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        where = " ".join(filter(None, (self.backend, self.provider, self.precision)))
        batch = f", {self.batch} in a run" if self.batch > 1 else ""
        return f"{manifest.name} {manifest.version}{kind}, {where}, {threads}{batch}"

    def options(self) -> ModelOptions:
        """Return what a node would be told."""
        return ModelOptions(
            model=self.bundle.manifest.name,
            backend=self.backend,
            provider=self.provider,
            precision=self.precision,
            threads=self.threads,
            batch=self.batch,
            strict_provider=True,  # what falls back is another configuration, measured already
        )


def configurations(
    bundles: Sequence[Bundle], *, cores: int, sources: int = 1
) -> Iterator[Configuration]:
    """Yield every way to run one of these bundles here, the plain one of the first bundle first.

    Args:
        bundles: of one role and feature space: the served one, then its variants.
        cores: that may be used.
        sources: that run the model at the same time.
    """
    for bundle in bundles:
        for backend, provider, precision in _ways():
            for threads in _counts(min(cores, 8)):
                for batch in _counts(min(sources, 64)):
                    yield Configuration(
                        bundle=bundle,
                        backend=backend,
                        provider=provider,
                        precision=precision,
                        threads=threads,
                        sources=sources,
                        batch=batch,
                    )


def _ways() -> Iterator[tuple[str, str, str]]:
    """Yield (backend, provider, precision), as far as the runtimes can tell; the default one first.

    A runtime that asks a server is not tried: where it is, only its user knows.
    """
    yield DEFAULT_BACKEND, "", "fp32"
    for name, spec in sorted(backends().specs.items()):
        for provider, precision in offered_ways(spec)[0]:
            if (name, provider, precision) != (DEFAULT_BACKEND, "", "fp32"):
                yield name, provider, precision


def _counts(most: int) -> list[int]:
    """Powers of two, and the most."""
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] >= most else [*counts, most]
