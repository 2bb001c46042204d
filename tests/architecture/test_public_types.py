"""What another project's type checker sees of the installed package: every public name has a type, and none is guessed."""

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
        pytest.skip("the tree is on the path, and pyright looks at installed packages")
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
    told = json.loads(run.stdout)["typeCompleteness"]

    unknown = [symbol["name"] for symbol in told["symbols"] if not symbol["isTypeKnown"]]
    assert unknown == []
    assert told["completenessScore"] == 1
    assert told["exportedSymbolCounts"]["withKnownType"] > 1000
