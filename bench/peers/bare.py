"""`sluiceway` without a log and without counts: what an operator's view costs is held against it.

Run as `python bare.py serve …`, with the Python that has the package.
"""

from __future__ import annotations

import logging

from sluiceway.__main__ import run
from sluiceway.uploads.totals import Totals

for name in ("count_bytes", "count_end", "count_request", "count_stages"):
    setattr(Totals, name, lambda *_: None)
logging.disable(logging.INFO)

if __name__ == "__main__":
    run()
