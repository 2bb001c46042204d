"""No listing ends in silence: an error within a loop is raised, reported or counted.

It is never taken for the end of the loop.
"""

from __future__ import annotations

import ast

from architecture.sources import modules, require

# files in which a loop may end in that way, each with the reason
ALLOWED = {
    "wire/headers/disposition.py": "a header with an unreadable part counts as no header",
}


def swallowed(tree: ast.Module) -> list[int]:
    """Returns the lines of handlers that end a loop by pass, break, continue or a bare return.

    Only loops that stand directly in the `try` count.
    """
    found = []
    for node in ast.walk(tree):
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


def test_no_error_in_a_loop_is_taken_for_its_end() -> None:
    """A listing that broke off must not look complete."""
    require(
        f"{module.short}:{line}"
        for module in modules()
        if module.short not in ALLOWED
        for line in swallowed(module.tree)
    )


def test_the_rule_finds_such_a_handler() -> None:
    """Every form of it, and nothing else."""
    body = "async def f():\n try:\n  async for x in y:\n   z(x)\n except Exception:\n  "
    for end in ("pass", "return", "return None"):
        assert swallowed(ast.parse(body + end)) == [5]
    for end in ("raise", "self.trouble = 1"):
        assert swallowed(ast.parse(body + end)) == []
