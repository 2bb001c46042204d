"""`sluiceway check`: takes what `sluiceway serve` takes, and prints what would go wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from sluiceway.cli.checking.given_settings import (
    SettingsCommand,
    name_places,
    refuse_empty_variables,
    unknown_variables,
)
from sluiceway.cli.serve import (
    config_option,
    refuse_shown_secret,
    refuse_uploaded_settings,
    setting_options,
)
from sluiceway.cli.terminal_text import printable, say
from sluiceway.errors import SluiceError
from sluiceway.server.checks.finding import Finding, failed, from_error, warned
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting

__all__ = ["check"]

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


class _CheckCommand(SettingsCommand):
    """A file or a variable that cannot be read is a finding; a wrong command line stays one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            given = isinstance(error, click.BadParameter | click.BadOptionUsage)
            if given and "(from " not in error.format_message():
                raise
            found = failed("settings", error.format_message(), "correct the setting")
            _print(found, as_json="--json" in args)
            ctx.exit(1)


@click.command(
    cls=_CheckCommand,
    context_settings={"auto_envvar_prefix": "SLUICEWAY"},
    epilog="Exit code 0: the server would start and take files; warnings do not count. 1: it would "
    "not.",
)
@config_option
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: check, level, text, cure."
)
@click.option("--random-token", is_flag=True, help="As for `sluiceway serve`; changes nothing.")
@click.pass_context
def check(context: click.Context, /, as_json: bool, random_token: bool, **options: Any) -> None:
    """Make all checks of a start of `sluiceway serve` with the same options, without starting.

    \b
    sluiceway check --to /srv/files --token-file /etc/sluiceway/tokens

    It looks at the settings, each destination, the ledger, the spool, tokens, link keys and TLS
    files, free space, clocks, the port and the descriptors. It makes no folder and stores nothing.
    Run it as the user of the server.
    """
    from sluiceway.server.checks.every import check_everything  # late: --help needs no server

    is_bad = False

    async def work() -> None:
        nonlocal is_bad
        for what, instead in unknown_variables():
            _print(warned("settings", what, instead), as_json)
        for found in _before(context, options):
            is_bad = True
            _print(found, as_json)
        async for found in check_everything(options):
            if found.check == "settings":
                found = replace(found, text=name_places(context, found.text))
            is_bad = is_bad or found.level == "failed"
            _print(found, as_json)

    asyncio.run(work())
    sys.exit(1 if is_bad else 0)


def _before(context: click.Context, options: dict[str, Any]) -> list[Finding]:
    """What `serve` refuses of the command line itself."""
    config: Path | None = context.obj

    def config_is_safe() -> None:
        if config is not None and not Settings.faults(options):
            refuse_uploaded_settings(config, Settings(**options))

    found = []
    for step in (refuse_empty_variables, lambda: refuse_shown_secret(context), config_is_safe):
        try:
            step()
        except BadSetting as error:
            found.append(from_error("settings", error, "correct the setting"))
        except SluiceError:
            pass  # the checks themselves name it
    return found


def _print(found: Finding, as_json: bool) -> None:
    if as_json:
        say(json.dumps(asdict(found), ensure_ascii=False))
        return
    cure = f"\n         {found.cure}" if found.cure else ""
    say(f"{MARKS[found.level]}  {found.check}: {printable(found.text)}{cure}")


setting_options(check)
