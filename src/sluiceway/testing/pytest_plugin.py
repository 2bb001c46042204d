"""Lets pytest show the values in a failed assertion of the shipped suites. Loaded by its entry point.

It imports pytest alone, so a test run that never uses the suites does not pay for them.
"""

from __future__ import annotations

import pytest

__all__ = []

pytest.register_assert_rewrite("sluiceway.testing.store_suite")
