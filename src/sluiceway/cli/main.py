"""The `sluiceway` command: a table of subcommands, each imported when called, so help is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

__all__ = ["main"]

INTERRUPTED = 130  # 128 + SIGINT, as in shells; `exits` has it too, and loads more
COMMANDS = {
    "serve": "sluiceway.cli.serve:serve",
    "check": "sluiceway.cli.checking.check:check",
    "copy": "sluiceway.cli.copy:copy",
    "ls": "sluiceway.cli.stored_files:ls",
    "rm": "sluiceway.cli.stored_files:rm",
    "link": "sluiceway.cli.access.link:link",
    "token": "sluiceway.cli.access.token:token",
    "doctor": "sluiceway.cli.doctor.command:doctor",
    "init": "sluiceway.cli.stores:init",
    "sweep": "sluiceway.cli.stores:sweep",
}


@contextmanager
def _interruptible() -> Iterator[None]:
    """^C ends with its own code, also while a command is still being loaded; click has 1 for it."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("sluiceway: interrupted", err=True)
        sys.exit(INTERRUPTED)


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _interruptible():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _interruptible():
            return super().invoke(ctx)

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
