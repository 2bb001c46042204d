"""Where a setting was given: an option, a SLUICEWAY_… variable, or the settings file.

Errors name that place, so that nobody looks for an option in a command line that has none. Knows
the names of settings and not their meaning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import click
from click.core import ParameterSource

from sluiceway.cli.suggestions import LIKENESS, SuggestingCommand
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.settings.listed import setting_help

__all__ = ["SettingsCommand", "name_places", "refuse_empty_variables", "unknown_variables"]

PREFIX = "SLUICEWAY_"
OTHERS = frozenset(  # of commands, and of a server to its workers and its successor
    f"{PREFIX}{name}"
    for name in ("CONFIG", "RANDOM_TOKEN", "TOKEN", "FROM_TOKEN", "SUCCEEDS", "WORKER_SETTINGS")
)
# Kubernetes sets them in each container, for a service of this name.
_OF_KUBERNETES = re.compile(r"SLUICEWAY_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)")
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)")


class SettingsCommand(SuggestingCommand):
    """With an option for each setting: a value of a wrong type is named with its place."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            place = None if error.param is None else _place(ctx, error.param.name or "")
            if place is not None and error.param is not None:
                error.param_hint = f"{error.param.get_error_hint(ctx)} ({place})"
            raise


def name_places(context: click.Context, detail: str) -> str:
    """The text of an error, with the place after each option that comes from another one."""

    def named(option: re.Match[str]) -> str:
        place = _place(context, option[1].replace("-", "_"))
        return option[0] if place is None else f"{option[0]} ({place})"

    return _OPTION.sub(named, detail)


def _place(context: click.Context, name: str) -> str | None:
    source = context.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return f"from {PREFIX}{name.upper()}"
    return f"from {context.obj}" if source is ParameterSource.DEFAULT_MAP else None


def refuse_empty_variables() -> None:
    """A variable that is set but empty was meant to hold a value; click would ignore it.

    With SLUICEWAY_TOKEN the server would be open.
    """
    for name in setting_help():
        variable = f"{PREFIX}{name.upper()}"
        if os.environ.get(variable) is not None and not os.environ[variable].strip():
            raise BadSetting(
                f"{variable} is set but empty; give it a value (for --{name.replace('_', '-')}), "
                "or unset it"
            )


def unknown_variables() -> Iterator[tuple[str, str]]:
    """Variables that look like settings and are none: what is wrong, and what to do."""
    known = {f"{PREFIX}{name.upper()}" for name in setting_help()} | OTHERS
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable in known or _OF_KUBERNETES.match(variable):
            continue
        from difflib import get_close_matches  # late: a start has no time for it

        near = get_close_matches(variable, known, cutoff=LIKENESS)
        instead = f"write {' or '.join(near)}" if near else "see docs/settings.md, or unset it"
        yield f"{variable} is no setting and is ignored", instead
