"""Fixture `nothing_extra`: processes in which the libraries of extras for digests are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["nothing_extra"]


@pytest.fixture
def nothing_extra(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which neither extra is installed."""
    folder = tmp_path / "without-extras"  # servers of other environments run in tmp_path
    folder.mkdir()
    for library in ("awscrt", "blake3"):
        (folder / f"{library}.py").write_text(f"raise ModuleNotFoundError({library!r})")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
