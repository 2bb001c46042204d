"""Forks the worker processes of a server that is a fork itself (fork_process.py).

`multiprocessing` would start Python for each and import everything again: 0.4 s of processor time.
What a worker is given is pickled and read as if it were spawned; it inherits no other files. A test
has them spawned by a server with an interpreter of its own (fork_programs.py says which).
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing import spawn, util
from typing import Any, NoReturn

__all__ = ["end", "fork_workers"]

MARK = "--multiprocessing-fork"  # by which `multiprocessing` knows that it is in a worker
LAST = 1 << 16  # file that may be open

_util: Any = util
_spawn = _util.spawnv_passfds


def fork_workers() -> None:
    """From now on this process forks what it would spawn."""
    _util.spawnv_passfds = _forked


def end(code: object) -> NoReturn:
    """Ends a fork as Python would, without taking the modules apart, which copies all pages."""
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # as Python does: waits
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


def _forked(path: bytes, args: Sequence[str], passed: Sequence[int]) -> int:
    if MARK not in args:
        return int(_spawn(path, args, passed))  # the tracker of resources
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        pid = os.fork()
    if pid:
        return pid
    code: object = 1
    try:
        atexit._clear()
        _forget(passed)
        sys.argv = ["-c", MARK]
        # spawn_main(tracker_fd=5, pipe_handle=7)
        fds = {name: int(fd) for name, fd in re.findall(r"(\w+)=(\d+)", args[args.index("-c") + 1])}
        spawn.spawn_main(**fds)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        end(code)


def _forget(passed: Sequence[int]) -> None:
    """Files and signals are as in a new process."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(
                number,
                signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL,
            )
    kept = sorted({0, 1, 2, *passed, LAST})
    for before, after in pairwise(kept):
        os.closerange(before + 1, after)
