"""Each room imports only rooms before it, and third-party libraries only where they are named.

No file imports a file that imports it, not even inside a function or for type checkers alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from itertools import permutations

from architecture.sources import ROOMS, Module, modules, require, room_of

# room or module -> libraries that it may import; the entry of a room counts for all its modules
THIRD_PARTY = {
    "client/bodies/aiohttp_body.py": {"aiohttp"},
    "pipe/hashes.py": {"awscrt", "blake3"},
    "wire": {"http_sf"},
    "client/http/aiohttp_errors.py": {"aiohttp"},
    "client/local/bookmarks.py": {"platformdirs"},
    "client/http/aiohttp_request.py": {"aiohttp"},
    "client/http/transport.py": {"aiohttp", "yarl", "multidict"},
    "server": {"starlette"},
    "wsgi": {"starlette"},
    "server/run.py": {"uvicorn"},
    "server/listening/serving.py": {"uvicorn"},
    "server/http1/protocol.py": {"uvicorn", "httptools"},
    "server/http1/cycle.py": {"uvicorn"},
    "flask": {"flask", "werkzeug"},
    "starlette": {"starlette"},
    "starlette/live_routes.py": {"fastapi"},
    "django": {"asgiref", "django"},
    "stores/fsspec/config.py": {"fsspec"},
    "stores/fsspec/reader.py": {"fsspec"},
    "stores/objects/config.py": {"boto3", "botocore", "obstore"},
    "stores/objects/cloud_bucket.py": {"obstore"},
    "stores/objects/s3_calls.py": {"botocore"},
    "stores/objects/full_checksum.py": {"awscrt"},
    "stores/postgres": {"psycopg", "psycopg_pool"},
    "copying/cluster/dask_cluster.py": {"distributed"},
    "copying/cluster/on_worker.py": {"distributed"},
    "server/metrics": {"prometheus_client"},
    "server/access/web_tokens": {"cryptography", "jwt"},
    "server/log/spans.py": {"opentelemetry"},
    "server/log/span_provider.py": {"opentelemetry"},
    "archives/zip_writer.py": {"zipstream"},
    "cli": {"click", "rich"},
    "testing/pytest_plugin.py": {"pytest"},
    "testing/conformance/peer.py": {"h11"},
    "client/doctor/exchange.py": {"h11"},
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
# pairs of files that still import each other, in one circle or a longer one
CIRCLES: set[tuple[str, str]] = set()


def ours(module: Module) -> Iterator[tuple[str, str]]:
    """Yields the package's own modules that a module imports, and the place in words."""
    for name, line in module.imports():
        if name.split(".")[0] == "sluiceway":
            yield name, f"{module.short}:{line} imports {name}"


def test_a_room_imports_only_rooms_before_it() -> None:
    """The package's front door may show all rooms, `testing` may import all but the commands."""
    found = []
    for module in modules():
        room = room_of(module.name)
        if room in ("", "__main__"):
            continue
        for name, where in ours(module):
            other = room_of(name)
            if room == "testing":
                if other == "cli":
                    found.append(f"{where}: the commands are for people")
            elif room not in ROOMS or other not in ROOMS:
                found.append(f"{where}: not both are rooms of the design")
            elif ROOMS.index(other) > ROOMS.index(room):
                found.append(f"{where}: that room stands after this one")
    require(found)


def test_no_file_imports_a_file_that_imports_it() -> None:
    """Two files in a circle are one file that is hard to read."""
    names = {module.name: module for module in modules()}
    reached = {
        module.name: {
            name
            for node in ast.walk(module.tree)
            for name in _names(node)
            if name in names and name not in (module.name, "sluiceway")
        }
        for module in modules()
    }
    while True:  # the transitive closure of a few hundred files
        further = {
            name: others.union(*(reached[other] for other in others))
            for name, others in reached.items()
        }
        if further == reached:
            break
        reached = further
    circles = {
        (names[one].short, names[two].short)
        for one, two in permutations(sorted(names), 2)
        if one < two and two in reached[one] and one in reached[two]
    }
    pairs = {(min(pair), max(pair)) for pair in circles}

    require(f"{one} and {two} import each other" for one, two in pairs - CIRCLES)
    require(f"{pair}: take it off the list CIRCLES" for pair in CIRCLES - pairs)


def _names(node: ast.AST) -> list[str]:
    """Every module that an import may mean: of `from a import b`, both a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_libraries_are_imported_only_where_the_table_names_them() -> None:
    """A library that is imported in one place can be exchanged."""
    found = []
    for module in modules():
        allowed = set[str]().union(
            *(
                THIRD_PARTY[place]
                for place in THIRD_PARTY
                if f"{module.short}/".startswith(f"{place}/")
            )
        )
        for name, line in module.imports():
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in ("sluiceway", *allowed):
                found.append(f"{module.short}:{line} imports {top}")
    require(found)


def test_wire_touches_no_clock_no_file_no_socket() -> None:
    """Code without clocks and randomness can be tested with bytes alone."""
    require(
        f"{module.short}:{line} imports {name}"
        for module in modules()
        if room_of(module.name) == "wire"
        for name, line in module.imports()
        if name.split(".")[0] in FORBIDDEN_IN_WIRE
    )


def test_no_kind_of_store_knows_another() -> None:
    """A store is measured by the contract, not by its neighbour."""
    found = []
    for module in modules():
        kind = module.short.split("/")[1:2]
        if room_of(module.name) != "stores" or kind in (["registry.py"], ["contract.py"]):
            continue
        kinds = {"disk", "fanout", "fsspec", "memory", "objects", "postgres", "relay", "sqlite"}
        others = kinds - {part.removesuffix(".py") for part in kind}
        found += [
            where
            for name, where in ours(module)
            if name.startswith("sluiceway.stores.") and name.split(".")[2] in others
        ]
    require(found)


def test_no_handler_knows_another() -> None:
    """What handlers share stands beside them in server/.

    A dialect can be added or removed alone.
    """
    require(
        where
        for module in modules()
        if module.short.startswith("server/handlers/")
        for name, where in ours(module)
        if name.startswith("sluiceway.server.handlers.")
    )


def test_every_place_in_the_tables_exists() -> None:
    """The tables above describe this package as it is."""
    shorts = {f"{module.short}/" for module in modules()}
    places = [*THIRD_PARTY, *(place for pair in CIRCLES for place in pair)]
    require(
        f"{place} is not there"
        for place in places
        if not any(short.startswith(f"{place}/") for short in shorts)
    )
