"""What tests of copies that break off share: the user's state folder, and the command.

def test_…(state: Path): …    # or pytest.mark.usefixtures("state")
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fix_server import RunningServer

__all__ = ["bookmarks", "copying", "state", "stored"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state folder, empty: copies of the test keep their bookmarks there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def bookmarks(state: Path) -> list[Path]:
    return list(state.glob("sluiceway/uploads/*"))


def copying(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(server: RunningServer, location: str) -> bytes:
    return (server.root / location.partition("/files/")[2]).read_bytes()
