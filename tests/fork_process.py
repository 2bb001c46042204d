"""The process that forks the commands of the tests (fork_server.py starts it).

`fork_process.py FOLDER LISTENER LISTENER`: the numbers of two sockets in that folder, for
Sluiceway's own commands and for other people's apps. It imports nothing before somebody connects;
what serves the apps is a fork of what serves the commands, and imports only what is missing. Both
end when standard input does.
"""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from fork_programs import APPS, OURS, PRELOADED, UNBUFFERED, added_paths
from fork_workers import end as end_fork
from fork_workers import fork_workers

__all__ = ["KINDS", "LENGTH", "exactly"]

KINDS = (OURS, APPS)
SETUP = "sitecustomize.py"
LENGTH = struct.Struct("!I")


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError("the other end of the fork server is gone")
        data += more
    return data


def _serve(kind: str, listeners: dict[str, socket.socket]) -> list[str]:
    """Forks for each request until the tests end. In a fork it returns the arguments of Python."""
    _import(kind)
    ended = _Ended()
    connections: list[socket.socket] = []
    gc.collect()
    gc.freeze()  # the forks share these pages
    while True:
        files: list[Any] = [0, ended.wakeup, *listeners.values(), *connections]
        ready, _, _ = select.select(files, [], [])
        if 0 in ready:  # the tests have ended, or were killed
            shutil.rmtree(sys.argv[1], ignore_errors=True)
            os._exit(0)
        if ended.wakeup in ready:
            ended.tell()
        if listeners[kind] in ready:
            connections.append(listeners[kind].accept()[0])
        if kind != APPS and listeners.get(APPS) in ready:
            if not os.fork():
                ended.forget()
                for one in connections:
                    one.close()
                return _serve(APPS, {APPS: listeners[APPS]})
            listeners.pop(APPS).close()
        for connection in [one for one in connections if one in ready]:
            try:
                request = _request(connection)
            except (OSError, EOFError, ValueError):  # its worker was killed, or gave up midway
                connections.remove(connection)
                connection.close()
                continue
            pid = os.fork()
            if not pid:
                for one in (*connections, *listeners.values()):
                    one.detach()  # closed with all other files
                return _become(*request)
            *files, ended.pipes[pid] = request[3]
            for number in files:
                os.close(number)
            with suppress(OSError):
                connection.sendall(LENGTH.pack(pid))


def _request(connection: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]]:
    """Returns arguments, environment, folder, and four files: the last is for the exit status."""
    head, fds, _, _ = socket.recv_fds(connection, LENGTH.size, 4)
    try:
        head += exactly(connection, LENGTH.size - len(head))
        body = exactly(connection, LENGTH.unpack(head)[0])
        arguments, env, cwd = json.loads(body.decode("utf-8", "surrogateescape"))
    except BaseException:
        for number in fds:
            os.close(number)
        raise
    return arguments, env, cwd, fds


class _Ended:
    """The forks that have ended: each has a pipe for its exit status."""

    def __init__(self) -> None:
        self.pipes: dict[int, int] = {}  # by the id of the process
        self.wakeup, alarm = os.pipe()
        os.set_blocking(alarm, False)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end this process by its input

    def forget(self) -> None:
        """Closes the pipes in a fork: they are its parent's."""
        for number in self.pipes.values():
            os.close(number)

    def tell(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.wakeup, 4096)
        with suppress(ChildProcessError):  # none is left
            while (end := os.waitpid(-1, os.WNOHANG))[0]:
                pipe = self.pipes.pop(end[0], None)  # what serves the apps has none
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        os.write(pipe, LENGTH.pack(end[1]))
                    os.close(pipe)


def _import(kind: str) -> None:
    for name in PRELOADED[kind]:
        try:
            import_module(name)
        except ImportError as error:  # a library that is not installed; our own modules are there
            if str(error.name).startswith("sluiceway"):
                raise


def _become(arguments: list[str], env: dict[str, str], cwd: str, fds: list[int]) -> list[str]:
    """Makes this fork what a new process would be."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number, inheritable=True)
    os.closerange(3, 1 << 16)
    added = added_paths(env) or []
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:1] = [cwd, *added]  # as `python -m` does
    tempfile.tempdir = None  # TMPDIR may be another one
    unbuffered = bool(env.get(UNBUFFERED))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        like = getattr(sys, name)
        mode, buffering = ("wb", 0 if unbuffered else -1) if number else ("rb", -1)
        text = io.TextIOWrapper(
            open(number, mode, buffering, closefd=False),  # noqa: SIM115 - never closed
            encoding=like.encoding,
            errors=like.errors,
            line_buffering=number == 2 or (number == 1 and os.isatty(1)),
            write_through=unbuffered,
        )
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    fork_workers()
    if any(os.path.isfile(os.path.join(folder, SETUP)) for folder in added):
        sys.modules.pop("sitecustomize", None)
        import_module("sitecustomize")
    return arguments


def _main() -> None:
    listeners = {
        kind: socket.socket(fileno=int(number))
        for kind, number in zip(KINDS, sys.argv[2:], strict=True)
    }
    files: list[Any] = [0, *listeners.values()]
    select.select(files, [], [])
    first, *rest = _serve(OURS, listeners)
    time.tzset()
    try:
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(rest[0], vars(main))
        else:
            sys.argv, sys.path[0] = [first, *rest], os.path.dirname(os.path.abspath(first))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as end:
        end_fork(end.code)
    end_fork(0)


if __name__ == "__main__":
    _main()
