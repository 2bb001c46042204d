"""The `sluiceway` command: a table of subcommands, each imported when called, so help is quick."""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["main"]

COMMANDS = {
    "serve": "sluiceway.cli.serve:serve",
    "copy": "sluiceway.cli.copy:copy",
    "init": "sluiceway.cli.stores:init",
    "sweep": "sluiceway.cli.stores:sweep",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluiceway")
def main() -> None:
    """Move files of any size: constant memory, honest progress, done when the target says so."""
