"""A command that suggests an option only where it is probably the one that was meant."""

from __future__ import annotations

import click

__all__ = ["LIKENESS", "SuggestingCommand"]

LIKENESS = 0.8  # of two names, from 0 to 1; click's own 0.6 suggests --jobs for --bogus


class SuggestingCommand(click.Command):
    """`--recursiv` suggests `--recursive`; `--bogus` suggests nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from difflib import get_close_matches  # late: commands have no time for it

            names = [name for param in self.get_params(ctx) for name in param.opts]
            longer = [name for name in names if name.startswith(f"{error.option_name}-")]
            near = longer or get_close_matches(error.option_name, names, cutoff=LIKENESS)
            raise click.NoSuchOption(error.option_name, possibilities=near, ctx=ctx) from None
