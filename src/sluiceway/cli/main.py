"""The `sluiceway` command: a table of subcommands, each imported when called, so help is quick."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from sluiceway.cli.terminal_text import hold_streams, say

__all__ = ["main"]

INTERRUPTED = 130  # 128 + SIGINT, as in shells; `exits` has it too, and loads more
# Where each command is, and what it does: the help of all loads none of them.
COMMANDS = {
    "serve": ("sluiceway.cli.serve:serve", "Store files from browsers, curl and programs."),
    "check": ("sluiceway.cli.checking.check:check", "Make all checks of a start of `serve`."),
    "copy": ("sluiceway.cli.copy:copy", "Copy files between folders, servers, buckets, databases."),
    "ls": ("sluiceway.cli.stored_files:ls", "List what is stored at a place or a server."),
    "rm": ("sluiceway.cli.stored_files:rm", "Delete what is stored at a place or a server."),
    "link": ("sluiceway.cli.access.link:link", "Let somebody upload or read without a token."),
    "token": ("sluiceway.cli.access.token:token", "Say who may do what: names, rights and limits."),
    "doctor": ("sluiceway.cli.doctor.command:doctor", "Find what stands in the way of uploads."),
    "init": ("sluiceway.cli.stores:init", "Create the tables of a database."),
    "sweep": ("sluiceway.cli.stores:sweep", "Remove expired files and uploads."),
}


class _LazyGroup(click.Group):
    def main(self, *args: Any, **given: Any) -> Any:
        """As click's own, but ^C at any moment has its own exit code; click has 1 for it."""
        if not given.get("standalone_mode", True):
            return super().main(*args, **given)
        hold_streams()
        try:
            code = super().main(*args, **{**given, "standalone_mode": False})
        except click.ClickException as error:
            with suppress(OSError):  # of standard error
                error.show()
            code = error.exit_code
        except click.Abort as error:
            interrupted = isinstance(error.__cause__, KeyboardInterrupt)
            say("sluiceway: interrupted" if interrupted else "Aborted!", err=True)
            code = INTERRUPTED if interrupted else 1
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluiceway")
def main() -> None:
    """Move files of any size: constant memory, honest progress, done when the target says so."""
