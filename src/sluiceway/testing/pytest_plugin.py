"""Lets pytest show the values in a failed assertion of the shipped suites.

An entry point loads it. It imports only pytest, so test runs without the suites do not pay for
them.
"""

from __future__ import annotations

import pytest

__all__ = []

pytest.register_assert_rewrite("sluiceway.testing.store_suite")
