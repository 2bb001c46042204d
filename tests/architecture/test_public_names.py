"""Every public module says exactly what it offers, sorted; everything it names can be imported."""

from __future__ import annotations

import ast
from importlib import import_module

import pytest

from architecture.sources import Module, modules

PUBLIC = [
    module
    for module in modules()
    if not any(part.startswith("_") for part in module.name.split("."))
    and module.path.name != "__init__.py"
]


def exported(module: Module) -> list[str] | None:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            found: list[str] = ast.literal_eval(node.value)
            return found
    return None


def defined(module: Module) -> set[str]:
    """Public functions and classes made here."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {
        node.name
        for node in module.tree.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    }


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.short)
def test_all_is_exact_and_sorted(module: Module) -> None:
    """No public function or class is left out, no name is twice, the order is a dictionary's (constants first)."""
    names = exported(module)
    assert names is not None, f"{module.short} has no __all__"

    assert sorted(set(names), key=_order) == names
    assert defined(module) - set(names) == set()


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.short)
def test_every_name_can_be_imported(module: Module) -> None:
    """What `__all__` promises is there."""
    loaded = import_module(module.name)
    for name in exported(module) or []:
        assert hasattr(loaded, name), f"{module.name}.{name}"


def test_the_package_shows_its_names() -> None:
    """`from sluiceway import …` works for everything it says."""
    import sluiceway

    for name in sluiceway.__all__:
        if name != "__version__":  # known only to an installed package
            assert getattr(sluiceway, name) is not None
    assert set(sluiceway.__all__) <= set(dir(sluiceway))


def _order(name: str) -> tuple[int, str]:
    """As ruff sorts them (RUF022): CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)
