"""Commands as hooks: real processes that decide, hang, flood, crash and leave others behind.

What a command may learn, and what may be left of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path

import pytest

from fix_taking import eventually
from sluiceway.errors import BadRequest
from sluiceway.server.hooks import command as module
from sluiceway.server.hooks.command import CommandHook, parse_command
from sluiceway.uploads.hooks.contract import HookCall, HookResponse

CALL = HookCall("evt_1", json.dumps({"specversion": "1.0", "data": {"key": "a; rm -rf /"}}))
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are of sh")


def shell(text: str) -> CommandHook:
    return CommandHook(f"sh -c {shlex.quote(text)}")


async def run(text: str, call: HookCall = CALL, timeout: float = 20.0) -> HookResponse:
    async with asyncio.timeout(timeout):
        return await shell(text).call(call)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:  # a zombie whose parent does not look is gone, too
        return file.read().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exit 0", ("accepted", "", 0)),
        ("echo all is well", ("accepted", "", 0)),
        ("echo '{\"note\": 1}'", ("accepted", "", 0)),
        ("exit 1", ("refused", "", 0)),
        ("echo /srv/secret/path; exit 1", ("refused", "", 0)),  # no JSON: for the log alone
        ('echo \'{"detail": "No", "status": 415}\'; exit 1', ("refused", "No", 415)),
        ('echo \'{"refuse": "No"}\'', ("refused", "No", 0)),
        ('echo \'{"refuse": {"title": "No", "status": 200}}\'', ("refused", "No", 0)),
        ("echo '{\"refuse\": true}'", ("refused", "", 0)),
        ('printf %s \'{"refuse": "a\\nb\\u0007"}\'', ("refused", "a b\ufffd", 0)),
        ("exit 2", ("failed", "", 0)),
        ('echo \'{"refuse": "No"}\'; exit 3', ("failed", "", 0)),
        ("kill -9 $$", ("failed", "", 0)),
    ],
)
async def test_exit_code_and_json_decide(text: str, expected: tuple[str, str, int]) -> None:
    response = await run(text)
    assert (response.outcome, response.words, response.status) == expected


async def test_it_gets_the_event_and_no_variable_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its standard input. No shell reads what a client wrote, and no secret is passed on."""
    monkeypatch.setenv("SLUICEWAY_TOKEN", "secret-of-the-server")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-bucket")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    file = tmp_path / "it's a file"
    file.write_bytes(b"abc")
    text = f'cat > {tmp_path}/event; env > {tmp_path}/env; cat "$SLUICEWAY_PATH" > {tmp_path}/read'
    call = HookCall(CALL.id, CALL.body, str(file))
    assert (await run(text, call)).outcome == "accepted"
    assert json.loads((tmp_path / "event").read_text()) == json.loads(CALL.body)
    env = (tmp_path / "env").read_text()
    assert "secret" not in env
    assert "LC_ALL=C.UTF-8" in env
    assert (tmp_path / "read").read_bytes() == b"abc"


async def test_the_path_is_one_argument(tmp_path: Path) -> None:
    """Also with spaces and quotes in it. A command that wants one fails where there is none."""
    file = tmp_path / "it's; a $(file)"
    file.write_bytes(b"abc")
    hook = CommandHook("grep -q abc {path}")
    assert (await hook.call(HookCall("e", "{}", str(file)))).outcome == "accepted"
    none = await hook.call(CALL)
    assert none.outcome == "failed"
    assert "{path}" in none.why


async def test_its_errors_are_for_the_log() -> None:
    response = await run("echo 'cannot read /etc/rules' >&2; exit 4")
    assert response.outcome == "failed"
    assert "sh ended with 4: cannot read /etc/rules" in response.why


async def test_one_that_writes_too_much_is_ended() -> None:
    """Its output is not held in memory."""
    response = await run("yes")
    assert response.outcome == "failed"
    assert str(module.MOST_OUTPUT) in response.why


async def test_one_that_reads_nothing_decides_all_the_same() -> None:
    """The event may be longer than the pipe."""
    call = HookCall("e", json.dumps({"data": "x" * (1 << 18)}))
    assert (await run("exit 1", call)).outcome == "refused"


async def test_a_cancelled_call_leaves_no_process(tmp_path: Path) -> None:
    """Neither the command nor what it started."""
    text = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait"
    async with asyncio.timeout(60):
        task = asyncio.ensure_future(shell(text).call(CALL))
        while not (tmp_path / "self").exists() or not (tmp_path / "self").read_text().strip():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    for name in ("self", "child"):
        pid = int((tmp_path / name).read_text())
        eventually(partial(is_gone, pid), name)


async def test_what_it_leaves_running_holds_nothing_up(tmp_path: Path) -> None:
    """A process in the background that keeps the pipes open is ended with it."""
    response = await run(f"sleep 300 & echo $! > {tmp_path}/child; exit 1")
    assert response.outcome == "refused"
    eventually(lambda: is_gone(int((tmp_path / "child").read_text())), "the child")


def test_a_command_that_cannot_be_run_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for text, words in {
        "no-such-program-anywhere x": "no-such-program-anywhere",
        str(tmp_path / "plain"): "executable",
        "sh 'unclosed": "cannot be split",
        "  ": "empty",
    }.items():
        with pytest.raises(BadRequest, match=words):
            CommandHook(text)
    assert parse_command("a 'b c' --d=\"e f\"") == ["a", "b c", "--d=e f"]


async def test_one_that_vanishes_is_a_failure(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    hook = CommandHook(str(program))
    program.unlink()
    response = await hook.call(CALL)
    assert response.outcome == "failed"
    assert "cannot be started" in response.why
