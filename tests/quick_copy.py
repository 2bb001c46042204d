"""The command itself, with short waits between attempts: a thousand objects meet 200 failures."""

from __future__ import annotations

import sys

from sluiceway.cli.main import main
from sluiceway.copying import options

if __name__ == "__main__":
    options.FIRST_WAIT = 0.002  # type: ignore[attr-defined]  # not exported there
    sys.argv[0] = "sluiceway"
    main()
