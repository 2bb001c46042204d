"""A program's standard output as a source.

Its last block is withheld until the program has succeeded: a truncated dump never looks complete.
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

from sluiceway.client.local.daemon_thread import DaemonThread
from sluiceway.client.local.files import READ_SIZE
from sluiceway.errors import SourceFailed
from sluiceway.pipe.source import Buffer, PassingSource
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["Command", "command_source"]

# Seconds a program may take to end after its last byte: dumps vacuum, compressors flush.
END_TIMEOUT = 600.0
STOP_TIMEOUT = 5.0  # seconds it has to end by itself after SIGTERM


@dataclass(frozen=True, slots=True)
class Command:
    """A program whose output is copied.

    The copy fails when the program fails, and then nothing is stored.

    Args:
        line: A line for a shell, in which the failure of any part of a pipe counts; or a sequence
            of the program and its arguments, which no shell reads.

    Example:
        sluiceway.copy(Command("pg_dump shop | zstd"), "s3://backups/shop.sql.zst")
    """

    line: str | Sequence[str]

    @property
    def arguments(self) -> list[str]:
        """The program and its arguments, as they are started."""
        if not isinstance(self.line, str):
            return list(self.line)
        if os.name == "nt":
            return ["cmd", "/c", self.line]
        bash = shutil.which("bash")
        return [bash, "-o", "pipefail", "-c", self.line] if bash else ["/bin/sh", "-c", self.line]


def command_source(command: Command) -> PassingSource:
    """Return the output as a source that can be read only once.

    The program starts with the first read, and is ended when its reader leaves.
    """
    return PassingSource(_output(command))


async def _output(command: Command) -> AsyncIterator[Buffer]:
    thread, started = DaemonThread("sluiceway-command"), list[subprocess.Popen[bytes]]()
    try:
        # Into a list: also when this is cancelled, a program that was started has to be ended.
        await in_thread(lambda: started.append(_start(command)))
        withheld: bytes | None = None
        while chunk := await thread.do(partial(_read, started[0])):
            if withheld is not None:
                yield withheld
            withheld = chunk
        await thread.do(partial(_check_success, started[0]))
        if withheld is not None:
            yield withheld
    finally:
        thread.close()
        for process in started:
            await in_thread(partial(_stop, process))


def _read(process: subprocess.Popen[bytes]) -> bytes:
    return b"" if process.stdout is None else os.read(process.stdout.fileno(), READ_SIZE)


def _start(command: Command) -> subprocess.Popen[bytes]:
    try:
        # In a session of its own: ^C at the terminal reaches us, and we end the program.
        return subprocess.Popen(  # noqa: S603 - the user's own line, on purpose
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceFailed(f"The command cannot be run: {error.strerror or error}") from error


def _check_success(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise SourceFailed(
            f"The command wrote all and did not end within {END_TIMEOUT:.0f} s; nothing was stored"
        ) from None
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        raise SourceFailed(f"The command {how}; nothing was stored")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program with all processes it started, which ends a read that waits for it."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        if os.name == "nt":
            process.terminate()
        else:
            os.killpg(process.pid, number)
