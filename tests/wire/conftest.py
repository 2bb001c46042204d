"""Settings of the property tests here; SLUICEWAY_TORTURE=1 runs a hundred times the examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TORTURE = os.environ.get("SLUICEWAY_TORTURE") == "1"

# No deadline: absolute times depend on the machine. No database: tests leave nothing behind.
settings.register_profile(
    "wire",
    max_examples=10_000 if TORTURE else 100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow] if TORTURE else [],
)
settings.load_profile("wire")
