"""Which roles there are on this machine: fusion, and every modality that is found."""

from __future__ import annotations

from edge_perception.core.errors import ConfigurationError, ManifestError
from edge_perception.encoders import encoders
from edge_perception.models.manifest import FUSION, Manifest


def check_role(manifest: Manifest) -> None:
    """Check that something on this machine could serve a model.

    Raises:
        ManifestError: its role is neither fusion nor a modality that can be used here; the text
            says which there are, or why it cannot be used.
    """
    if manifest.role == FUSION:
        return
    try:
        encoders()[manifest.role]
    except ConfigurationError as error:
        raise ManifestError(f"{manifest.name}: manifest.role: {error}, and {FUSION}") from error
