"""The package's own source, read as text and as trees: what the architecture tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sluiceway

__all__ = ["ROOMS", "Module", "modules", "room_of"]

# left to right: a room imports only what stands to its left (and itself)
ROOMS = [
    "errors",
    "pipe",
    "wire",
    "archives",
    "client",
    "stores",
    "uploads",
    "copying",
    "server",
    "wsgi",
    "flask",
    "starlette",
    "django_limits",
    "django",
    "cli",
]


@dataclass(frozen=True, slots=True)
class Module:
    name: str  # sluiceway.pipe.pump
    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def short(self) -> str:
        """pipe/pump.py: as people say it."""
        return self.path.relative_to(_root()).as_posix()

    def imports(self) -> Iterator[tuple[str, int]]:
        """Full names of imported modules, wherever in the file, and their lines."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.short}:{node.lineno}: write imports in full"
                if node.module == "sluiceway":
                    yield from ((f"sluiceway.{alias.name}", node.lineno) for alias in node.names)
                else:
                    yield node.module or "", node.lineno


def _root() -> Path:
    return Path(sluiceway.__file__ or "").parent


def modules() -> list[Module]:
    """Every module of the package."""
    found = []
    for path in sorted(_root().rglob("*.py")):
        parts = ["sluiceway", *path.relative_to(_root()).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, path.read_text("utf-8")))
    return found


def room_of(name: str) -> str:
    """The room a module of ours belongs to: "pipe", "errors", "" for the package itself."""
    return name.split(".")[1] if "." in name else ""
