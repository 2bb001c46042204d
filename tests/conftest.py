"""Fixtures live in named files (fix_…); here they are joined, and missing needs become skips or, in CI, failures."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from zlib import crc32

import pytest

import fork_server

fork_server.install()
pytest_plugins = [
    "fix_services",
    "fix_filesystems",
    "fix_server",
    "fix_taking",
    "fix_nginx",
    "fix_gateway",
    "fix_fetch",
    "fix_postgres",
    "fix_pgbouncer",
    "fix_s3",
    "fix_clouds",
    "fix_sftp",
    "fix_tls",
    "fix_ways",
]

LONGEST = (
    "stores/test_objects.",
    "browser/test_gateway",
    "reliability/test_s3_faults",
    "stores/test_filesystem.",
)
NEEDS = {"chromium": ("chromium",), "nginx": ("nginx",)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file goes to one worker, in this order: first the longest, then a mixture, so that not all compute, or wait, at once."""

    def place(item: pytest.Item) -> tuple[int, int]:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next(
            (at for at, name in enumerate(LONGEST) if path.startswith(name)), len(LONGEST)
        ), crc32(path.encode())

    items.sort(key=place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run is over when the services that its workers shared are."""
    from fix_services import WORKER, wait_for_services  # not before pytest has rewritten it

    if WORKER == "main" and (factory := getattr(config, "_tmp_path_factory", None)):
        wait_for_services(factory.getbasetemp())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose programs are missing is skipped with the reason; under CI=true it fails, so that nothing hides."""
    for marker, programs in NEEDS.items():
        if item.get_closest_marker(marker):
            for program in programs:
                if shutil.which(program) is None:
                    _missing(f"{program} is not installed")
    if item.get_closest_marker("root") and not (sys.platform == "linux" and os.geteuid() == 0):
        _missing("needs root on Linux")


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
