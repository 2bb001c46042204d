"""`import sluiceway` is cheap: no server, no client library, nothing optional is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "aiohttp",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "rich",
    "click",
    "pytest",
    "asyncio",
]


def loaded(statement: str) -> set[str]:
    """Top-level modules in a fresh process after a statement."""
    code = (
        f"import sys\n{statement}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Not even asyncio."""
    assert loaded("import sluiceway").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import sluiceway.wire.forms.decoder",
            {"aiohttp", "starlette", "uvicorn", "asyncio", "socket"},
        ),
        ("import sluiceway.stores.disk.store", {"aiohttp", "starlette", "uvicorn", "rich"}),
        (
            "import sluiceway.server.app",
            {"aiohttp", "uvicorn", "uvloop", "httptools", "rich", "click"},
        ),
        ("import sluiceway.server.settings", {"aiohttp", "starlette", "uvicorn", "rich"}),
        ("import sluiceway.cli.main", {"aiohttp", "starlette", "uvicorn", "rich"}),
        ("from sluiceway import copy", {"starlette", "uvicorn", "click"}),
    ],
)
def test_a_room_loads_only_what_it_needs(statement: str, absent: set[str]) -> None:
    """A Flask app that copies loads no server; a server loads no client."""
    found = loaded(statement)

    assert found & absent == set()
