"""`import sluiceway` is cheap: a server or a client library is loaded when it is first used."""

from __future__ import annotations

import re
import subprocess
import sys

from architecture.sources import modules

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
    "import sluiceway.cli.copy": {"aiohttp", "asyncio", "rich", "difflib"},
    "from sluiceway import copy": {"starlette", "uvicorn", "click"},
}


def test_a_room_loads_only_the_libraries_it_needs() -> None:
    """A Flask app that copies loads no server; a server loads no client."""
    for statement, absent in LIGHT.items():
        found = loaded(statement)

        assert found & absent == set(), statement


# In a class of characters: "\x80-\U0010ffff" as it is written, or as it is meant.
_TO_THE_END = re.compile(r"-(?:\\U0010ffff|\U0010ffff)(?=[^\n]*\])")


def test_no_regex_has_a_range_up_to_the_last_character() -> None:
    """Each took 2 ms to compile, in every start. Exclude what is meant, or name what is allowed."""
    found = [one.short for one in modules() if _TO_THE_END.search(one.text)]

    assert found == []
