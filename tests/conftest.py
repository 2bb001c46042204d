"""What all tests share: the fixtures, what runs in which order, and what a test needs.

Fixtures live in files of their own (fix_….py). A test whose programs are missing is skipped, and
fails in CI.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import pytest

import fork_server
from sluiceway.pipe.budget import BLOCK, DEPTH

STATE = TemporaryDirectory(prefix="sluiceway-state-")
# A run under nohup, or in the background of a script, ignores these signals, and the commands
# that tests interrupt would inherit that. A handler is not inherited.
for name in ("SIGHUP", "SIGINT", "SIGQUIT"):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), lambda *_: None)
fork_server.install()
# Copies that tests start keep no bookmark in the user's own folder.
os.environ["XDG_STATE_HOME"] = STATE.name
pytest_plugins = [
    "fix_services",
    "fix_filesystems",
    "fix_server",
    "fix_replaced",
    "fix_extras",
    "fix_taking",
    "fix_nginx",
    "fix_gateway",
    "fix_fetch",
    "fix_postgres",
    "fix_dask",
    "fix_pgbouncer",
    "fix_s3",
    "fix_clouds",
    "fix_copies",
    "fix_sftp",
    "fix_spool",
    "fix_tls",
    "fix_link",
    "fix_ways",
]

HERE = Path(__file__).parent
LONGEST = (
    "stores/objects/test_store",
    "reliability/test_s3_faults",
    "stores/postgres/test_store",
    "copying/endpoints/test_http.",
    "journeys/test_objects.",
    "journeys/test_flask_mount",
    "journeys/test_wsgi_servers",
    "interop/test_django_shop",
    "testing/test_conformance",
    "browser/test_two_engines",
    "archives/test_zip_writer",
    "journeys/test_deploy",
    "journeys/test_doctor",
    "journeys/test_lent_relays",
    "server/http1/test_sendfile.",
    "journeys/test_stop_and_restart",
    "journeys/test_portable",
    "journeys/test_operation",
    "stores/fsspec/test_store",
    "memory/",
    "journeys/test_untar",
    "reliability/",
    "browser/",
    "stores/disk/test_filesystems",
    "journeys/test_copy_network",
    "journeys/test_fetch",
    "stores/objects/",
    "bench/",
    "examples/",
)
TORTURE = "SLUICEWAY_TORTURE" in os.environ
# Marker -> programs, of which one is enough. A new page costs a fifth in the shell.
NEEDS = {
    "chromium": ("chromium-headless-shell", "chromium"),
    "firefox": ("firefox-esr",),
    "nginx": ("nginx",),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_configure(config: pytest.Config) -> None:
    """Lets each worker of a run of all tests begin to collect at another folder.

    Side by side they would all compile the same modules; so each finds what the others compiled.
    `_sort` gives all of them the same order again.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None and getattr(config.option, "numprocesses", None):
        fork_server.start()  # one for all workers
    if worker is None or [Path(name).resolve() for name in config.args] != [HERE]:
        return
    folders = sorted({path.relative_to(HERE).parts[0] for path in HERE.glob("*/**/test_*.py")})
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    at = len(folders) * number // count
    config.args = [str(HERE / name) for name in (*folders[at:], *folders[:at])]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collects thousands of tests, which stay, without looking for garbage among them.

    Nor is it looked for among them later, when a test or the interpreter collects garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Of the parameters of the store suite, what all stores but the folder run.
