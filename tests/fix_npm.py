"""The npm packages that tests need: other programs, and checks of the page. None is shipped.

`tests/install_needs.sh` installs what tests/npm/package.json lists.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["npm_package"]

MODULES = Path(__file__).parent / "npm" / "node_modules"


def npm_package(name: str) -> Path:
    """The folder of a package. Skips the test where it is missing, with the reason; fails in CI."""
    folder = MODULES / name
    if shutil.which("node") is None:
        _missing("node is not installed")
    if not folder.is_dir():
        _missing(f"the npm package {name} is not installed: `sh tests/install_needs.sh`")
    return folder


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
