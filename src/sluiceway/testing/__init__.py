"""For tests of apps and stores: a form in any order, a store suite, splits, a memory meter."""

from __future__ import annotations

from sluiceway.testing.posted_form import PostedForm, form

__all__ = ["PostedForm", "form"]
