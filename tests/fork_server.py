"""Starts the commands of the tests without the cost of starting Python: by fork servers.

A process that has imported Sluiceway and its libraries forks for each `python -m sluiceway …` that
a test starts; another one forks for Flask, Django, gunicorn, uvicorn … (fork_process.py; the lists
are in fork_programs.py). All workers of a run share the two. The fork is a real process with its
own id, environment, folder, standard streams, signals and exit code. Skipped are the import (0.8 s
of processor time for a server) and, at the end, taking modules apart (0.1 s, because it copies the
pages that a fork shares).

A command that needs an interpreter of its own gets one: other modules, `-c`, scripts, other
environment variables that Python reads when it starts, `preexec_fn`, `pass_fds`, `user` … A `-c`
is forked if its text begins with `IN_A_FORK`.

A `sitecustomize.py` in a folder that PYTHONPATH adds is imported before the command, as Python does
it. Tests set constants of the real program there, each in the module that reads it: modules that
copied its value are loaded already.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from threading import Lock
from typing import Any

from fork_process import KINDS, LENGTH, exactly
from fork_programs import family

__all__ = ["ForkedPopen", "PlainPopen", "install", "start"]

PROCESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fork_process.py")
FOLDER = "FORKS_OF_TESTS"  # the variable by which a worker finds the sockets
_FOLDER = os.environ.get(FOLDER)
PlainPopen = subprocess.Popen  # always an interpreter of its own


class ForkedPopen(PlainPopen[Any]):
    """`subprocess.Popen` that has the commands of fork_programs.py forked."""

    _status: int | None = None  # a pipe that brings the exit status of a forked command

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Any,
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: Any,
        shell: bool,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: bool,
        *identity: Any,  # gid, gids, uid, umask, start_new_session, process_group
    ) -> None:
        pipes = (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        ordinary = (
            (executable, preexec_fn, shell, close_fds, restore_signals)
            == (None, None, False, True, True)
            and not pass_fds
            and identity == (None, None, None, -1, False, -1)
        )
        variables = dict(os.environ if env is None else env)
        words = [os.fspath(one) for one in args] if isinstance(args, list) else []
        kind = family(words, variables) if ordinary and words else None
        if kind is not None:
            given = [p2cread, c2pwrite, errwrite]
            folder = os.getcwd() if cwd is None else os.path.abspath(os.fspath(cwd))
            files = [number if fd == -1 else fd for number, fd in enumerate(given)]
            with suppress(OSError, EOFError):  # where it is gone, Python starts as usual
                self.pid, self._status = _server(kind).fork(
                    words[1:] if words[0] == sys.executable else words, variables, folder, files
                )
        if self._status is not None:
            self._child_created = True
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
            return
        super()._execute_child(  # type: ignore[misc]
            args,
            executable,
            preexec_fn,
            close_fds,
            pass_fds,
            cwd,
            env,
            startupinfo,
            creationflags,
            shell,
            *pipes,
            restore_signals,
            *identity,
        )

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        poll = select.poll()
        poll.register(self._status)
        if not poll.poll(0 if wait_flags else None):
            return 0, 0
        status = os.read(self._status, LENGTH.size)
        os.close(self._status)
        # a fork server that was killed leaves its commands without a status
        return self.pid, LENGTH.unpack(status)[0] if status else signal.SIGKILL

    def _internal_poll(self, _deadstate: int | None = None, *rest: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(_deadstate, *rest)  # type: ignore[misc, no-any-return]
        lock: Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and lock.acquire(blocking=False):
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid == self.pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                lock.release()
        return self.returncode


def install() -> None:
    """From now on `subprocess` forks where it can."""
    if os.name == "posix":
        subprocess.Popen = ForkedPopen  # type: ignore[misc]


class _Server:
    """A connection of this process to the fork server of a kind."""

    def __init__(self, kind: str) -> None:
        self.owner = os.getpid()
        self._lock = Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.path.join(_FOLDER or start(), kind))

    def fork(
        self, arguments: list[str], env: dict[str, str], cwd: str, fds: list[int]
    ) -> tuple[int, int]:
        """Returns the id of the new process, and the pipe that brings its exit status."""
        status, write = os.pipe()
        request = json.dumps([arguments, env, cwd]).encode("utf-8", "surrogateescape")
        try:
            with self._lock:
                socket.send_fds(self._socket, [LENGTH.pack(len(request))], [*fds, write])
                self._socket.sendall(request)
                pid = LENGTH.unpack(exactly(self._socket, LENGTH.size))[0]
        except (OSError, EOFError):
            os.close(status)
            self._socket.close()
            self.owner = 0  # the next command connects again
            raise
        finally:
            os.close(write)
        return pid, status


_SERVERS: dict[str, _Server] = {}
_STARTING = Lock()


def _server(kind: str) -> _Server:
    with _STARTING:
        if kind not in _SERVERS or _SERVERS[kind].owner != os.getpid():
            _SERVERS[kind] = _Server(kind)
        return _SERVERS[kind]


def start() -> str:
    """Starts the fork servers of this process and of the workers that it starts later.

    They import nothing before somebody connects. Returns the folder of their sockets.
    """
    global _FOLDER
    _FOLDER = tempfile.mkdtemp(prefix="forks-")
    os.environ[FOLDER] = _FOLDER
    listeners = [socket.socket(socket.AF_UNIX) for _ in KINDS]
    for kind, listener in zip(KINDS, listeners, strict=True):
        listener.bind(os.path.join(_FOLDER, kind))
        listener.listen()
    numbers = [listener.fileno() for listener in listeners]
    alive, end = os.pipe()
    process = PlainPopen(
        [sys.executable, PROCESS, _FOLDER, *map(str, numbers)], stdin=alive, pass_fds=numbers
    )
    os.close(alive)
    for listener in listeners:
        listener.close()
    atexit.register(_stop, process, end, os.getpid())
    return _FOLDER


def _stop(process: subprocess.Popen[Any], end: int, owner: int) -> None:
    if os.getpid() == owner:
        os.close(end)  # which ends it
        process.wait(10)
