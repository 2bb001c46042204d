"""`sluiceway doctor`: what stands in the way of uploads to a deployed server. Computes nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from sluiceway.cli.exits import INTERRUPTED, USAGE
from sluiceway.cli.signals import ended_by_signals
from sluiceway.cli.suggestions import SuggestingCommand
from sluiceway.cli.terminal_text import is_terminal, printable, say

if TYPE_CHECKING:
    from sluiceway.client.doctor.diagnosis import Diagnosis, DoctorReport

__all__ = ["doctor"]

FOUND = 1


@click.command(cls=SuggestingCommand)
@click.argument("url")
@click.option(
    "--token",
    envvar="SLUICEWAY_TOKEN",
    show_envvar=True,
    help="Sent as a Bearer token. All is seen with the right `admin`.",
)
@click.option("--origin", default="", help="The origin of pages that must be able to upload.")
@click.option(
    "--hold",
    type=click.FloatRange(0.5, 600),
    default=6.0,
    show_default=True,
    help="Seconds that a body takes, pauses, and that a response waits: the timeouts to find.",
)
@click.option(
    "--ca-file", type=click.Path(dir_okay=False), help="Authorities (PEM) to trust besides."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    url: str, token: str | None, origin: str, hold: float, ca_file: str | None, as_json: bool
) -> None:
    """Find what stands in the way of uploads to the server at URL: the hop, and its setting.

    \b
    sluiceway doctor https://files.example.com
    sluiceway doctor --origin https://app.example.com --hold 70 https://files.example.com

    It sends small probes through all proxies and stores nothing. The exit code is 0 if all is
    well, 1 if there is something to repair, 2 if it could not look, or not to the end.
    """
    from sluiceway.client.doctor.examine import examine
    from sluiceway.client.doctor.target import parse_target
    from sluiceway.errors import SluiceError

    def show(probe: str) -> None:
        if not as_json and is_terminal():
            say(f"\r\x1b[Ksending {probe}", nl=False, err=True)

    try:
        with ended_by_signals():
            target = parse_target(url, token, ca_file)
            report = examine(target, hold=hold, origin=origin, show=show)
    except SluiceError as error:
        say(f"sluiceway: {printable(error.detail)}", err=True)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        say("sluiceway: interrupted", err=True)
        sys.exit(INTERRUPTED)
    finally:
        if not as_json and is_terminal():
            say("\r\x1b[K", nl=False, err=True)
    say(json.dumps(report.to_json()) if as_json else _text(report))
    sys.exit(0 if report.is_well else FOUND if report.is_whole else USAGE)


def _text(report: DoctorReport) -> str:
    way = " -> ".join(map(str, report.hops)) or "no hop says its name"
    lines = [printable(f"{report.url}: {way}")]
    if report.is_well:
        lines.append("all is well")
    for finding in report.findings:
        lines += ["", *_lines(finding)]
    lines += ["", *(printable(f"not checked: {text}") for text in report.not_seen)]
    return "\n".join(lines)


def _lines(finding: Diagnosis) -> list[str]:
    from sluiceway.client.doctor.remedies import FAULTS

    return [
        printable(f"{finding.severity}: {finding.code}: {finding.seen}"),
        f"  {FAULTS[finding.code].meaning}",
        printable(f"  at {finding.hop}, {finding.directive}: {finding.fix}"),
    ]
