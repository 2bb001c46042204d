"""Starts the commands of the tests without the cost of starting Python: fork servers.

A process that has imported Sluiceway and its libraries forks for each `python -m sluiceway …` that
a test starts; another one forks for Flask, Django, gunicorn, uvicorn … (fork_programs.py has the
lists). The fork is a real process with its own id, environment, folder, standard streams, signals
and exit code. Skipped are the import (0.8 s of processor time for a server) and, at the end, taking
modules apart (0.1 s, because it copies the pages that a fork shares).

`install()` puts `ForkedPopen` in the place of `subprocess.Popen`, so tests are written as usual.
A command that needs an interpreter of its own gets one: other modules, `-c`, scripts, other
environment variables that Python reads when it starts, `preexec_fn`, `pass_fds`, `user` … A `-c`
is forked if its text begins with `IN_A_FORK`.

A `sitecustomize.py` in a folder that PYTHONPATH adds is imported before the command, as Python does
it. Tests set constants of the real program there, each in the module that reads it: modules that
copied its value are loaded already.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib import import_module
from threading import Lock, RLock
from typing import Any

from fork_programs import OURS, PRELOADED, UNBUFFERED, added_paths, family

__all__ = ["ForkedPopen", "PlainPopen", "install"]

SETUP = "sitecustomize.py"
LENGTH = struct.Struct("!I")
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
        if kind is None:
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
            return
        given = [p2cread, c2pwrite, errwrite]
        try:
            self.pid, self._status = _server(kind).fork(
                words[1:] if words[0] == sys.executable else words,
                variables,
                os.getcwd() if cwd is None else os.path.abspath(os.fspath(cwd)),
                [number if fd == -1 else fd for number, fd in enumerate(given)],
            )
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

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
    """A fork server of this process, and the socket to it."""

    def __init__(self, kind: str) -> None:
        self.owner = os.getpid()
        self._lock = Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            # That of APPS is a fork of that of OURS, and imports only what is missing.
            command = [sys.executable, __file__, kind]
            self._process: subprocess.Popen[Any] = (
                PlainPopen(command, stdin=theirs.fileno())
                if kind == OURS
                else ForkedPopen(command, stdin=theirs.fileno())
            )
        atexit.register(self._close)

    def _close(self) -> None:
        if os.getpid() == self.owner:
            self._socket.close()  # which ends it
            self._process.wait(10)

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
                pid = LENGTH.unpack(_exactly(self._socket, LENGTH.size))[0]
        finally:
            os.close(write)
        return pid, status


_SERVERS: dict[str, _Server] = {}
_STARTING = RLock()  # the start of one server asks for another one


def _server(kind: str) -> _Server:
    with _STARTING:
        if kind not in _SERVERS or _SERVERS[kind].owner != os.getpid():
            _SERVERS[kind] = _Server(kind)
        return _SERVERS[kind]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError("the other end of the fork server is gone")
        data += more
    return data


# What follows runs in the fork server and in the processes that it forks.


def _serve() -> list[str]:
    """Forks for each request that comes by the standard input, until the tests end.

    In a fork it returns the arguments of Python.
    """
    requests = socket.socket(fileno=os.dup(0))
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end this process by closing the socket
    pipes: dict[int, int] = {}  # process id -> the pipe for its exit status
    gc.collect()
    gc.freeze()  # the forks share these pages
    while True:
        ready, _, _ = select.select([requests.fileno(), wakeup], [], [])
        if wakeup in ready:
            with suppress(BlockingIOError):
                os.read(wakeup, 4096)
            while pipes:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                with suppress(BrokenPipeError):
                    os.write(pipes[pid], LENGTH.pack(status))
                os.close(pipes.pop(pid))
        if requests.fileno() in ready:
            head, fds, _, _ = socket.recv_fds(requests, LENGTH.size, 4)
            if not head:
                os._exit(0)
            head += _exactly(requests, LENGTH.size - len(head))
            body = _exactly(requests, LENGTH.unpack(head)[0])
            pid = os.fork()
            if not pid:
                requests.detach()
                arguments, env, cwd = json.loads(body.decode("utf-8", "surrogateescape"))
                return _become(arguments, env, cwd, fds[:3])
            pipes[pid] = fds[3]
            for one in fds[:3]:
                os.close(one)
            requests.sendall(LENGTH.pack(pid))


def _become(arguments: list[str], env: dict[str, str], cwd: str, fds: list[int]) -> list[str]:
    """Makes this fork what a new process would be."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(fds):
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
    if any(os.path.isfile(os.path.join(folder, SETUP)) for folder in added):
        sys.modules.pop("sitecustomize", None)
        import_module("sitecustomize")
    return arguments


def _main() -> None:
    for name in PRELOADED[sys.argv[1]]:
        try:
            import_module(name)
        except ImportError as error:  # a library that is not installed; our own modules are there
            if str(error.name).startswith("sluiceway"):
                raise
    first, *rest = _serve()
    time.tzset()
    try:
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = [first, *rest], os.path.dirname(os.path.abspath(first))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as end:
        _end(end.code)
    _end(0)


def _end(code: object) -> None:
    """Ends this fork as Python would, without taking the modules apart, which copies all pages."""
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # as Python does: waits
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    _main()
