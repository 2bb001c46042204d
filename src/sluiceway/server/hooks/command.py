"""A hook that is a command: the event on its standard input, its exit code and JSON as the verdict.

No shell reads it, and nothing of a client stands in its arguments. It gets no variable of the
server's but a few harmless ones. It ends with its call, and so does all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from functools import partial
from typing import cast

from sluiceway.errors import BadRequest
from sluiceway.pipe.cancellation import finish_all
from sluiceway.server.hooks.verdicts import read_verdict
from sluiceway.uploads.hooks.contract import HookCall, HookResponse
from sluiceway.wire.names import readable_name

__all__ = ["PATH_WORD", "CommandHook", "find_command", "parse_command"]

PATH_WORD = "{path}"  # stands in an argument for the file on this machine
AT_ONCE = 8  # commands of each hook that a process runs at the same time; the others wait
MOST_OUTPUT = 64 << 10  # bytes of its output that are read; with more it is a failure
MOST_LOGGED = 400  # characters of its error output in the log
KILLED_WITHIN = 5.0  # seconds after which one that the kernel does not end is left alone
REFUSES = 1  # exit code: its decision. Any other but 0 is a failure
# Variables that it gets. The server's own may hold secrets: tokens, keys of buckets, passwords.
VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("SYSTEMROOT", "PATHEXT", "COMSPEC"),  # without them few programs run on Windows
)


def parse_command(text: str) -> list[str]:
    """The arguments, as a shell would split them. Raises BadRequest."""
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise BadRequest(f"the command cannot be split into arguments: {error}") from None
    if not found or not found[0]:
        raise BadRequest("the command is empty; give a program and its arguments")
    return found


def find_command(argv: Sequence[str]) -> str:
    """Where its program is. Raises BadRequest where there is none that can be run."""
    found = shutil.which(argv[0])
    if found is None:
        raise BadRequest(
            f"there is no program {argv[0]!r} that this user can run; give its path, and make it "
            "executable"
        )
    return os.path.abspath(found)


class CommandHook:
    """One command. Raises BadRequest where it cannot be run."""

    def __init__(self, text: str) -> None:
        self._argv = parse_command(text)
        self._program = find_command(self._argv)
        self.at_once: int = AT_ONCE

    async def call(self, call: HookCall) -> HookResponse:
        name = os.path.basename(self._program)
        if call.path is None and any(PATH_WORD in each for each in self._argv):
            return HookResponse(
                "failed", why=f"{name} wants {PATH_WORD}, and this file has none on this machine"
            )
        done = asyncio.Event()
        # In a task of its own: a start that is cancelled would leave what it has started.
        job = asyncio.ensure_future(self._run(call, name, done))
        try:
            return await asyncio.shield(job)
        finally:
            done.set()
            await finish_all([job])

    async def _run(self, call: HookCall, name: str, done: asyncio.Event) -> HookResponse:
        """Until it has ended, or `done` is set by another."""
        try:
            transport, run = await self._start(call, done)
        except OSError as error:
            return HookResponse("failed", why=f"{name} cannot be started: {error.strerror}")
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        # It need not read it, and may have ended: then uvloop's pipe is closed.
        with contextlib.suppress(RuntimeError):
            stdin.write(call.body.encode())
            stdin.write_eof()
        await done.wait()
        await _end(transport, run)
        return _judged(transport.get_returncode(), run, name)

    async def aclose(self) -> None:
        """Nothing is open between two calls."""

    async def _start(
        self, call: HookCall, done: asyncio.Event
    ) -> tuple[asyncio.SubprocessTransport, _Run]:
        argv = [each.replace(PATH_WORD, call.path or "") for each in self._argv[1:]]
        variables = {
            name: value
            for name, value in os.environ.items()
            if name.upper() in VARIABLES or name.startswith("LC_")
        }
        if call.path is not None:
            variables["SLUICEWAY_PATH"] = call.path
        return await asyncio.get_running_loop().subprocess_exec(
            partial(_Run, done),
            self._program,
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=variables,
            start_new_session=sys.platform != "win32",
        )


class _Run(asyncio.SubprocessProtocol):
    """A command that runs: what it writes is read to its end, and as much kept as is allowed."""

    def __init__(self, done: asyncio.Event) -> None:
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.done = done  # set when it has ended, or has written more than it may
        self.exited = asyncio.Event()
        self.drained = asyncio.Event()  # nobody has its pipes any more
        self._open = set(self.output)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self.output[fd]
        kept += data[: MOST_OUTPUT + 1 - len(kept)]
        if len(kept) > MOST_OUTPUT:
            self.done.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self.drained.set()

    def process_exited(self) -> None:
        self.exited.set()
        self.done.set()


def _judged(code: int | None, run: _Run, name: str) -> HookResponse:
    output, errors = map(bytes, run.output.values())
    if max(len(output), len(errors)) > MOST_OUTPUT:
        return HookResponse("failed", why=f"{name} wrote more than {MOST_OUTPUT} bytes")
    verdict = read_verdict(output)
    ended = (
        f"{name} ended with {code}"
        if code is None or code >= 0
        else (f"{name} was ended by {signal.Signals(-code).name}")
    )
    # Its plain text may name paths of this machine: it is for the log alone.
    text = readable_name((errors or output).decode("utf-8", "replace").strip()[-MOST_LOGGED:])
    why = f"{ended}: {text}" if text else ended
    if code == REFUSES or (code == 0 and verdict is not None and verdict.refuses):
        words, status = ("", 0) if verdict is None else (verdict.words, verdict.status)
        return HookResponse("refused", words, status, why)
    return HookResponse("accepted") if code == 0 else HookResponse("failed", why=why)


async def _end(transport: asyncio.SubprocessTransport, run: _Run) -> None:
    """End it and all that it started, which may hold its pipes; read the rest, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            transport.kill()
        else:
            # Its group has its id. When it has ended itself, the kernel gives that id to another
            # process only after all other ids.
            os.killpg(transport.get_pid(), signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILLED_WITHIN):
            await run.exited.wait()
            await run.drained.wait()
    transport.close()
