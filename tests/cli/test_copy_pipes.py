"""`sluiceway copy` from and to pipes: lengths, early refusals, readers that leave."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cli.test_copy import DATA, DEADLINE, command, lying, run, taking
from rude_peer import Peer, ranged


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return path


def test_a_pipe_of_known_size_is_sent_raw_with_its_length() -> None:
    """A size with a unit; no chunks."""
    with Peer(taking) as peer:
        done = run("-", f"{peer.url}/a.txt", "--size", "2KiB", stdin=DATA[:2048])
    asked = peer.seen[0]

    assert (done.code, asked.body, asked.headers["content-length"]) == (0, DATA[:2048], "2048")
    assert "transfer-encoding" not in asked.headers


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
