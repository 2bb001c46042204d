"""`sluiceway copy` for people and scripts: exit codes, output, the bar on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
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
from sluiceway.cli.exits import EXITS
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


def test_a_pipe_of_known_size_is_sent_raw_with_its_length() -> None:
    """A size with a unit; no chunks."""
    with Peer(taking) as peer:
        done = run("-", f"{peer.url}/a.txt", "--size", "2KiB", stdin=DATA[:2048])
    asked = peer.seen[0]

    assert (done.code, asked.body, asked.headers["content-length"]) == (0, DATA[:2048], "2048")
    assert "transfer-encoding" not in asked.headers


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


def test_json_errors_are_json_on_standard_error(source: Path) -> None:
    """With the stable code and the exit code."""
    with Peer(refusing(413)) as peer:
        done = run("--json", source, f"{peer.url}/a")
    problem = json.loads(done.err)

    assert done.out == b""
    assert (problem["code"], problem["exit"], problem["answered"]) == ("too-large", 4, 413)


def test_a_pipe_is_sent_in_chunks() -> None:
    """Standard input of unknown length, under the name in the URL."""
    with Peer(taking) as peer:
        done = run("-", f"{peer.url}/a.txt", stdin=DATA)
    asked = peer.seen[0]

    assert (done.code, asked.body) == (0, DATA)
    assert (asked.headers["transfer-encoding"], asked.headers["content-type"]) == (
        "chunked",
        "text/plain",
    )
    assert "content-length" not in asked.headers


def test_standard_input_from_a_file_has_a_length(source: Path) -> None:
    """`< file`: from the position of the descriptor."""
    with Peer(taking) as peer, source.open("rb") as file:
        file.seek(10)
        os.lseek(file.fileno(), 10, os.SEEK_SET)
        done = subprocess.run(
            command("-", f"{peer.url}/a"), stdin=file, timeout=DEADLINE, capture_output=True
        )

    assert done.returncode == 0, done.stderr
    assert (peer.seen[0].headers["content-length"], peer.seen[0].body) == (
        str(len(DATA) - 10),
        DATA[10:],
    )


def test_an_early_refusal_ends_the_upload_of_an_open_pipe() -> None:
    """401 while standard input is silent: the process ends at once with the reason."""
    reader, writer = os.pipe()
    with Peer(lambda exchange: exchange.reply(401)) as peer:
        done = subprocess.run(
            command("-", f"{peer.url}/a"), stdin=reader, capture_output=True, timeout=DEADLINE
        )
    os.close(reader)
    os.close(writer)

    assert done.returncode == 4
    assert b"--token" in done.stderr


def test_a_download_to_standard_output_prints_only_data() -> None:
    """Bytes on standard output, the receipt on standard error, also as JSON."""
    with Peer(ranged(DATA)) as peer:
        plain, as_json = run(f"{peer.url}/a", "-"), run("--json", f"{peer.url}/a", "-")

    assert (plain.out, as_json.out) == (DATA, DATA)
    assert plain.err.startswith("-  97.7 KiB  sha-256 ")
    assert json.loads(as_json.err)["size"] == len(DATA)


def test_a_wrong_digest_on_standard_output_sets_the_exit_code() -> None:
    """Printed bytes cannot be taken back, but a script sees the exit code."""
    with Peer(lying) as peer:
        done = run(f"{peer.url}/a", "-")

    assert (done.out, done.code) == (DATA, 5)


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    """`| head -c 10` ends the copy with one line."""
    big = bytes(8 << 20)
    with Peer(ranged(big)) as peer:
        process = subprocess.Popen(
            command(f"{peer.url}/a", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if process.stdout and process.stderr:
            process.stdout.read(10)
            process.stdout.close()
            error = process.stderr.read()
            process.stderr.close()

    assert process.wait(DEADLINE) == 1
    assert error == b"sluiceway: The reader of the output has left\n"


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


def on_a_terminal(arguments: list[str], until: float = DEADLINE) -> tuple[int, str]:
    """Runs with a pseudo-terminal as standard error; returns the exit code and the output."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=side,
        env=environment(TERM="xterm", COLUMNS="160", LINES="20"),
    )
    os.close(side)
    shown, end = b"", time.monotonic() + until
    while time.monotonic() < end:
        if select.select([main], [], [], 0.1)[0]:
            try:
                data = os.read(main, 65536)
            except OSError:
                break  # Linux: the other side is closed
            if not data:
                break
            shown += data
    os.close(main)
    return process.wait(DEADLINE), shown.decode("utf-8", "replace")


