"""Write one start script for each console_scripts entry of setup.cfg.

Usage: write_executables.py SETUP_CFG OUTPUT_DIR

pip makes the same scripts from the same list; this is for the CMake install, where
`ros2 run` and launch files look for them in lib/<package>.
"""

import configparser
import pathlib
import stat
import sys

SCRIPT = """#!/usr/bin/env python3
import sys

from {module} import {function}

if __name__ == "__main__":  # processes that a command spawns import this file again
    sys.exit({function}())
"""


def main(setup_cfg: pathlib.Path, output_dir: pathlib.Path) -> None:
    config = configparser.ConfigParser()
    config.read(setup_cfg)
    output_dir.mkdir(parents=True, exist_ok=True)
    for stale in output_dir.iterdir():
        stale.unlink()
    for line in config["options.entry_points"]["console_scripts"].split("\n"):
        if not line.strip():
            continue
        name, target = (part.strip() for part in line.split("="))
        module, function = target.split(":")
        script = output_dir / name
        script.write_text(SCRIPT.format(module=module, function=function))
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
