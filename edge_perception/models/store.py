"""Finding bundles, under the name it had before the store of releases got a room of its own.

Scripts of users import it from here.
"""

from edge_perception.models.folders import find_bundle, installed_model_folders

__all__ = ["find_bundle", "installed_model_folders"]
