"""`edge-perception COMMAND …`: finds the commands of this folder and runs one.

A command is a module of this folder with NAME, HELP, add_arguments(parser) and run(args) -> int.
One that moves messages of sensors also has TRANSPORT = True; one whose libraries a checkout keeps
in an environment beside `.venv` has the name of that as BESIDE.
It imports at its top what every machine has; ROS and other heavy parts are imported by `run`, so
that one command works where another's needs are missing.

Exit status: 0 done, 1 failed, 2 wrong usage or input.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

import edge_perception
import edge_perception.cli
from edge_perception.cli._told import told
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders
from edge_perception.running.ending import SIGNALS, watch_signals

PROGRAM = "edge-perception"
OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED = 130  # as a shell reports SIGINT
_TRANSPORT_TAKEN = "EDGE_PERCEPTION_TRANSPORT_TAKEN"  # never twice
_BESIDE_TAKEN = "EDGE_PERCEPTION_BESIDE_TAKEN"  # never twice
_PARTS = ("NAME", "HELP", "add_arguments", "run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Errors are one line on stderr."""
    if argv is None and sys.argv[1:2] == ["run"]:
        watch_signals()  # what it starts ends with 0 at any moment, so does it
    elif argv is None:
        _end_quietly_on_interrupt()
    plugins, arguments = _plugins().parse_known_args(argv)
    try:
        # Before the commands declare their options: some name what there is.
        add_plugin_folders(plugins.plugin_folder)
    except ConfigurationError as error:
        return _say(str(error), USAGE)
    commands, failures = discover_commands()
    parser = _parser(commands, failures)
    args, rest = parser.parse_known_args(arguments)
    if args.command in failures:
        return _say(f"{args.command} cannot be used here: {failures[args.command]}", FAILED)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        command = commands[args.command]
        if argv is None and getattr(command, "TRANSPORT", False):
            _take_transport()
        if argv is None and hasattr(command, "BESIDE"):
            _take_environment(command.BESIDE)
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # it has what to close
        return int(command.run(args))
    except ConfigurationError as error:
        return _say(str(error), USAGE)
    except EdgePerceptionError as error:
        return _say(str(error), FAILED)
    except ImportError as error:
        return _say(f"{args.command} needs what is not installed here: {error}", FAILED)
    except BrokenPipeError:  # the reader of our output has gone: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # of a file or folder that was named: missing, read-only, full
        return _say(f"{args.command}: {error}", USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED


def _end_quietly_on_interrupt() -> None:
    """Have Ctrl-C end this process at once, until a command runs: there is nothing to close yet.

    A KeyboardInterrupt would come out of an import, as a page of traceback. Where SIGINT is
    ignored, as of what a shell script starts in the background, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # held by `_start_anew` and start scripts


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _start_anew(python: str, environment: dict[str, str]) -> NoReturn:
    """Go on as this command in a new interpreter, with signals held back until its `main`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.execve(python, [python, "-m", __spec__.name, *sys.argv[1:]], environment)


def _take_transport() -> None:
    """Start this program anew with the environment in which large messages arrive.

    What it changes is read before `main`: by the allocator, and once by the middleware.
    """
    from edge_perception.running.transport import choose_transport, transport_environment

    added = transport_environment(os.environ)
    if not added or _TRANSPORT_TAKEN in os.environ:
        return
    if not choose_transport(os.environ).variables:
        print(f"transport: {choose_transport(os.environ).reason}", file=sys.stderr, flush=True)
    environment = {**os.environ, **added, _TRANSPORT_TAKEN: "1"}
    _start_anew(sys.executable, environment)


def _take_environment(name: str) -> None:
    """Go on in the environment beside this one that has a command's libraries, if there is one."""
    here = Path(sys.prefix)
    python = here.parent / name / "bin" / "python"
    if here.name == name or not python.exists() or _BESIDE_TAKEN in os.environ:
        return
    package = str(Path(edge_perception.__path__[0]).parent)
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": paths, _BESIDE_TAKEN: "1"}
    print(f"{PROGRAM}: with the libraries of {name}", file=sys.stderr, flush=True)
    _start_anew(str(python), environment)


def discover_commands() -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Return the commands by name, and why the others cannot be imported."""
    commands: dict[str, ModuleType] = {}
    failures: dict[str, str] = {}
    for info in pkgutil.iter_modules(edge_perception.cli.__path__):
        if info.name.startswith("_") or info.name == "main":
            continue
        try:
            module = importlib.import_module(f"edge_perception.cli.{info.name}")
        except ImportError as error:
            failures[info.name] = str(error)
            continue
        if all(hasattr(module, part) for part in _PARTS):
            commands[module.NAME] = module
    return commands, failures


def _plugins() -> argparse.ArgumentParser:
    """Return the option of every command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--plugin-folder",
        action="append",
        default=[],
        metavar="FOLDER",
        help="extensions of your own: encoders/, backends/ and adapters/ in it; repeatable",
    )
    return parser


def _parser(commands: dict[str, ModuleType], failures: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Multimodal perception for ROS 2.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in sorted(commands.items()):
        command = subparsers.add_parser(
            name, help=module.HELP, description=module.__doc__, parents=[_plugins()]
        )
        module.add_arguments(command)
        _say_defaults(command)
    for name, reason in sorted(failures.items()):
        subparsers.add_parser(name, help=f"not usable here: {reason}")
    return parser


def _say_defaults(parser: argparse.ArgumentParser) -> None:
    """Let the help of every option say its default, where it has one and does not say it yet."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _say_defaults(inner)
        told = action.help or ""
        silent = action.default in (None, False, "", argparse.SUPPRESS) or action.default == []
        if action.option_strings and not silent and "default" not in told:
            action.help = f"{told} (%(default)s)".strip()


def _say(text: str, status: int) -> int:
    print(f"{PROGRAM}: {told(text)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
