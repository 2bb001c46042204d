"""`sluiceway copy`: options into one call of `sluiceway.copy`, or into lines for curl. What is printed how: see `voice`."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode

import click

from sluiceway.cli.copy_many import MANY, copy_many, many_options
from sluiceway.cli.exits import EXITS
from sluiceway.cli.network_options import NETWORK, network_options
from sluiceway.cli.output import Output
from sluiceway.cli.signals import ended_by_signals

__all__ = ["copy"]

_EXIT_HELP = "\b\nExit codes:\n" + "\n".join(
    f"  {row.code:>3}  {row.meaning}" for row in sorted(EXITS, key=lambda r: r.code)
)


@click.command(epilog=_EXIT_HELP)
@click.argument("sides", nargs=-1, required=True, metavar="SOURCE DESTINATION")
@click.option(
    "--from-command",
    metavar="LINE",
    help="Instead of SOURCE: run this line in a shell and copy what it writes, if it ends well; nothing is stored else.",
)
@click.option(
    "--name", help="The file's name, where the source or the server does not give the right one."
)
@click.option("--type", help="The file's media type; guessed from its name otherwise.")
@click.option(
    "--form",
    multiple=True,
    metavar="NAME=VALUE",
    help="Send as a form, with this field before the file. Repeatable.",
)
@click.option(
    "--field", metavar="NAME", help="Send as a form, with the file in this field. [default: file]"
)
@click.option(
    "--size",
    metavar="BYTES",
    help="What a pipe will give, such as 1048576 or 10GiB, so that the server is told. More or fewer are an error.",
)
@click.option(
    "-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="A header to send. Repeatable."
)
@click.option(
    "--token",
    envvar="SLUICEWAY_TOKEN",
    show_envvar=True,
    help="Sent as Bearer token to the URL's own host only.",
)
@click.option(
    "--from-header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header for the source, where both sides are URLs: -H and --token are the destination's. Repeatable.",
)
@click.option(
    "--from-token",
    envvar="SLUICEWAY_FROM_TOKEN",
    show_envvar=True,
    help="The source's token, likewise.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=4,
    show_default=True,
    help="How often a transfer that broke is tried again; 8 times each with -r. A pipe flows past once and is not.",
)
@network_options
@many_options
@click.option(
    "--pack",
    type=click.Choice(["zip"]),
    help="Copy all that is below SOURCE as one zip, made while it is sent and uncompressed, so that its length is known before.",
)
@click.option(
    "--unpack",
    type=click.Choice(["tar"]),
    help="SOURCE is a tar (plain, gzip, bzip2, xz): copy its members below DESTINATION while it arrives. Options of -r fit.",
)
@click.option(
    "--limit-rate",
    metavar="BYTES",
    help="At most so much a second, over all jobs together, such as 10MiB.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace what is there: the file a download would write, the object in a database.",
)
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="What a bucket, or a place of fsspec, needs beside its URL: region, profile, endpoint … Repeatable. The same may "
    "stand in the URL's query, where two sides differ.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON receipt per line on standard output and nothing else; errors as JSON on standard error.",
)
@click.option(
    "--curl",
    is_flag=True,
    help="Print the line for curl that does the same, secrets as variables; copy nothing.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def copy(
    sides: tuple[str, ...],
    from_command: str | None,
    form: tuple[str, ...],
    header: tuple[str, ...],
    from_header: tuple[str, ...],
    as_json: bool,
    curl: bool,
    quiet: bool,
    recursive: bool,
    unpack: str | None,
    store_option: tuple[str, ...],
    **given: Any,
) -> None:
    """Copy SOURCE to DESTINATION: a URL on one side, on the other a path, a folder, - or another URL.

    \b
    sluiceway copy big.iso https://host/files/big.iso    raw PUT
    sluiceway copy big.iso https://host/files            a form, the server picks the key
    sluiceway copy photos/ https://host/files/photos/    a folder, file by file
    sluiceway copy cover.jpg https://host/books --form id=42 --field cover
    tar c data | sluiceway copy - https://host/files/data.tar
    sluiceway copy --from-command 'pg_dump shop | zstd' s3://backups/shop.sql.zst
    sluiceway copy https://host/files/big.iso .          goes on where it stopped
    sluiceway copy https://a/big.iso https://b/files/    from server to server, stored nowhere on the way
    sluiceway copy big.iso 'postgresql://host/database/big.iso?table=files'
    sluiceway copy big.iso s3://bucket/folder/
    sluiceway copy -r --journal done.db backup/ https://host/files/backup/
    sluiceway copy photos/ https://host/files/ --pack zip  all of it as photos.zip
    sluiceway copy https://a/x.tar.gz https://b/files/x/ --unpack tar

    A download takes its name only when its length and digest are right. Until then it is a .sluiceway-….part beside
    the target.
    """
    source, destination = _two(sides, from_command)
    voice = Output(as_json, quiet, stdout_is_data=destination == "-" and not curl)
    from sluiceway.errors import SluiceError  # late, with the HTTP client: --help needs neither

    if given["ca_file"]:
        store_option = (f"ca_file={given['ca_file']}", *store_option)
    source, destination = (_with_options(side, store_option) for side in (source, destination))
    given["form"] = [_pair(text, "=", "--form") for text in form] or None
    given["headers"] = dict(_pair(text, ":", "-H") for text in header)
    given["from_headers"] = dict(_pair(text, ":", "--from-header") for text in from_header)
    for name in ("token", "from_token"):
        variable, option = f"SLUICEWAY_{name.upper()}", name.replace("_", "-")
        if given[name] == "" or (
            given[name] is None and os.environ.get(variable) == ""
        ):  # click takes that for none
            raise click.UsageError(
                f"--{option} (or {variable}) is set and empty; give the token, or leave it out"
            )
    many = {name: given.pop(name) for name in MANY}
    if from_command and (recursive or unpack or curl or given["pack"]):
        raise click.UsageError(
            "--from-command gives one file; leave out --recursive, --unpack, --pack and --curl"
        )
    if given["pack"] and (recursive or unpack or curl):
        raise click.UsageError(
            "--pack makes one file of many; leave out --recursive, --unpack and --curl"
        )
    if recursive or unpack:
        if curl:
            raise click.UsageError(
                "--curl is for one file or a folder of few; leave out --recursive and --unpack"
            )
        copy_many(source, destination, as_json, quiet, given, many | {"unpack": unpack})
    for name, flag in MANY.items():
        if many[name]:
            raise click.UsageError(f"{flag} goes with --recursive or --unpack")
    try:
        from sluiceway.client.local.command import Command
        from sluiceway.copying.api import copy as run
        from sluiceway.copying.api import curl_lines
        from sluiceway.copying.network import Network
        from sluiceway.copying.options import make_order

        if curl:
            del given["pack"]
            network = Network(**{name: given.pop(name) for name in NETWORK})
            for line in curl_lines(make_order(source, destination, network=network, **given)):
                voice.curl(line)
            return
        what = source if from_command is None else Command(from_command)
        with ended_by_signals(), voice:
            receipt = run(what, destination, on_progress=voice.show, **given)
        voice.finish(receipt)
    except SluiceError as error:
        voice.fail(error)
    except KeyboardInterrupt:
        voice.interrupted()


def _two(sides: tuple[str, ...], command: str | None) -> tuple[str, str]:
    """The source and the destination; a command stands for the source."""
    if command is not None:
        if len(sides) != 1:
            raise click.UsageError("--from-command stands for SOURCE; name the DESTINATION only")
        return "-", sides[0]
    if len(sides) != 2:
        raise click.UsageError(
            "Missing argument 'DESTINATION'."
            if len(sides) < 2
            else f"One argument too many: {sides[2]}"
        )
    return sides[0], sides[1]


def _with_options(side: str, options: tuple[str, ...]) -> str:
    """A bucket's URL says its options in its query; what stands there already wins."""
    from sluiceway.wire.urls import is_place

    if not options or not is_place(side) or side.lower().startswith("postgres"):
        return side
    address, _, query = side.partition("?")
    told = dict(_pair(text, "=", "--store-option") for text in options)
    if side.lower().startswith("fsspec+"):
        told.pop("ca_file", None)  # each of its libraries has a word of its own for that
    told |= dict(parse_qsl(query, keep_blank_values=True))
    return f"{address}?{urlencode(told)}" if told else side


def _pair(text: str, mark: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name:
        raise click.UsageError(
            f"{option} is written as NAME{mark}VALUE"
        )  # the text itself may hold a secret
    return name, value if mark == "=" else value.strip(" \t")
