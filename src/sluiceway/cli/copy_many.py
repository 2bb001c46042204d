"""`sluiceway copy --recursive`: its options, and one call of `sluiceway.copy_all`. What is printed how: see `overall`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sluiceway.cli.exits import INTERRUPTED, OK, SOME_FAILED
from sluiceway.cli.network_options import NETWORK
from sluiceway.cli.output import Output
from sluiceway.cli.overall_output import OverallOutput
from sluiceway.cli.signals import ended_by_signals

__all__ = ["MANY", "copy_many", "many_options"]

F = TypeVar("F", bound=Callable[..., Any])

MANY = {  # of the options: what is said only of many objects
    "jobs": "--jobs",
    "journal": "--journal",
    "include": "--include",
    "exclude": "--exclude",
    "dry_run": "--dry-run",
    "preserve": "--preserve",
}
SINGLE = {
    "name": "--name",
    "type": "--type",
    "form": "--form",
    "field": "--field",
    "size": "--size",
}


def many_options(command: F) -> F:
    """The options of --recursive, as decorators."""
    options = [
        click.option(
            "-r",
            "--recursive",
            is_flag=True,
            help="Copy every object below SOURCE to its own way below DESTINATION, and report.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(1, 256),
            metavar="N",
            help="With -r: objects at once.  [default: 4]",
        ),
        click.option(
            "--journal",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="With -r: what is done stands in FILE, so that a copy that was killed goes on where it was.",
        ),
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="With -r: only keys below SOURCE that fit; * stays within a name, ** goes across /. Repeatable.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="With -r: not the keys that fit. Repeatable.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="With -r: tell what would be done, and change nothing."
        ),
        click.option(
            "--preserve",
            is_flag=True,
            help="With -r: keep times and permissions, and empty folders, where both sides can.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def copy_many(
    source: str,
    destination: str,
    as_json: bool,
    quiet: bool,
    given: Mapping[str, Any],
    many: Mapping[str, Any],
) -> None:
    """Run it and exit with the code that tells how it ended."""
    for name, flag in SINGLE.items():
        if given.get(name):
            raise click.UsageError(f"{flag} is for one file; of many each keeps what it is called")
    from sluiceway.copying.many import JOBS, MANY_RETRIES, copy_all
    from sluiceway.errors import SluiceError

    voice = OverallOutput(as_json, quiet)
    told = {
        name: given[name]
        for name in (
            "headers",
            "from_headers",
            "token",
            "from_token",
            "force",
            "limit_rate",
            *NETWORK,
        )
    }
    context = click.get_current_context()
    chosen = context.get_parameter_source("retries") is not click.core.ParameterSource.DEFAULT
    told["retries"] = given["retries"] if chosen else MANY_RETRIES
    told |= {**many, "jobs": many["jobs"] or JOBS}
    try:
        with ended_by_signals(), voice:
            report = copy_all(source, destination, on_progress=voice.show, **told)
    except SluiceError as error:
        voice.finish()
        Output(as_json, quiet, stdout_is_data=False).fail(error)
    except KeyboardInterrupt:
        voice.finish()
        click.echo(
            '{"code": "interrupted", "exit": 130}' if as_json else "sluiceway: interrupted",
            err=True,
        )
        sys.exit(INTERRUPTED)
    voice.finish()
    sys.exit(OK if report.ok else SOME_FAILED)
