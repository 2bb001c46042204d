"""The alphabet of property tests that try any text."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["CHARACTERS"]

# What `st.text()` takes by itself, which computes it for 2 s in each worker on a new machine.
CHARACTERS = st.characters(exclude_categories=["Cs"])
