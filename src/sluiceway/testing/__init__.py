"""For tests of apps and stores: a form in any order, a store suite, splits, a memory meter.

Names are loaded when they are first used: pytest imports this package in every test run, because
its plugin lives here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluiceway.testing.posted_form import PostedForm, form

__all__ = ["PostedForm", "form"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'sluiceway.testing' has no attribute {name!r}")
    return getattr(import_module("sluiceway.testing.posted_form"), name)
