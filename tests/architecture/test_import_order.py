"""Each room imports only what stands to its left, and third-party libraries only where the design names them."""

from __future__ import annotations

import sys

import pytest

from architecture.sources import ROOMS, Module, modules, room_of

# room or module -> libraries it may import; a module's own line counts beside its room's
THIRD_PARTY = {
    "pipe/aiohttp_body.py": {"aiohttp"},
    "wire": {"http_sf"},
    "client/http/aiohttp_errors.py": {"aiohttp"},
    "client/http/aiohttp_request.py": {"aiohttp"},
    "client/http/transport.py": {"aiohttp", "yarl", "multidict"},
    "server": {"starlette"},
    "wsgi": {"starlette"},
    "server/run.py": {"uvicorn"},
    "server/http1/protocol.py": {"uvicorn", "httptools"},
    "server/http1/cycle.py": {"uvicorn"},
    "flask.py": {"flask", "werkzeug"},
    "starlette.py": {"starlette"},
    "django.py": {"django"},
    "django_limits.py": {"django"},
    "stores/fsspec/draft.py": {"fsspec"},
    "stores/fsspec/config.py": {"fsspec"},
    "stores/fsspec/errors.py": {"fsspec"},
    "stores/objects/store.py": {"obstore"},
    "stores/objects/config.py": {"boto3", "botocore", "obstore"},
    "stores/objects/cloud_reads.py": {"obstore"},
    "stores/objects/s3_calls.py": {"botocore"},
    "stores/objects/staged_draft.py": {"obstore"},
    "stores/postgres/store.py": {"psycopg", "psycopg_pool"},
    "copying/zip_writer.py": {"zipstream"},
    "cli": {"click", "rich"},
    "testing/store_suite": {"pytest"},
}
FORBIDDEN_IN_WIRE = {
    "asyncio",
    "socket",
    "os",
    "time",
    "random",
    "secrets",
    "tempfile",
    "pathlib",
    "threading",
    "io",
    "logging",
}
# Stores know no HTTP and no each other; protocol handlers share words (raw.py), not work.
APART = {
    "stores/memory.py": {"sluiceway.stores.disk.store"},
    "stores/disk/store.py": {"sluiceway.stores.memory"},
}

MODULES = modules()
IDS = [module.short for module in MODULES]


def allowed(module: Module) -> set[str]:
    return set[str]().union(
        *(THIRD_PARTY[place] for place in THIRD_PARTY if f"{module.short}/".startswith(f"{place}/"))
    )


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_a_room_imports_only_what_stands_to_its_left(module: Module) -> None:
    """errors <- pipe <- wire <- client <- stores <- uploads <- transfer <- server <- adapters <- cli; testing all but cli."""
    room = room_of(module.name)
    for name, line in module.imports():
        if name.split(".")[0] != "sluiceway":
            continue
        other = room_of(name)
        where = f"{module.short}:{line} imports {name}"
        if room in ("", "__main__"):
            continue  # the front door shows names of all rooms
        assert other != "testing" or room == "testing", (
            f"{where}: what ships tests is not for the product"
        )
        if room == "testing":
            assert other != "cli", f"{where}: the command line is for people"
            continue
        assert room in ROOMS, f"{module.short} is in no room of the design"
        assert other in ROOMS, where
        assert ROOMS.index(other) <= ROOMS.index(room), f"{where}, which stands to its right"


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_libraries_are_imported_only_where_the_design_names_them(module: Module) -> None:
    """One library, one place: what may be exchanged must not be everywhere."""
    for name, line in module.imports():
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in ("sluiceway", "__future__"):
            continue
        assert top in allowed(module), f"{module.short}:{line} imports {top}"


@pytest.mark.parametrize(
    "module", [m for m in MODULES if room_of(m.name) == "wire"], ids=lambda module: module.short
)
def test_wire_touches_no_clock_no_file_no_socket(module: Module) -> None:
    """Bytes in, meaning out: what has no clock and no randomness can be tested whole."""
    for name, line in module.imports():
        assert name.split(".")[0] not in FORBIDDEN_IN_WIRE, f"{module.short}:{line} imports {name}"


@pytest.mark.parametrize("short", sorted(APART))
def test_stores_do_not_know_each_other(short: str) -> None:
    """A store is measured by the contract, not by its neighbour."""
    module = next(module for module in MODULES if module.short == short)
    for name, line in module.imports():
        assert name not in APART[short], f"{short}:{line} imports {name}"


def test_every_named_place_exists() -> None:
    """The table above describes this package, not one that was."""
    shorts = {module.short for module in MODULES}
    for place in [*THIRD_PARTY, *APART]:
        assert place in shorts or any(short.startswith(f"{place}/") for short in shorts), place
