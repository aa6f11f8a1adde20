"""Multimodal perception runtime for ROS 2."""

from pkgutil import extend_path
from typing import TYPE_CHECKING

# The generated interfaces (edge_perception.msg, .srv) lie in the install space, under this name.
# In a source tree they are found there, so that tests run on the sources.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:  # no source tree has them: named here, they are without types everywhere
    import edge_perception.action
    import edge_perception.msg
    import edge_perception.srv  # noqa: F401
