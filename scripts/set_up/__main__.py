"""Set up this checkout: `python3 scripts/set_up [--training | --servers | --fleet | …]`.

Uses the ROS 2 of the machine where there is one, else ROS 2 from wheels in .venv, then builds
with colcon. Does nothing where nothing changed. Needs only the standard library.
"""

import os
import sys

# Before any other import: the modules below use syntax that an older Python cannot read.
if sys.version_info < (3, 10):  # noqa: UP036 - older Pythons do reach this line
    sys.exit(
        "Python 3.10 or newer is needed, this is {}.{}: Debian 12, Ubuntu 22.04 and later bring it "
        "with the package python3; or name one with `make setup PYTHON=python3.12`".format(
            *sys.version_info[:2]
        )
    )

from steps import VENV, main

if sys.prefix == str(VENV):
    # Started from inside .venv (its Python is first on the PATH): that one may be replaced below.
    os.execv(sys._base_executable, [sys._base_executable, *sys.argv])

sys.exit(main(sys.argv[1:]))
