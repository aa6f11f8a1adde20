"""Write one start script for each console_scripts entry of setup.cfg.

Usage: write_executables.py SETUP_CFG OUTPUT_DIR

pip makes the same scripts from the same list; this is for the CMake install, where
`ros2 run` and launch files look for them in lib/<package>.
"""

import configparser
import pathlib
import stat
import subprocess
import sys

SCRIPT = """#!{interpreter}
import sys

from {module} import {function}

if __name__ == "__main__":  # processes that a command spawns import this file again
    sys.exit({function}())
"""

# Signals wait until the script takes them: Python dies of one that comes before its first line,
# with a traceback. Every function of `console_scripts` lets them through.
HOLDING = ("/usr/bin/env", "-S", "--block-signal=INT,TERM")


def interpreter() -> str:
    try:
        subprocess.run([HOLDING[0], HOLDING[2], "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):  # an old one, or not GNU's
        return "/usr/bin/env python3"
    return f"{' '.join(HOLDING)} python3"


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
        script.write_text(
            SCRIPT.format(interpreter=interpreter(), module=module, function=function)
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
