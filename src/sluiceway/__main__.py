"""`python -m sluiceway` is `sluiceway`."""

from __future__ import annotations

from sluiceway.cli.main import main

if __name__ == "__main__":
    main()