def test_the_bar_reaches_100_only_after_the_response(tmp_path: Path) -> None:
    """Everything is sent, the server is slow: the bar says "waiting", under 100 %."""
    source = tmp_path / "f.bin"
    source.write_bytes(bytes(4 << 20))
    answered: list[int] = []

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        time.sleep(1.5)
        answered.append(1)
        exchange.reply(201)

    with Peer(act) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))
    before, waiting, _ = shown.partition("waiting for the response")

    assert code == 0, shown
    assert waiting
    assert "99 %" in shown
    assert "100 %" not in before
    last_wait = shown.rindex("waiting for the response")
    assert "100 %" not in shown[: last_wait - 200]


def test_the_bar_shows_retries(tmp_path: Path) -> None:
    """In a line above a bar that starts again; 100 % only at the end."""
    source = tmp_path / "f.bin"
    source.write_bytes(bytes(4 << 20))
    responses = [503]

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(responses.pop() if responses else 201)

    with Peer(act) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))
    before, trying, after = shown.partition("trying again in")

    assert code == 0, shown
    assert trying
    assert "100 %" not in before
    assert after


def test_the_bar_shows_names_that_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """An escape sequence in a file name is shown as question marks."""
    source = tmp_path / "evil\x1b]0;owned\x07[bold].bin"
    source.write_bytes(bytes(3 << 20))
    with Peer(taking) as peer:
        code, shown = on_a_terminal(command(source, f"{peer.url}/a"))

    assert code == 0, shown
    assert "\x1b]0;owned" not in shown
    assert "evil?]0;owned?[bold].bin" in shown


def test_without_a_terminal_there_is_no_bar(source: Path) -> None:
    """The logs of scripts stay clean."""
    with Peer(taking) as peer:
        assert run(source, f"{peer.url}/a").err == ""


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    """No HTTP client, server, framework, parser or terminal library before it is used."""
    heavy = {"aiohttp", "click", "httptools", "multipart", "rich", "starlette", "uvicorn", "uvloop"}

    assert not heavy & modules_after("import sluiceway")


def test_copy_loads_no_server() -> None:
    """Only the client is loaded, and the bar only on a terminal."""
    loaded = modules_after("import sluiceway.cli.copy, sluiceway; sluiceway.copy")

    assert "aiohttp" in loaded
    assert not {"httptools", "rich", "starlette", "uvicorn", "uvloop"} & loaded


def test_help_loads_no_http_library() -> None:
    """`sluiceway --help` and `sluiceway copy --help` are fast."""
    code = (
        "from sluiceway.cli.main import main\n"
        "for a in ([], ['copy']): main([*a, '--help'], standalone_mode=False)"
    )

    assert not {"aiohttp", "rich", "starlette", "uvicorn", "uvloop"} & modules_after(code)


@pytest.mark.parametrize(
    ("option", "suggested"), [("--recursiv", "Did you mean '--recursive'?"), ("--bogus", "")]
)
def test_only_a_similar_option_is_suggested(source: Path, option: str, suggested: str) -> None:
    done = run(source, "http://127.0.0.1:1/a", option, stdin=b"")

    assert done.code == 2
    assert done.err.rstrip().endswith(suggested or f"No such option '{option}'.")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("s3://", "s3:// names no bucket; write s3://BUCKET/KEY"),
        ("gs:///key", "gs:// names no bucket; write gs://BUCKET/KEY"),
        ("az://", "az:// names no container; write az://CONTAINER/KEY"),
        ("postgresql://", "write postgresql://HOST/DATABASE/KEY"),
        ("ftp://host/x", "ftp:// is not supported; use https://, s3://"),
    ],
)
def test_an_incomplete_or_unknown_url_is_refused_with_advice(
    source: Path, url: str, advice: str
) -> None:
    done = run(source, url, stdin=b"")

    assert done.code == 2
    assert advice in done.err


@pytest.mark.parametrize("name", ["SLUICEWAY_TOKEN", "SLUICEWAY_FROM_TOKEN"])
def test_a_token_that_is_set_and_empty_is_an_error(source: Path, name: str) -> None:
    """The command that should have set it failed, and nothing else would show that."""
    with Peer(taking) as peer:
        done = run(source, f"{peer.url}/a", stdin=b"", **{name: ""})

    assert done.code == 2
    assert name in done.err
    assert peer.seen == []
