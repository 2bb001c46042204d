"""No listing ends in silence: an error that an iteration meets is raised, told or counted, never taken for its end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sluiceway

ROOT = Path(sluiceway.__file__).parent
# Files in which a loop is ended on purpose, each with its reason.
ALLOWED = {
    "wire/headers/disposition.py": "a header of which a part cannot be read counts as none at all"
}


def swallowed(source: str) -> list[int]:
    """Lines of handlers that end an iteration within their `try` by pass, break, continue or a bare return."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Try) or not any(
            isinstance(inner, ast.For | ast.AsyncFor) for inner in node.body
        ):
            continue
        for handler in node.handlers:
            last = handler.body[-1]
            empty = isinstance(last, ast.Return) and (
                last.value is None or isinstance(last.value, ast.Constant)
            )
            caught = ast.unparse(handler.type) if handler.type is not None else ""
            if isinstance(last, ast.Pass | ast.Break | ast.Continue) or empty:
                found.append((handler.lineno, caught))
    return [line for line, caught in found if "CancelledError" not in caught]


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_error_of_an_iteration_is_taken_for_its_end(path: Path) -> None:
    lines = swallowed(path.read_text("utf-8"))
    assert not lines or path.relative_to(ROOT).as_posix() in ALLOWED, f"{path}: {lines}"


def test_the_rule_finds_what_it_is_for() -> None:
    body = "async def f():\n try:\n  async for x in y:\n   z(x)\n except Exception:\n  "
    assert (
        swallowed(body + "pass")
        == swallowed(body + "return")
        == swallowed(body + "return None")
        == [5]
    )
    assert swallowed(body + "raise") == swallowed(body + "self.trouble = 1") == []
