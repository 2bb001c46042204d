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
    "journeys/test_objects.",
    "journeys/test_flask_mount",
    "journeys/test_wsgi_servers",
    "interop/test_django_shop",
    "testing/test_conformance",
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


VARIANT_SIZES = (0, 1, 64 << 10, BLOCK + 1)  # bytes, of all sizes that the store suite tries
KNOWN_SIZES = (*VARIANT_SIZES, 4096, DEPTH * BLOCK + 1)  # and of those whose length is known
VARIANT_MOMENTS = {  # of the cuts and endings that a variant runs
    "turns": (0, 3, 20),  # of the event loop before a cancel
    "come": (0, (3 << 20) + 5),  # bytes before a source breaks off
    "size": (5, 10, (3 << 20) + 5, 3 * BLOCK + 1),  # bytes of a discarded or refused draft
}
THIN_OFFSETS = (0, 4096, 2 * BLOCK + 4097)  # bytes, of all to which it truncates a draft
RESUMED_OFFSETS = (70_000, 2 << 20, DEPTH * BLOCK + 1)  # bytes, of all at which it goes on


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

    A variant is a class whose store wraps, or differs little from, one that runs the whole suite:
    it runs keys, four sizes, and endings and cuts at fewer moments. All stores but the folder run
    six sizes with a known length, four without one, three offsets of the seven, and go on at two.
    """
    if item.get_closest_marker("torture"):
        return True
    if not isinstance(item, pytest.Function) or item.cls is None:
        return False
    suite = item.function.__module__.rpartition(".")[2]
    given = item.callspec.params if hasattr(item, "callspec") else {}
    edge = "at_every_edge" in item.name
    if suite == "resuming_suite" and item.cls.__name__ != "TestDiskStore":
        return "offset" in given and given["offset"] not in RESUMED_OFFSETS
    if getattr(item.cls, "variant", False):
        if suite == "bytes_suite":
            return not edge or given["size"] not in VARIANT_SIZES
        if suite in ("cut_suite", "endings_suite"):
            return any(given.get(name, few[0]) not in few for name, few in VARIANT_MOMENTS.items())
        return suite in ("reading_suite", "size_suite")
    if suite != "bytes_suite" or item.cls.__name__ == "TestDiskStore":
        return False
    if edge:
        return given["size"] not in (KNOWN_SIZES if given["known"] else VARIANT_SIZES)
    return "truncate_drops" in item.name and given["offset"] not in THIN_OFFSETS


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
