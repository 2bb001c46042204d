"""Where the examples are, and the bytes that their tests send."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fix_taking import noise

__all__ = ["DATA", "EXAMPLES", "SHA"]
EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = noise(3_000_017)
SHA = hashlib.sha256(DATA).hexdigest()
