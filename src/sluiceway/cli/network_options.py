"""Options of `sluiceway copy` that say how servers are reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["NETWORK", "network_options"]

F = TypeVar("F", bound=Callable[..., Any])

NETWORK = ("timeout", "ca_file", "client_cert", "auth")


def network_options(command: F) -> F:
    """The options, as decorators."""
    options = [
        click.option(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="How long a server may send or take nothing before it counts as gone; then the transfer is tried again where it "
            "may be. [default: 60; 600 for the answer to an upload]",
        ),
        click.option(
            "--ca-file",
            type=click.Path(dir_okay=False),
            metavar="PEM",
            help="Certificates of authorities to trust beside the system's (or those of SSL_CERT_FILE).",
        ),
        click.option(
            "--client-cert",
            type=click.Path(dir_okay=False),
            metavar="PEM",
            help="Our own certificate with its key, shown to the one server that --token is for.",
        ),
        click.option(
            "--auth",
            type=click.Choice(["basic", "digest"]),
            help="How user and password of a URL are told: with each request, or only to a server's challenge.  [default: basic]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
