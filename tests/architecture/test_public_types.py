"""Another project's type checker knows the type of every public name of the installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sluiceway
from fix_taking import missing

SCRIPTS = Path(sys.executable).parent


def test_every_public_name_has_a_known_type(tmp_path: Path) -> None:
    """pyright --verifytypes says 100 %."""
    if "site-packages" not in str(sluiceway.__file__):
        pytest.skip("an editable install: pyright looks at installed packages")
    env = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    command = [
        str(SCRIPTS / "pyright"),
        "--verifytypes",
        "sluiceway",
        "--ignoreexternal",
        "--outputjson",
    ]
    run = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    if not run.stdout.startswith("{"):
        missing(f"pyright could not be run: {run.stderr[-500:]}")
    report = json.loads(run.stdout)["typeCompleteness"]

    unknown = [symbol["name"] for symbol in report["symbols"] if not symbol["isTypeKnown"]]
    assert unknown == []
    assert report["completenessScore"] == 1
    assert report["exportedSymbolCounts"]["withKnownType"] > 1000
