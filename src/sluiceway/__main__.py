"""`python -m sluiceway` is `sluiceway`."""

from __future__ import annotations

import sys

__all__ = ["run"]

INTERRUPTED = 130  # 128 + SIGINT, as in shells


def run() -> None:
    """The command. ^C has its own exit code from here on, before anything is loaded."""
    try:
        from sluiceway.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("sluiceway: interrupted\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
