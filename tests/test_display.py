"""What is printed: texts of any origin stay texts."""

import io

import pytest
from rich.console import Console

from hwnas_jax.cli import main
from hwnas_jax.display import Terminal, plain

ODD = ("[red]x[/red]", "[/x]", ":smile:", "{task}", "a\\")


@pytest.fixture
def terminal():
    return Terminal(Console(file=io.StringIO(), width=200, highlight=False))


def test_what_controls_a_terminal_is_replaced():
    text = "a\x1b]0;title\x07\x9b1m\0\r\u202e\ud800\x7f b\tc\nd é ±"
    assert plain(text) == "a\ufffd]0;title\ufffd\ufffd1m\ufffd\ufffd\ufffd\ufffd\ufffd b\tc\nd é ±"
    assert plain(3.5) == "3.5"


def test_markup_is_text(terminal):
    with terminal.stage("search") as report:
        report(0, 0, ODD[0])
        for what in ODD:
            report(1, 2, what)
    for what in ODD:
        terminal.say(what)
    terminal.table(ODD[1], ODD, [ODD, ["\x1b[2J"] * len(ODD)])
    shown = terminal.console.file.getvalue()
    for what in ODD:
        assert shown.count(what) >= 4
    assert "\x1b[2J" not in shown and "\ufffd[2J" in shown


def test_a_message_shows_no_escape_sequence(capsys):
    assert main(["evaluate", "\x1b[31mrun", "--table", "x"]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown and "\ufffd[31mrun" in shown
