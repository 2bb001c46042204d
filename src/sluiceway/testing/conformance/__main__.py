"""`python -m sluiceway.testing.conformance URL`: the suite against any server.

Exits with 0 when the server keeps each binding rule, with 1 when it does not, with 2 when it cannot
be asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from sluiceway.testing.conformance import (
    resumable_appends,
    resumable_creation,
    tus_checksums,
    tus_concatenation,
    tus_core,
    tus_creation,
)
from sluiceway.testing.conformance.case import Case, Level
from sluiceway.testing.conformance.outcomes import NoResponse
from sluiceway.testing.conformance.peer import Peer
from sluiceway.testing.conformance.report import (
    CaseVerdict,
    Result,
    judge,
    summary,
    table,
    write_json,
)
from sluiceway.testing.conformance.resumable_server import FINAL, VERSIONS, ResumableServer
from sluiceway.testing.conformance.tus_server import TusServer

__all__ = ["RESUMABLE_CASES", "TUS_CASES", "main"]

TUS_CASES: tuple[Case, ...] = (
    *tus_core.CASES,
    *tus_creation.CASES,
    *tus_checksums.CASES,
    *tus_concatenation.CASES,
)
RESUMABLE_CASES: tuple[Case, ...] = (*resumable_creation.CASES, *resumable_appends.CASES)
COMES_BACK = 10.0  # seconds in which a supervisor starts a server again that ended
EPILOG = """\
levels: `must` and `should` as the text says; `choice` where the text leaves it open and the suite
has its own reading. Only a broken `must` fails the run, unless --strict is given.

example: python -m sluiceway.testing.conformance http://127.0.0.1:8000/files --tus
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite. Returns the exit code."""
    options = _parser().parse_args(arguments)
    peer = Peer(options.url, dict(options.header), options.timeout, options.restart)
    try:
        peer.ask("OPTIONS", options.url, {})
    except (OSError, NoResponse) as error:
        print(f"{options.url} cannot be asked: {error}", file=sys.stderr)
        return 2
    results: list[Result] = []
    try:
        _run(peer, options, results)
    except NoResponse as error:
        print(f"{error}: the other cases were not run", file=sys.stderr)
        return 1
    print(summary(results))
    if options.json:
        Path(options.json).write_text(write_json(results) + "\n", "utf-8")
    binding = set(Level) if options.strict else {Level.MUST}
    is_kept = all(
        each.verdict is not CaseVerdict.FAILED or each.level not in binding for each in results
    )
    return 0 if is_kept and results else 1


def _run(peer: Peer, options: argparse.Namespace, results: list[Result]) -> None:
    """Raises NoResponse where the server ends and nobody starts it again."""
    for result in _judged(peer, options):
        results.append(result)
        if not options.quiet or result.verdict is CaseVerdict.FAILED:
            print(table([result]), flush=True)


def _judged(peer: Peer, options: argparse.Namespace) -> Iterator[Result]:
    def run(row: tuple[Case, str, object]) -> Result:
        result = judge(*row)
        if result.verdict is CaseVerdict.FAILED:
            peer.wait_for(COMES_BACK)  # before this thread's next case
        return result

    threads = ThreadPoolExecutor(options.parallel)
    try:
        yield from threads.map(run, _rows(peer, options))
    finally:
        threads.shutdown(cancel_futures=True)


def _rows(peer: Peer, options: argparse.Namespace) -> Iterator[tuple[Case, str, object]]:
    """Each case with its dialect and the server that speaks it."""
    versions = options.resumable
    both = not options.tus and versions is None
    if options.tus or both:
        tus = TusServer(peer)
        yield from ((case, "tus", tus) for case in TUS_CASES if options.only in case.id)
    for version in VERSIONS if both else versions or ():
        server = ResumableServer(peer, version)
        name = "final" if version == FINAL else str(version)
        yield from ((case, name, server) for case in RESUMABLE_CASES if options.only in case.id)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sluiceway.testing.conformance",
        description="Ask a server for each rule of tus 1.0.0 and of IETF resumable uploads.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", type=_url, help="where uploads are created")
    parser.add_argument("--tus", action="store_true", help="only tus, or tus and --resumable")
    parser.add_argument(
        "--resumable",
        metavar="VERSIONS",
        type=_versions,
        help="interop versions, such as 6 or 3..9,final; without --tus only these",
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose id has this text")
    parser.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="a field of each request, such as 'Authorization: Bearer …'; may be repeated",
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=10.0, help="of each wait; default 10"
    )
    parser.add_argument(
        "--parallel", metavar="N", type=int, default=4, help="cases at a time; default 4"
    )
    parser.add_argument(
        "--restart",
        metavar="COMMAND",
        default="",
        help="restarts the server, for two more cases; with --parallel 1",
    )
    parser.add_argument("--strict", action="store_true", help="should and choice bind, too")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts there")
    parser.add_argument("--quiet", action="store_true", help="print only what failed")
    return parser


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http:// or https:// URL")
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip().lower(), value.strip()


def _versions(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for each in text.split(","):
        first, dots, last = each.strip().partition("..")
        try:
            start = FINAL if first == "final" else int(first)
            end = start if not dots else int(last)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{each!r} is not a version, nor N..M") from None
        wanted = {version for version in VERSIONS if start <= version <= end}
        if not wanted:
            known = ", ".join(str(version) for version in VERSIONS if version != FINAL)
            raise argparse.ArgumentTypeError(f"{each!r} is none of {known}, final")
        found |= wanted
    return tuple(sorted(found))


if __name__ == "__main__":
    sys.exit(main())
