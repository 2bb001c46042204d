"""Every public module says exactly what it offers, in order; each name can be imported."""

from __future__ import annotations

import ast
from importlib import import_module

import sluiceway
from architecture.sources import Module, modules, require


def public() -> list[Module]:
    return [
        module
        for module in modules()
        if not any(part.startswith("_") for part in module.name.split("."))
        and module.path.name != "__init__.py"
    ]


def exported(module: Module) -> list[str] | None:
    """The value of `__all__`, or None without one."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            found: list[str] = ast.literal_eval(node.value)
            return found
    return None


def defined(module: Module) -> set[str]:
    """The public functions and classes that a module defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {
        node.name
        for node in module.tree.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    }


def test_all_is_exact_and_sorted() -> None:
    """`__all__` names every public function and class once, constants first."""
    found = []
    for module in public():
        names = exported(module)
        if names is None:
            found.append(f"{module.short} has no __all__")
            continue
        if sorted(set(names), key=_order) != names:
            found.append(f"{module.short}: __all__ is not sorted, or names something twice")
        found += [f"{module.short}: __all__ lacks {name}" for name in defined(module) - set(names)]
    require(found)


def test_every_name_can_be_imported() -> None:
    """Each module loads, and has each name of its `__all__`."""
    found = []
    for module in public():
        loaded = import_module(module.name)
        found += [
            f"{module.name}.{name} is not there"
            for name in exported(module) or []
            if not hasattr(loaded, name)
        ]
    require(found)


def test_the_package_shows_its_names() -> None:
    """`from sluiceway import …` works for every name in its `__all__`."""
    for name in sluiceway.__all__:
        if name != "__version__":  # known only to an installed package
            assert getattr(sluiceway, name) is not None
    assert set(sluiceway.__all__) <= set(dir(sluiceway))


def _order(name: str) -> tuple[int, str]:
    """The order of ruff (RUF022): CONSTANTS, Classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)
