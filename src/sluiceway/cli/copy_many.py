"""`sluiceway copy --recursive` and `--unpack`: one call of `sluiceway.copy_all`.

Prints nothing itself: see `overall_output`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from sluiceway.cli.copy_options import ONE_FLAGS
from sluiceway.cli.exits import SOME_FAILED
from sluiceway.cli.overall_output import OverallOutput
from sluiceway.cli.quick_start import quick_imports
from sluiceway.cli.signals import ended_by_signals

__all__ = ["copy_many"]


def copy_many(
    source: str,
    destination: str,
    as_json: bool,
    quiet: bool,
    options: Mapping[str, Any],
    many: Mapping[str, Any],
) -> None:
    """Copies; exits with a code of its own unless all went well.

    `many`: the options for many objects only.
    """
    for name, flag in ONE_FLAGS.items():
        if options.get(name):
            raise click.UsageError(f"{flag} is for one file; each of many keeps its own name")
    with quick_imports(source, destination):
        from sluiceway.copying.api import copy_all
        from sluiceway.errors import SluiceError

    output = OverallOutput(as_json, quiet)
    keywords = {name: value for name, value in options.items() if name not in ONE_FLAGS}
    keywords |= {name: value for name, value in many.items() if value is not None}
    try:
        with ended_by_signals(), output:
            report = copy_all(source, destination, on_progress=output.show, **keywords)
    except SluiceError as error:
        output.finish()
        output.fail(error)
    except KeyboardInterrupt:
        output.finish()
        output.interrupted()
    output.finish()
    if not report.ok:
        sys.exit(SOME_FAILED)
    output.check_printed()
