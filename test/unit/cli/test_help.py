"""Every option with a default says it."""

import argparse

import pytest

from edge_perception.cli.main import discover_commands, main


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["validate"], "folder for the reports (report)"),
        (["record"], "folder of the files (events)"),
        (["faults"], "folder for results (faults_out)"),
        (["bench", "all"], "folder of results (bench_out)"),
        (["demo"], "(demo_out)"),
    ],
)
def test_out_says_its_default(command, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_no_option_hides_its_default():
    from edge_perception.cli.main import _parser

    commands, failures = discover_commands()
    silent = []

    def look(parser):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    look(inner)
                continue
            has = action.default not in (None, False, "", argparse.SUPPRESS, [])
            if action.option_strings and has and "default" not in (action.help or ""):
                silent.append(f"{parser.prog} {action.option_strings[0]}")

    look(_parser(commands, failures))
    assert not silent
