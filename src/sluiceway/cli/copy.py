"""`sluiceway copy`: options into one call of `sluiceway.acopy`, its receipts and errors into lines and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click

from sluiceway.cli.exits import EXITS, INTERRUPTED, exit_code

if TYPE_CHECKING:
    from sluiceway.errors import SluiceError
    from sluiceway.pipe.receipt import Progress, Receipt

__all__ = ["copy"]

_EXIT_HELP = "\b\nExit codes:\n" + "\n".join(f"  {row.code:>3}  {row.meaning}" for row in sorted(EXITS, key=lambda r: r.code))


@click.command(epilog=_EXIT_HELP)
@click.argument("source")
@click.argument("destination")
@click.option("--name", help="The file's name, where the source or the server does not give the right one.")
@click.option("--type", help="The file's media type; guessed from its name otherwise.")
@click.option("--form", multiple=True, metavar="NAME=VALUE", help="Send as a form, with this field before the file. Repeatable.")
@click.option("--field", metavar="NAME", help="Send as a form, with the file in this field. [default: file]")
@click.option("-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="A header to send. Repeatable.")
@click.option("--token", envvar="SLUICEWAY_TOKEN", show_envvar=True, help="Sent as Bearer token to the URL's own host only.")
@click.option("--force", is_flag=True, help="Replace the file a download would write.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON receipt per line on standard output and nothing else; errors as JSON on standard error.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def copy(
    source: str,
    destination: str,
    name: str | None,
    type: str | None,
    form: tuple[str, ...],
    field: str | None,
    header: tuple[str, ...],
    token: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy SOURCE to DESTINATION: a path, a folder or - on one side, an http(s) URL on the other.

    \b
    sluiceway copy big.iso https://host/files/big.iso    raw PUT
    sluiceway copy big.iso https://host/files            a form, the server picks the key
    sluiceway copy photos/ https://host/files/photos/    a folder, file by file
    sluiceway copy cover.jpg https://host/books --form id=42 --field cover
    tar c data | sluiceway copy - https://host/files/data.tar
    sluiceway copy https://host/files/big.iso .          goes on where it stopped

    A download takes its name only when its length and digest are right. Until then it is .NAME.part beside the target.
    """
    voice = _Voice(as_json, quiet, stdout_is_data=destination == "-")
    from sluiceway.errors import SluiceError  # late, with the HTTP client: --help needs neither

    try:
        fields, headers = [_pair(text, "=", "--form") for text in form], dict(_pair(text, ":", "-H") for text in header)
        from sluiceway.transfer import copy as run

        with voice:
            receipt = run(
                source,
                destination,
                name=name,
                type=type,
                form=fields or None,
                field=field,
                headers=headers,
                token=token or None,
                force=force,
                on_progress=voice.show,
            )
        voice.finish(receipt)
    except SluiceError as error:
        voice.fail(error)
    except KeyboardInterrupt:
        voice.interrupted()


def _pair(text: str, mark: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name:
        raise click.UsageError(f"{option} is written as NAME{mark}VALUE")  # the text itself may hold a secret
    return name, value if mark == "=" else value.strip(" \t")


class _Voice:
    """What is said where: receipts on standard output, unless that carries the data; everything else on standard error."""

    def __init__(self, as_json: bool, quiet: bool, stdout_is_data: bool) -> None:
        self._json, self._quiet, self._to_stderr = as_json, quiet, stdout_is_data
        self._bar: Callable[[Progress], None] | None = None
        self._leave: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        if not self._json and not self._quiet and sys.stderr.isatty():
            from sluiceway.cli.progress import Bar

            bar = Bar()
            self._bar, self._leave = bar.show, bar.close

    def __exit__(self, *_: object) -> None:
        self._leave()

    def show(self, now: Progress) -> None:
        if now.stage == "left-out" and self._bar is None:
            self._note({"code": "left-out", "source": now.name, "detail": now.note}, f"{now.name} is left out: {now.note}")
        if self._bar is not None:
            self._bar(now)
        if now.receipt is not None and self._json:
            self._say(json.dumps(now.receipt.to_json()))

    def finish(self, receipt: Receipt) -> None:
        if not self._json and not self._quiet:
            self._say(_line(receipt))

    def fail(self, error: SluiceError) -> NoReturn:
        code = exit_code(error)
        sent = error.members.get("sent")
        already = f" ({sent} files before it were sent)" if sent else ""
        facts = {"code": error.code, "exit": code, "detail": error.detail, **error.members}
        self._note(facts, f"{error.detail}{already}", always=True)
        sys.exit(code)

    def interrupted(self) -> NoReturn:
        self._note({"code": "interrupted", "exit": INTERRUPTED, "detail": "interrupted"}, "interrupted", always=True)
        sys.exit(INTERRUPTED)

    def _note(self, facts: dict[str, object], text: str, always: bool = False) -> None:
        if self._json:
            click.echo(json.dumps(facts, default=str), err=True)
        elif always or not self._quiet:
            click.echo(f"sluiceway: {_printable(text)}", err=True)

    def _say(self, text: str) -> None:
        click.echo(text, err=self._to_stderr)


def _line(receipt: Receipt) -> str:
    speed = receipt.size / receipt.seconds if receipt.seconds > 0 else 0.0
    what = f"{len(receipt.parts)} files  {_amount(receipt.size)}" if receipt.parts else _amount(receipt.size)
    digest = f"  sha-256 {receipt.sha256}" if receipt.sha256 else ""
    return _printable(f"{receipt.location}  {what}{digest}  {receipt.seconds:.2f} s  {_amount(speed)}/s")


def _amount(size: float) -> str:
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def _printable(text: str) -> str:
    """File names and servers' words must not steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
