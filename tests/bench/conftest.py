"""A bench of 4 MiB and one round, on the commands of the tests' own environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.rounds import Bench  # noqa: E402
from bench.stored import MIB  # noqa: E402

NEEDED = ("flask", "gunicorn", "uwsgi")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Skips where a server is missing. Its folder of commands is like .venv-bench/bin."""
    folder, here = tmp_path / "commands", Path(sys.executable).parent
    missing = [name for name in NEEDED if not (here / name).exists()]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} is not installed beside {sys.executable}: pip install '.[test]'"
        )
    folder.mkdir()
    for name in (*NEEDED, "sluiceway"):
        (folder / name).symlink_to(here / name)
    (folder / "python").write_text(
        f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    )  # a link would not find its packages
    (folder / "python").chmod(0o755)
    said: list[str] = []
    (tmp_path / "work").mkdir()
    return Bench(tmp_path / "work", folder, 4 * MIB, 1, said.append)
