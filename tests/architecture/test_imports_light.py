"""`import sluiceway` is cheap: a server or a client library is loaded when it is first used."""

from __future__ import annotations

import subprocess
import sys

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
    "multipart",
]


def loaded(statement: str) -> set[str]:
    """Returns the top-level modules of a fresh process that ran one statement."""
    code = (
        f"import sys\n{statement}\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_package_loads_no_library() -> None:
    """Not even asyncio."""
    assert loaded("import sluiceway").isdisjoint(HEAVY)


LIGHT = {
    "import sluiceway.wire.forms.decoder": {
        "aiohttp",
        "starlette",
        "uvicorn",
        "asyncio",
        "socket",
    },
    "import sluiceway.stores.disk.store": {"aiohttp", "starlette", "uvicorn", "rich"},
    "import sluiceway.server.app": {"aiohttp", "uvicorn", "uvloop", "httptools", "rich", "click"},
    "import sluiceway.server.settings.checked": {"aiohttp", "starlette", "uvicorn", "rich"},
    "import sluiceway.cli.main": {"aiohttp", "starlette", "uvicorn", "rich"},
    "from sluiceway import copy": {"starlette", "uvicorn", "click"},
}


def test_a_room_loads_only_the_libraries_it_needs() -> None:
    """A Flask app that copies loads no server; a server loads no client."""
    for statement, absent in LIGHT.items():
        found = loaded(statement)

        assert found & absent == set(), statement
