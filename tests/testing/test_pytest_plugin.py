"""A failed assertion of the shipped suites shows its values, also in other projects."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

PLUGIN = "sluiceway.testing.pytest_plugin"
BROKEN_STORE = """
from pathlib import Path

from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import StoreSuite


class Forgetful(MemoryStore):
    async def list(self, prefix="", after="", limit=1000):
        page = await super().list("nothing-begins-with-this", after, limit)
        return page


class TestForgetful(StoreSuite):
    async def make_store(self, tmp_path: Path) -> Forgetful:
        return Forgetful()
"""


def test_the_author_of_a_broken_store_sees_the_values(tmp_path: Path) -> None:
    """Not a bare AssertionError: what the store listed, and what it should have listed."""
    (tmp_path / "test_forgetful.py").write_text(BROKEN_STORE)
    options = ["-p", PLUGIN, "-p", "anyio", "-p", "no:cacheprovider", "-q"]
    # A pytest without a folder of its own takes the rights of ours from the database server.
    options += ["--basetemp", str(tmp_path / "temp")]
    only = ["-k", "test_a_draft_is_invisible_until_it_is_published", "test_forgetful.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *only],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 1, run.stdout + run.stderr
    assert "AssertionError: assert [] == [('now', 3145728)]" in run.stdout


def test_the_plugin_is_an_entry_point_and_imports_nothing_but_pytest() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"sluiceway": PLUGIN}

    code = (
        f"import sys, pytest; before = set(sys.modules); import {PLUGIN}\n"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(["sluiceway", "sluiceway.testing", PLUGIN])
