"""A program's standard output as a source. Its end is withheld until the program has ended well: a dump that broke off is none.

Reading happens in a thread of its own. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sluiceway.client.local.files import READ_SIZE, Thread
from sluiceway.errors import SourceFailed
from sluiceway.pipe.source import Buffer, PassingSource
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["Command", "command_source"]

END_WAIT = (
    600.0  # seconds a program may take to end after its last byte: dumps vacuum, compressors flush
)
STOP_WAIT = 5.0  # seconds it has to end by itself when it is told to


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: a line for a shell, in which the failure of any part of a pipe counts, or a program and its arguments.

    `sluiceway.copy(Command("pg_dump shop | zstd"), "s3://backups/shop.sql.zst")`
    """

    line: str | Sequence[str]

    @property
    def arguments(self) -> list[str]:
        if not isinstance(self.line, str):
            return list(self.line)
        if os.name == "nt":
            return ["cmd", "/c", self.line]
        bash = shutil.which("bash")
        return [bash, "-o", "pipefail", "-c", self.line] if bash else ["/bin/sh", "-c", self.line]


def command_source(command: Command) -> PassingSource:
    """Flows past once; the program starts with the first read, and is ended when nobody reads on."""
    return PassingSource(_output(command))


async def _output(command: Command) -> AsyncIterator[Buffer]:
    thread, started = Thread("sluiceway-command"), list[subprocess.Popen[bytes]]()
    try:
        await in_thread(
            lambda: started.append(_started(command))
        )  # also when cancelled: what was started has to be ended
        held: bytes | None = None
        while chunk := await thread.do(partial(_read, started[0])):
            if held is not None:
                yield held
            held = chunk
        await thread.do(partial(_ended_well, started[0]))
        if held is not None:
            yield held
    finally:
        thread.close()
        for process in started:
            await in_thread(partial(_stop, process))


def _read(process: subprocess.Popen[bytes]) -> bytes:
    return b"" if process.stdout is None else os.read(process.stdout.fileno(), READ_SIZE)


def _started(command: Command) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: ^C at the terminal reaches this program, which then ends that one.
        return subprocess.Popen(  # noqa: S603 - the user's own line, on purpose
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceFailed(f"The command cannot be run: {error.strerror or error}") from error


def _ended_well(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(END_WAIT)
    except subprocess.TimeoutExpired:
        raise SourceFailed(
            f"The command wrote all and did not end within {END_WAIT:.0f} s; nothing was stored"
        ) from None
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        raise SourceFailed(f"The command {how}; nothing was stored")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """No process of it stays, also where it started others; a read that waits for it then ends."""
    if process.poll() is None:
        _tell(process, signal.SIGTERM)
        try:
            process.wait(STOP_WAIT)
        except subprocess.TimeoutExpired:
            _tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _tell(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        if os.name == "nt":
            process.terminate()
        else:
            os.killpg(process.pid, number)
