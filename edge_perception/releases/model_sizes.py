"""What a model takes of memory, as it was measured."""

from __future__ import annotations

from edge_perception.backends import DEFAULT_BACKEND
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import Bundle
from edge_perception.releases.admission import AdmissionLimits, measure, runs_on_cpu


def peak_memory_bytes(bundle: Bundle, options: ModelOptions) -> int:
    """Return the peak memory of a model, as its manifest says or else measured in a helper.

    Manifests say what the default runtime takes on the CPU; another way has a size of its own.

    Raises:
        AdmissionError: it does not run here.
    """
    declared = bundle.manifest.resources.peak_memory_bytes
    usual = options.backend == DEFAULT_BACKEND and runs_on_cpu(options.provider)
    if declared and usual:
        return declared
    return measure(bundle, AdmissionLimits(latency_runs=20), options).peak_memory_bytes
