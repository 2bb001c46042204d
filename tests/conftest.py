"""Fixtures live in named files (fix_…); here they are joined, and missing needs become skips or, in CI, failures."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

pytest_plugins = [
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
]

NEEDS = {"chromium": ("chromium",), "nginx": ("nginx",)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
