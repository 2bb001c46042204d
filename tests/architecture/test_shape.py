"""Sizes, names and exports: what a reader may rely on in every file."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sluiceway"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path.name not in ("__init__.py", "__main__.py") and not path.name.startswith("_")]

MOST_LINES = 400
LONGER = {"testing/store_suite.py": "one test after another; split, a store's author would have to inherit twice"}
NOT_A_NAME = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_file_is_longer_than_a_reader_can_hold(path: Path) -> None:
    """Over 400 lines a room is missing in the house; exceptions carry their reason."""
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES or place(path) in LONGER


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_module_has_a_name_that_says_nothing(path: Path) -> None:
    """A function without a home means the model lacks a word."""
    assert NOT_A_NAME.isdisjoint([path.stem, *path.relative_to(SOURCE).parts[:-1]])


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_each_module_begins_with_its_rules(path: Path) -> None:
    """A docstring on top says what lives here and what must not."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_all_names_exactly_what_is_public(path: Path) -> None:
    """`__all__` is sorted, complete for classes and functions, and every name is there."""
    name = "sluiceway." + ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    module = importlib.import_module(name)
    exported = list(module.__all__)
    defined = {
        node.name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    }

    assert len(exported) == len(set(exported))
    assert all(hasattr(module, item) for item in exported)
    assert defined <= set(exported), f"not exported: {sorted(defined - set(exported))}"


def test_no_assert_in_the_package() -> None:
    """`python -O` takes asserts away, and with them whatever they guarded. The store suite is a suite of tests."""
    for path in FILES:
        if place(path) != "testing/store_suite.py":
            tree = ast.parse(path.read_text("utf-8"))
            assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), place(path)


def test_numbers_of_the_wire_are_parsed_by_one_function() -> None:
    """`int()` takes `+5`, `1_0` and digits of other scripts: in wire and server only ascii_uint may call it on text."""
    # The function itself, and text that a pattern of ASCII digits has matched before.
    allowed = {"wire/numbers.py", "wire/httpdates.py", "server/settings.py"}
    for path in [*(SOURCE / "wire").glob("*.py"), *(SOURCE / "server").glob("*.py")]:
        if place(path) in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "int":
                raise AssertionError(f"{place(path)}:{node.lineno} calls int()")
