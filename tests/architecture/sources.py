"""The package's own source, read as text and as syntax trees: what the architecture tests look at.

Each rule is one test that reads every file and lists all violations at once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sluiceway

__all__ = ["ROOMS", "ROOT", "Module", "modules", "nodes", "require", "room_of", "text_of"]

ROOT = Path(sluiceway.__file__ or "").parent

# A room imports only rooms that stand before it in this list, and itself.
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
    "django",
    "cli",
]


@dataclass(frozen=True, slots=True)
class Module:
    """One source file."""

    name: str  # sluiceway.pipe.pump
    path: Path
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def short(self) -> str:
        """The path below the package: pipe/pump.py."""
        return self.path.relative_to(ROOT).as_posix()

    def imports(self) -> Iterator[tuple[str, int]]:
        """Yields the full name of every imported module, wherever in the file, and its line."""
        for node in nodes(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.short}:{node.lineno}: write imports in full"
                if node.module == "sluiceway":
                    yield from ((f"sluiceway.{alias.name}", node.lineno) for alias in node.names)
                else:
                    yield node.module or "", node.lineno

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Yields every call and the name that is called: "int", "os.path.join", "part.read"."""
        for node in nodes(self.tree):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name):
                    yield node, node.func.id
                elif isinstance(node.func, ast.Attribute):
                    yield node, text_of(node.func)


@cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """All nodes of a syntax tree, walked once for all rules."""
    return tuple(ast.walk(tree))


@cache
def text_of(node: ast.AST) -> str:
    """The source of a node, written once for all rules."""
    return ast.unparse(node)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, parsed once."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["sluiceway", *path.relative_to(ROOT).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text)))
    assert len(found) > 100, "the package's files were not found"
    return tuple(found)


def room_of(name: str) -> str:
    """The room of a module: "pipe", "errors"; "" for the package itself."""
    return name.split(".")[1] if "." in name else ""


def require(violations: Iterable[str]) -> None:
    """Fails with all violations, one a line."""
    found = sorted(set(violations))
    assert not found, "\n  ".join([f"{len(found)} violations:", *found])
