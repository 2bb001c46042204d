"""The options of `sluiceway copy`, as decorators: for one object, for many, for servers.

Declarations only; `copy` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["MANY_FLAGS", "ONE_FLAGS", "many_options", "network_options"]

F = TypeVar("F", bound=Callable[..., Any])

# Python names and flags of the options that make sense for many objects only, or for one only.
MANY_FLAGS = {
    "jobs": "--jobs",
    "journal": "--journal",
    "include": "--include",
    "exclude": "--exclude",
    "dry_run": "--dry-run",
    "preserve": "--preserve",
    "engine": "--engine",
    "scheduler": "--scheduler",
}
ONE_FLAGS = {
    "name": "--name",
    "type": "--type",
    "form": "--form",
    "field": "--field",
    "size": "--size",
    "pack": "--pack",
}


def network_options(command: F) -> F:
    """How servers are reached."""
    return _decorated(
        command,
        click.option(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="How long a server may send or take nothing. Then the transfer counts as broken "
            "and is retried where possible.  [default: 60; 600 for the response to an upload]",
        ),
        click.option(
            "--ca-file",
            type=click.Path(dir_okay=False),
            metavar="PEM",
            help="Authorities to trust beside the system's (or those of SSL_CERT_FILE).",
        ),
        click.option(
            "--client-cert",
            type=click.Path(dir_okay=False),
            metavar="PEM",
            help="A client certificate with its key, shown to the server that --token is for.",
        ),
        click.option(
            "--auth",
            type=click.Choice(["basic", "digest"]),
            help="How user and password of a URL are sent: with each request, or only in response "
            "to a challenge.  [default: basic]",
        ),
    )


def many_options(command: F) -> F:
    """For --recursive and --unpack."""
    return _decorated(
        command,
        click.option(
            "-r",
            "--recursive",
            is_flag=True,
            help="Copy every object below SOURCE to the same path below DESTINATION, and report.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(1, 256),
            metavar="N",
            help="With -r: how many objects are copied at once.  "
            "[default: 4; 32 of at most 64 KiB]",
        ),
        click.option(
            "--journal",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="With -r: remember finished objects in FILE, or in postgresql://HOST/DATABASE, so "
            "that the same command resumes after a kill.",
        ),
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="With -r: copy only keys that match; * stays within a name, ** crosses /. "
            "Repeatable.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="With -r: do not copy keys that match. Repeatable.",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="With -r: print what would be copied, and change nothing.",
        ),
        click.option(
            "--preserve",
            is_flag=True,
            help="With -r: keep times, permissions and empty folders, where both sides can.",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "dask"]),
            help="With -r: who copies the objects: this process, or the workers of a Dask cluster. "
            " [default: local]",
        ),
        click.option(
            "--scheduler",
            metavar="URL",
            help="The scheduler of the Dask cluster: tcp://HOST:PORT or tls://HOST:PORT.",
        ),
    )


def _decorated(command: F, *options: Callable[[F], F]) -> F:
    """With the options in this order in --help."""
    for option in reversed(options):
        command = option(command)
    return command
