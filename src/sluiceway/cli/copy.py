"""`sluiceway copy`: turns options into one call of `copy` or `copy_all`, or into lines for curl.

Prints nothing itself: see `output` and `overall_output`.
"""

from __future__ import annotations

import os
from typing import Any

import click

from sluiceway.cli.copy_options import MANY_FLAGS, many_options, network_options
from sluiceway.cli.exits import EXITS
from sluiceway.cli.output import Output
from sluiceway.cli.quick_start import quick_imports
from sluiceway.cli.signals import ended_by_signals
from sluiceway.cli.suggestions import SuggestingCommand

__all__ = ["copy", "name_and_value"]

_EXIT_HELP = "\b\nExit codes:\n" + "\n".join(
    f"  {row.code:>3}  {row.meaning}" for row in sorted(EXITS, key=lambda r: r.code)
)


@click.command(cls=SuggestingCommand, epilog=_EXIT_HELP)
@click.argument("sides", nargs=-1, required=True, metavar="SOURCE DESTINATION")
@click.option(
    "--from-command",
    metavar="LINE",
    help="Instead of SOURCE: run this line in a shell and store its output, only if it ends well.",
)
@click.option("--name", help="The file's name, instead of that of the source or the server.")
@click.option("--type", help="The file's media type; otherwise guessed from its name.")
@click.option(
    "--form",
    multiple=True,
    metavar="NAME=VALUE",
    help="Send a form, with this field before the file. Repeatable.",
)
@click.option(
    "--field", metavar="NAME", help="Send a form, with the file in this field.  [default: file]"
)
@click.option(
    "--size",
    metavar="BYTES",
    help="How much a pipe will give, such as 1048576 or 10GiB, to announce it to the server. More "
    "or fewer bytes are an error.",
)
@click.option(
    "-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="A header to send. Repeatable."
)
@click.option(
    "--token",
    envvar="SLUICEWAY_TOKEN",
    show_envvar=True,
    help="Sent as a Bearer token, to the URL's own host only.",
)
@click.option(
    "--from-header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header for the source, where both sides are URLs: -H and --token are for the "
    "destination. Repeatable.",
)
@click.option(
    "--from-token",
    envvar="SLUICEWAY_FROM_TOKEN",
    show_envvar=True,
    help="The token for the source, where both sides are URLs.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=8,
    show_default=True,
    help="How often a broken transfer is retried in a row, with -r that of each object; 8 last one "
    "to two minutes. A pipe is not retried once bytes of it were read.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Send files from 2 MiB on so that the same command goes on after a cut or a kill: to a "
    "server that offers tus or IETF resumable uploads, s3://, postgresql:// and folders.  "
    "[default: --resume]",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 16),
    default=1,
    metavar="N",
    help="Send or fetch one large object in N parts at once: to s3://, to a server of tus that "
    "joins parts (of this project: at /files), from a server of ranges to a file. Elsewhere it is "
    "one piece.  [default: 1]",
)
@network_options
@many_options
@click.option(
    "--pack",
    type=click.Choice(["zip"]),
    help="Copy everything below SOURCE as one zip. It is made while it is sent, uncompressed, so "
    "its length is known before.",
)
@click.option(
    "--unpack",
    type=click.Choice(["tar"]),
    help="SOURCE is a tar (plain, gzip, bzip2, xz): copy its members below DESTINATION while it "
    "arrives. Options of -r apply.",
)
@click.option(
    "--limit-rate",
    metavar="BYTES",
    help="At most this much a second, over all jobs together, such as 10MiB.",
)
@click.option(
    "--digest",
    metavar="NAMES",
    default="sha-256",
    show_default=True,
    help="Digests to count of every object: sha-256, sha-512, blake3 or crc64nvme, several with "
    "commas; auto: sha-256 for servers, else crc64nvme if it is installed; or none. Digests that "
    "the source names are always checked.",
)
@click.option("--force", is_flag=True, help="Replace what is at the destination.")
@click.option(
    "--store-option",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of a bucket or of fsspec: region, profile, endpoint … Repeatable. It may also "
    "stand in the URL's query, where the two sides differ.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON receipt per line on standard output and nothing else; errors as JSON on "
    "standard error.",
)
@click.option(
    "--curl",
    is_flag=True,
    help="Print the line for curl that does the same, with secrets as variables; copy nothing.",
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
    **options: Any,
) -> None:
    """Copy SOURCE to DESTINATION. Each is a path, a folder, - or a URL.

    \b
    sluiceway copy big.iso https://host/files/big.iso    raw PUT
    sluiceway copy big.iso https://host/files            a form; the server picks the key
    sluiceway copy photos/ https://host/files/photos/    a folder, file by file
    sluiceway copy cover.jpg https://host/books --form id=42 --field cover
    tar c data | sluiceway copy - https://host/files/data.tar
    sluiceway copy --from-command 'pg_dump shop | zstd' s3://backups/shop.sql.zst
    sluiceway copy https://host/files/big.iso .          resumes where it stopped, as uploads do
    sluiceway copy https://a/big.iso https://b/files/    from server to server
    sluiceway copy big.iso 'postgresql://host/database/big.iso?table=files'
    sluiceway copy big.iso sqlite:///files.db/big.iso
    sluiceway copy big.iso s3://bucket/folder/
    sluiceway copy -r --journal done.db backup/ https://host/files/backup/
    sluiceway copy photos/ https://host/files/ --pack zip     all of it as photos.zip
    sluiceway copy https://a/x.tar.gz https://b/files/x/ --unpack tar

    A download gets its name only when its length and digest are right. Until then it is a
    .sluiceway-….part beside the target.
    """
    source, destination = _two_sides(sides, from_command)
    if options["ca_file"]:
        store_option = (f"ca_file={options['ca_file']}", *store_option)
    options["store_option"] = dict(
        name_and_value(text, "=", "--store-option") for text in store_option
    )
    options["form"] = [name_and_value(text, "=", "--form") for text in form] or None
    options["headers"] = dict(name_and_value(text, ":", "-H") for text in header)
    options["from_headers"] = dict(
        name_and_value(text, ":", "--from-header") for text in from_header
    )
    _refuse_empty_tokens(options)
    many = {name: options.pop(name) for name in MANY_FLAGS}
    _refuse_contradictions(from_command, recursive, unpack, curl, options["pack"])
    if recursive or unpack:
        from sluiceway.cli.copy_many import copy_many

        copy_many(source, destination, as_json, quiet, options, many | {"unpack": unpack})
        return
    for name, flag in MANY_FLAGS.items():
        if many[name]:
            raise click.UsageError(f"{flag} goes with --recursive or --unpack")
    output = Output(as_json, quiet, stdout_is_data=destination == "-" and not curl)
    _copy_one(output, source, destination, from_command, curl, options)


