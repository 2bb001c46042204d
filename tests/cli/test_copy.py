"""`sluiceway copy` for people and scripts: exit codes, output, the bar on a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

import sluiceway
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.cli.copy import copy as copy_command
from sluiceway.cli.copy_options import MANY_FLAGS, ONE_FLAGS
from sluiceway.cli.exits import EXITS
from sluiceway.copying.arguments.keywords import CopyAllKeywords, CopyKeywords, SharedKeywords
from sluiceway.copying.options import MOST_RETRIES, RETRIES

DATA = os.urandom(100_000)
DEADLINE = 30  # seconds


@dataclass
class Ran:
    code: int
    out: bytes
    err: str


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
    return {**clean, **more}


def run(*arguments: str | Path, stdin: bytes = b"", **env: str) -> Ran:
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        env=environment(**env),
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def taking(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(201)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


def refusing(status: int) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(status)

    return act


def refusing_puts(status: int) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(status if exchange.method == "PUT" else 404)

    return act


def lying(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(200, {"Repr-Digest": sha256_field(b"other")}, DATA)


CASES: list[tuple[str, int, Callable[[Exchange], None], list[str]]] = [
    ("an upload that is kept", 0, taking, ["{source}", "{url}/a"]),
    ("a download that is right", 0, ranged(DATA), ["{url}/a", "{folder}/got"]),
    ("a server that breaks", 1, refusing(500), ["{source}", "{url}/a"]),
    (
        "a server that says nothing",
        1,
        lambda exchange: None,
        ["--retries", "0", "{source}", "{url}/a"],
    ),
    ("a target that is there", 4, ranged(DATA), ["{url}/a", "{source}"]),
    ("a target that cannot be written", 1, ranged(DATA), ["{url}/a", "{folder}/no/where"]),
    ("no URL at all", 2, taking, ["{source}", "{folder}/b"]),
    ("a URL that is none", 2, taking, ["{source}", "http://"]),
    ("an unknown option", 2, taking, ["--nonsense", "{source}", "{url}/a"]),
    ("a field without a value", 2, taking, ["--form", "secret", "{source}", "{url}/a"]),
    ("a header without a colon", 2, taking, ["-H", "secret", "{source}", "{url}/a"]),
    ("a missing argument", 2, taking, ["{source}"]),
    ("a size that is none", 2, taking, ["--size", "much", "-", "{url}/a"]),
    ("a size beside a URL", 2, taking, ["--size", "3", "{url}/b", "{url}/a"]),
    ("fewer than no retries", 2, taking, ["--retries", "-1", "{source}", "{url}/a"]),
    (
        "a source's header without a colon",
        2,
        taking,
        ["--from-header", "secret", "{url}/b", "{url}/a"],
    ),
    (
        "a source's header without such a source",
        2,
        taking,
        ["--from-header", "X: secret", "{source}", "{url}/a"],
    ),
    ("a source that is missing", 3, taking, ["{folder}/nothing", "{url}/a"]),
    ("a pipe of another size", 3, taking, ["--size", "3", "-", "{url}/a"]),
    ("a file of another size", 3, taking, ["--size", "3", "{source}", "{url}/a"]),
    ("an empty folder", 3, taking, ["{empty}", "{url}/"]),
    ("a file that is not there", 4, refusing(404), ["{url}/a", "{folder}/got"]),
    ("a name that is taken in a database", 4, taking, ["{source}", "{database}/taken"]),
    ("an object that is not there", 3, taking, ["{database}/nothing", "{folder}/got"]),
    ("a refused upload", 4, refusing(413), ["{source}", "{url}/a"]),
    ("a token that is missing", 4, refusing(401), ["{source}", "{url}/a"]),
    ("bytes that are not the promised ones", 5, lying, ["{url}/a", "{folder}/got"]),
    ("one of many that is refused", 6, refusing(413), ["-r", "-q", "{folder}", "{url}/a/"]),
    ("a source that lies to another server", 5, lying, ["{url}/a", "{url}/b"]),
]


@pytest.mark.parametrize(
    ("case", "code", "act", "arguments"), CASES, ids=[case[0] for case in CASES]
)
def test_each_outcome_has_its_exit_code(
    tmp_path: Path,
    source: Path,
    case: str,
    code: int,
    act: Callable[[Exchange], None],
    arguments: list[str],
) -> None:
    """Each row of the help; an error is one line on standard error without any secret."""
    (tmp_path / "empty").mkdir()
    with Peer(act) as peer:
        places = {
            "source": str(source),
            "url": peer.url,
            "folder": str(tmp_path),
            "empty": str(tmp_path / "empty"),
            "database": f"sqlite:///{tmp_path.with_suffix('.db')}",
        }
        sluiceway.copy(source, f"{places['database']}/taken")
        done = run(*(argument.format(**places) for argument in arguments))

    assert done.code == code, done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err
    if code == 0:
        assert done.err == ""
    else:
        assert done.out == b""
    if code not in (0, 2):
        assert re.fullmatch(r"sluiceway: .+\n", done.err)
    if "taken" in case or "target that is there" in case:
        assert "--force" in done.err


def test_every_exit_code_is_tested_and_in_the_help() -> None:
    """The table, the tests and the help agree."""
    help_text = run("--help").out.decode()

    assert {row.code for row in EXITS} == {case[1] for case in CASES} | {130}
    for row in EXITS:
        assert re.search(rf"^ +{row.code}  {re.escape(row.meaning)}$", help_text, re.MULTILINE), row


def test_the_receipt_is_one_line(source: Path) -> None:
    """Location, size, digest, seconds, speed."""
    with Peer(taking) as peer:
        done = run(source, f"{peer.url}/a")

    assert re.fullmatch(
        rf"{peer.url}/a  97\.7 KiB  sha-256 [0-9a-f]{{64}}  \d+\.\d\d s  \d+(\.\d)? [KMG]?i?B/s\n",
        done.out.decode(),
    )


def test_a_long_transfer_says_where_the_time_went(source: Path) -> None:
    """At the end of the line, if the transfer took more than a second."""

    def slowly(exchange: Exchange) -> None:
        exchange.read_body()
        time.sleep(1.1)
        exchange.reply(201)

    with Peer(slowly) as peer:
        done = run(source, f"{peer.url}/a")

    assert re.search(r"B/s  \d+ % destination\n$", done.out.decode())


def test_server_to_server_uses_a_token_for_each(source: Path) -> None:
    """From the environment and as an option; the receipt names both sides, without secrets."""
    with Peer(ranged(DATA)) as giver, Peer(taking) as taker:
        done = run(
            *(
                f"{giver.url}/f?sig=hush",
                f"{taker.url}/d/",
                "--from-header",
                "X-From: hush",
                "-H",
                "X-To: hush",
                "--json",
            ),
            SLUICEWAY_TOKEN="hush1",
            SLUICEWAY_FROM_TOKEN="hush2",
        )
    receipt = json.loads(done.out)

    assert (giver.seen[0].headers["authorization"], giver.seen[0].headers["x-from"]) == (
        "Bearer hush2",
        "hush",
    )
    assert (taker.seen[0].headers["authorization"], taker.seen[0].headers["x-to"]) == (
        "Bearer hush1",
        "hush",
    )
    assert (receipt["source"], receipt["location"]) == (f"{giver.url}/f", f"{taker.url}/d/f")
    assert "hush" not in done.err + done.out.decode()
    assert taker.seen[0].body == DATA


def test_retries_are_counted_and_can_be_switched_off(source: Path) -> None:
    """--retries 1 is one more request."""
    for retries in (0, 1):
        with Peer(refusing(503)) as peer:
            assert run("--retries", str(retries), source, f"{peer.url}/a").code == 1
        assert len(peer.seen) == 1 + retries
    with Peer(refusing_puts(503)) as peer:
        assert run("-r", "--retries", "0", source.parent, f"{peer.url}/a/").code == 6
    assert sum(seen.method == "PUT" for seen in peer.seen) == 1


def test_every_option_reaches_python() -> None:
    """Of one object and of many: an option that is left out would have no effect."""
    shared, one, many = (
        set(kind.__annotations__) for kind in (SharedKeywords, CopyKeywords, CopyAllKeywords)
    )
    plural = {"header": "headers", "from_header": "from_headers"}
    options = {plural.get(param.name or "", param.name) for param in copy_command.params}

    assert set(ONE_FLAGS) == one - shared
    assert set(MANY_FLAGS) | {"unpack"} == many - shared
    assert options == {
        *one,
        *many,
        *("sides", "from_command", "recursive", "as_json", "curl", "quiet"),  # of the command alone
    }


def test_the_default_of_the_help_is_the_default_of_python() -> None:
    """The same default and the same limit."""
    option = next(param for param in copy_command.params if param.name == "retries")

    assert option.default == RETRIES
    assert isinstance(option.type, click.IntRange)
    assert option.type.max == MOST_RETRIES


def test_quiet_prints_nothing(source: Path) -> None:
    """Except errors."""
    with Peer(taking) as peer:
        assert run("-q", source, f"{peer.url}/a") == Ran(0, b"", "")
        assert run("-q", f"{source}x", f"{peer.url}/a").err.startswith("sluiceway: ")


def test_json_prints_one_receipt_per_line(tmp_path: Path, source: Path) -> None:
    """The documented names and types, for a file and each file of a folder, and nothing else."""
    (tmp_path / "d").mkdir()
    for name in "ab":
        (tmp_path / "d" / name).write_text(name)
    with Peer(taking) as peer:
        one = run("--json", source, f"{peer.url}/a")
        two = run("--json", tmp_path / "d", f"{peer.url}/d/")
    receipts = [json.loads(line) for line in (one.out + two.out).splitlines()]

    assert (one.err, two.err) == ("", "")
    assert [receipt["source"] for receipt in receipts] == [
        str(source),
        f"{tmp_path}/d/a",
        f"{tmp_path}/d/b",
    ]
    for receipt in receipts:
        assert {name: type(value).__name__ for name, value in receipt.items()} == {
            "source": "str",
            "location": "str",
            "size": "int",
            "sha-256": "str",
            "status": "int",
            "answer": "NoneType",
            "seconds": "float",
            "stages": "dict",
            "verdict": "str",
        }


def test_a_copy_does_not_end_with_its_output(tmp_path: Path, source: Path) -> None:
    """Standard error may be closed, and a full standard output is said once, in words."""
    for name in "bcd":
        (tmp_path / name).write_bytes(b"x")
    with Peer(refusing_puts(201)) as peer:
        words = command(source, f"{peer.url}/a")
        closed = ["sh", "-c", 'exec "$@" 2>&-', "-", *words]
        assert subprocess.run(closed, timeout=DEADLINE, env=environment()).returncode == 0
        with open("/dev/full", "wb") as full:
            cases: list[list[str | Path]] = [[source, "a"], ["-r", "--json", tmp_path, "a/"]]
            for more in cases:
                asked = [*more[:-1], f"{peer.url}/{more[-1]}"]
                done = subprocess.run(
                    command(*asked), stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE
                )
                assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
                assert b"No space left on device" in done.stderr
    assert sum(seen.method == "PUT" for seen in peer.seen) == 1 + 1 + 4


def test_json_errors_are_json_on_standard_error(source: Path) -> None:
    """With the stable code and the exit code."""
    with Peer(refusing(413)) as peer:
        done = run("--json", source, f"{peer.url}/a")
    problem = json.loads(done.err)

    assert done.out == b""
    assert (problem["code"], problem["exit"], problem["answered"]) == ("too-large", 4, 413)


def test_the_token_comes_from_the_environment_and_is_never_printed(source: Path) -> None:
    """Sent as Bearer; never printed."""
    with Peer(refusing(403)) as peer:
        done = run("--json", source, f"{peer.url}/a?sig=hush2", SLUICEWAY_TOKEN="hush1")

    assert peer.seen[0].headers["authorization"] == "Bearer hush1"
    assert "hush" not in done.err + done.out.decode()


def test_fields_headers_name_and_type_are_sent(source: Path) -> None:
    """Each option has its effect; a value may contain the separator."""
    with Peer(taking) as peer:
        form = ["--form", "id=42", "--form", "note=a=b", "--field", "cover"]
        run(
            source,
            f"{peer.url}/books",
            *form,
            "-H",
            "X-Note:  a: b ",
            "--name",
            "n.png",
            "--type",
            "image/webp",
        )
    asked = peer.seen[0]

    assert asked.headers["x-note"] == "a: b"
    assert b'name="note"\r\n\r\na=b\r\n' in asked.body
    assert b'name="cover"; filename="n.png"\r\nContent-Type: image/webp\r\n' in asked.body


def test_ctrl_c_exits_with_130_and_one_word() -> None:
    """And leaves the part that a download resumes with."""
    with Peer(lambda exchange: peer.ended.wait(20)) as peer:
        process = subprocess.Popen(
            command(f"{peer.url}/a", "/dev/null"), stderr=subprocess.PIPE, text=True
        )
        peer.met.wait(20)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=DEADLINE)

    assert (process.returncode, error) == (130, "sluiceway: interrupted\n")
