"""Fixture `ways`: the service alone, behind a gateway, and inside a Flask app; all answer alike.

way = ways["gateway"]
requests.put(f"{way.url}/files/k", data=b"…")
assert way.read("k") == b"…"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fix_gateway import takes
from fix_server import start_server
from fix_wsgi import running

__all__ = ["NAMES", "Way", "ways"]

NAMES = ("alone", "gateway", "mounted")


@dataclass(frozen=True)
class Way:
    """A way to the service, and the folder that gets every file."""

    url: str  # without a slash at its end
    root: Path
    port: int
    prefix: str = ""  # of every path

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def stored(self) -> set[str]:
        """Returns the names of all finished files."""
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return {str(path) for path in files if ".sluiceway" not in path.parts}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Way]]:
    folder = tmp_path_factory.mktemp("ways")
    alone, behind = start_server(folder / "alone"), start_server(folder / "behind")
    gateway = start_server(folder / "none", to=f"{behind.url}/files")
    try:
        with running(
            "cheroot", tmp_path_factory.mktemp("mounted"), takes, "mount_views:app"
        ) as mounted:
            yield {
                "alone": Way(alone.url, alone.root, alone.port),
                "gateway": Way(gateway.url, behind.root, gateway.port),
                "mounted": Way(f"{mounted.url}/drop", mounted.folder, mounted.port, "/drop"),
            }
    finally:
        for server in (gateway, behind, alone):
            server.stop()