def _copy_one(
    output: Output,
    source: str,
    destination: str,
    from_command: str | None,
    curl: bool,
    options: dict[str, Any],
) -> None:
    from sluiceway.errors import SluiceError  # late, with the HTTP client: --help needs neither

    try:
        with quick_imports(source, destination):
            from sluiceway.client.local.command import Command
            from sluiceway.copying.api import copy as run
            from sluiceway.copying.api import curl_lines
            from sluiceway.copying.options import CopyOptions

        if curl:
            for line in curl_lines(CopyOptions.for_one(source, destination, **options)):
                output.curl(line)
            output.check_printed()
            return
        what = source if from_command is None else Command(from_command)
        with ended_by_signals(), output:
            receipt = run(what, destination, on_progress=output.show, **options)
        output.finish(receipt)
        output.check_printed()
    except SluiceError as error:
        output.fail(error)
    except KeyboardInterrupt:
        output.interrupted()


def _two_sides(sides: tuple[str, ...], command: str | None) -> tuple[str, str]:
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


def _refuse_contradictions(
    command: str | None, recursive: bool, unpack: str | None, curl: bool, pack: str | None
) -> None:
    if command and (recursive or unpack or curl or pack):
        raise click.UsageError(
            "--from-command gives one file; leave out --recursive, --unpack, --pack and --curl"
        )
    if pack and (recursive or unpack or curl):
        raise click.UsageError(
            "--pack makes one file of many; leave out --recursive, --unpack and --curl"
        )
    if curl and (recursive or unpack):
        raise click.UsageError(
            "--curl is for one file or the files of a folder; leave out --recursive and --unpack"
        )


def _refuse_empty_tokens(options: dict[str, Any]) -> None:
    """A token that is set but empty was meant to hold one; click takes the variable for unset."""
    for name in ("token", "from_token"):
        variable, option = f"SLUICEWAY_{name.upper()}", name.replace("_", "-")
        empty = options[name] is None and os.environ.get(variable) == ""
        if options[name] == "" or empty:
            raise click.UsageError(
                f"--{option} (or {variable}) is set and empty; give the token, or leave it out"
            )


def _pairs(texts: tuple[str, ...], mark: str, option: str) -> dict[str, str]:
    return dict(name_and_value(text, mark, option) for text in texts)


def name_and_value(text: str, mark: str, option: str) -> tuple[str, str]:
    """The two halves of an option such as NAME=VALUE. Raises UsageError."""
    name, found, value = text.partition(mark)
    if not found or not name:
        # Without the text, which may hold a secret.
        raise click.UsageError(f"{option} is written as NAME{mark}VALUE")
    return name, value if mark == "=" else value.strip(" \t")
