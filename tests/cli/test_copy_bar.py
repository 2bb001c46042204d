"""The bar of `sluiceway copy` on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from cli.test_copy import DATA, DEADLINE, command, environment, run, taking
from rude_peer import Exchange, Peer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


def on_a_terminal(arguments: list[str], until: float = DEADLINE) -> tuple[int, str]:
    """Runs with a pseudo-terminal as standard error; returns the exit code and the output."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=side,
        env=environment(TERM="xterm", COLUMNS="160", LINES="20"),
    )
    os.close(side)
    shown, end = b"", time.monotonic() + until
    while time.monotonic() < end:
        if select.select([main], [], [], 0.1)[0]:
            try:
                data = os.read(main, 65536)
            except OSError:
                break  # Linux: the other side is closed
            if not data:
                break
            shown += data
    os.close(main)
    return process.wait(DEADLINE), shown.decode("utf-8", "replace")


def test_the_bar_reaches_100_only_after_the_response(tmp_path: Path) -> None:
    """Everything is sent, the server is slow: the bar says "waiting", under 100 %."""
    source = tmp_path / "f.bin"
    source.write_bytes(bytes(4 << 20))
    answered: list[int] = []

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        time.sleep(1.5)
        answered.append(1)
        exchange.reply(201)

    with Peer(act) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))
    before, waiting, _ = shown.partition("waiting for the response")

    assert code == 0, shown
    assert waiting
    assert "99 %" in shown
    assert "100 %" not in before
    last_wait = shown.rindex("waiting for the response")
    assert "100 %" not in shown[: last_wait - 200]


def test_the_bar_shows_retries(tmp_path: Path) -> None:
    """In a line above a bar that starts again; 100 % only at the end."""
    source = tmp_path / "f.bin"
    source.write_bytes(bytes(4 << 20))
    responses = [503]

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        upload = exchange.method == "PUT"
        exchange.reply((responses.pop() if responses else 201) if upload else 404)

    with Peer(act) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))
    before, trying, after = shown.partition("trying again in")

    assert code == 0, shown
    assert trying
    assert "100 %" not in before
    assert after


def test_the_bar_shows_names_that_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """An escape sequence in a file name is shown as question marks."""
    source = tmp_path / "evil\x1b]0;owned\x07[bold].bin"
    source.write_bytes(bytes(3 << 20))
    with Peer(taking) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))

    assert code == 0, shown
    assert "\x1b]0;owned" not in shown
    assert "evil?]0;owned?[bold].bin" in shown


def test_without_a_terminal_there_is_no_bar(source: Path) -> None:
    """The logs of scripts stay clean."""
    with Peer(taking) as peer:
        assert run(source, f"{peer.url}/a").err == ""
