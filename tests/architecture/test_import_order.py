"""The layout is a line: each room imports only what stands to its left, and third parties only where they are named."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sluiceway"
ORDER = ["errors", "pipe", "wire", "client", "stores", "uploads", "transfer", "server", "testing", "cli"]
FILES = sorted(SOURCE.rglob("*.py"))

# Where a third-party package may be imported: the folders or files that exist to use it.
NAMED = {
    "aiohttp": ["client/transport.py"],
    "yarl": ["client/transport.py"],
    "multipart": ["wire/"],
    "http_sf": ["wire/"],
    "starlette": ["server/"],
    "uvicorn": ["server/uvicorn.py", "server/run.py"],
    "httptools": ["server/uvicorn.py"],
    "click": ["cli/"],
    "rich": ["cli/"],
    "pytest": ["testing/"],
}
# A wire format has no clock, no socket, no file and no randomness: the same bytes mean the same thing everywhere.
NOT_IN_WIRE = {"anyio", "asyncio", "os", "pathlib", "random", "secrets", "socket", "tempfile", "threading", "time"}


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module


def room(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_stands_to_its_left(path: Path) -> None:
    """errors <- pipe <- wire <- client <- stores <- uploads <- transfer <- server <- testing <- cli."""
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in ORDER, f"{own} is a room nobody planned"
    for name in imports(path):
        if name.startswith("sluiceway"):
            other = room(name)
            assert other == "" or ORDER.index(other) <= ORDER.index(own), f"{own} must not know {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_third_parties_are_imported_only_where_they_are_named(path: Path) -> None:
    """A library that is replaced changes the files that exist to use it, and no others."""
    place = path.relative_to(SOURCE).as_posix()
    for name in imports(path):
        top = name.split(".")[0]
        if top == "sluiceway" or top in sys.stdlib_module_names:
            continue
        assert any(place.startswith(allowed) for allowed in NAMED.get(top, [])), f"{place} imports {name}"


@pytest.mark.parametrize("path", sorted((SOURCE / "wire").glob("*.py")), ids=lambda path: path.name)
def test_wire_has_no_clock_no_socket_no_file_and_no_randomness(path: Path) -> None:
    """The wire layer is bytes to meaning and nothing else."""
    assert NOT_IN_WIRE.isdisjoint(name.split(".")[0] for name in imports(path))


@pytest.mark.parametrize("path", sorted((SOURCE / "uploads").glob("*.py")), ids=lambda path: path.name)
def test_the_upload_domain_knows_no_wire_format(path: Path) -> None:
    """The server translates between the two. What a safe key is (wire.names) is one rule for everybody."""
    known = {name for name in imports(path) if name.startswith(("sluiceway.wire", "sluiceway.client"))}

    assert known <= {"sluiceway.wire.names"}


def test_stores_do_not_know_each_other() -> None:
    """A store is one file, or several with its name in front: disk.py, disk_tree.py."""
    for path in (SOURCE / "stores").glob("*.py"):
        kind = path.stem.split("_")[0]
        for name in imports(path):
            if name.startswith("sluiceway.stores."):
                other = name.rsplit(".", 1)[1]
                assert other == "contract" or other.split("_")[0] == kind, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import sluiceway", {"aiohttp", "starlette", "uvicorn", "click", "rich", "multipart", "asyncio"}),
        ("import sluiceway; sluiceway.copy", {"starlette", "uvicorn", "uvloop", "click", "rich"}),
        ("import sluiceway.server.app", {"uvicorn", "uvloop", "aiohttp", "click", "rich"}),
        ("import sluiceway.cli.main", {"aiohttp", "starlette", "uvicorn", "rich"}),
    ],
)
def test_importing_loads_no_more_than_it_needs(statement: str, absent: set[str]) -> None:
    """A Flask app that imports the library gets no server; the command's help is quick."""
    code = f"{statement}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}} & {absent!r})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout.split() == []