FEW = {
    "turns": (0, 3, 20),  # of the event loop before a cancel
    "come": (0, (3 << 20) + 5),  # bytes before a source breaks off
    "chunk": (7, 1000, 700_001, 3 << 20),  # bytes that are written at a time
}
FEW_IN = {  # and of those that mean another thing in each part of the suite
    ("bytes_suite", "offset"): (0, 4096, 2 * BLOCK + 4097),  # bytes to which it truncates a draft
    ("resuming_suite", "offset"): (2 << 20, 70_000, DEPTH * BLOCK + 1),  # at which it goes on
    ("reading_suite", "size"): (1, (3 << 20) + 1),  # bytes of an object whose ranges are read
    ("cut_suite", "size"): (5, (3 << 20) + 5),  # bytes of a refused draft
    ("endings_suite", "size"): (10, 3 * BLOCK + 1),  # bytes of a discarded one
    ("bytes_suite", "size"): (0, 1, 64 << 10, BLOCK + 1),  # bytes of an object
}
KNOWN_SIZES = (*FEW_IN["bytes_suite", "size"], 4096, DEPTH * BLOCK + 1)  # of a known length


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks for constants
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long proofs to `make torture`, and sorts what is left for the workers."""
    if not TORTURE:
        _let_hypothesis_parse_nothing()
        left = [item for item in items if _is_long_proof(item)]
        items[:] = [item for item in items if not _is_long_proof(item)]
        config.hook.pytest_deselected(items=left)
    _sort(items)


def _let_hypothesis_parse_nothing() -> None:
    """Hypothesis tries constants of all loaded modules: here those of a thousand test files.

    To parse them takes each worker 2 s. Those of an installed Sluiceway it leaves out anyhow.
    """
    providers: Any = sys.modules.get("hypothesis.internal.conjecture.providers")
    if providers is not None:
        providers._get_local_constants = lambda: providers._local_constants


def _is_long_proof(item: pytest.Item) -> bool:
    """Whether only `make torture` runs a test: a marked one, or some of the store suite.

    All stores but the folder run it with fewer sizes, offsets and moments; that a large object
    takes no memory is proven by tests/memory. A variant is a class whose store wraps, or differs
    little from, one that runs all this: it runs keys, and the last size and moment of the others.
    """
    if item.get_closest_marker("torture"):
        return True
    if not isinstance(item, pytest.Function) or item.cls is None:
        return False
    suite = item.function.__module__.rpartition(".")[2]
    if not suite.endswith("_suite") or item.cls.__name__ == "TestDiskStore":
        return False
    variant = getattr(item.cls, "variant", False)
    given = item.callspec.params if hasattr(item, "callspec") else {}
    for name, value in given.items():
        few = FEW_IN.get((suite, name), FEW.get(name))
        if variant and few:
            few = few[-1:]
        elif given.get("known") and (suite, name) == ("bytes_suite", "size"):
            few = KNOWN_SIZES
        if few and value not in few:
            return True
    if suite == "size_suite":
        return variant or "gigabyte" in item.name
    return variant and (
        suite == "reading_suite" or (suite == "bytes_suite" and "at_every_edge" not in item.name)
    )


def _sort(items: list[pytest.Item]) -> None:
    """A file goes to one worker: first the longest files, then a mixture.

    So not all workers compute, or wait, at the same time.
    """

    places: dict[Path, tuple[int, int]] = {}

    def place(item: pytest.Item) -> tuple[int, int]:
        if item.path not in places:
            path = item.path.relative_to(HERE).as_posix()
            rank = (at for at, name in enumerate(LONGEST) if path.startswith(name))
            places[item.path] = next(rank, len(LONGEST)), crc32(path.encode())
        return places[item.path]

    items.sort(key=place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Waits for the end of the services that the workers shared."""
    from fix_services import WORKER, wait_for_services  # not before pytest has rewritten it

    if WORKER == "main" and (factory := getattr(config, "_tmp_path_factory", None)):
        wait_for_services(factory.getbasetemp())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose programs are missing, with the reason; fails it where CI=true."""
    for marker, programs in NEEDS.items():
        if item.get_closest_marker(marker) and not any(map(shutil.which, programs)):
            _missing(f"{programs[-1]} is not installed")
    if item.get_closest_marker("root") and not (sys.platform == "linux" and os.geteuid() == 0):
        _missing("needs root on Linux")


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
