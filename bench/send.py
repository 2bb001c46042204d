"""The client process.

Sends a file by sendfile as a raw body or in a form, or downloads and discards. Prints one JSON line
with the seconds from connect to the end of the response, and its own processor seconds meanwhile.
Run as `python3 -m bench.send`. It uses little CPU on purpose: the server is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

from bench.answer import Answer, Refused, connect, read_answer
from bench.pace import SLICE, Pace

__all__ = ["Envelope", "download", "form_envelope", "main", "raw_envelope", "upload", "warm"]

BLOCK = 1 << 20
SENDFILE_MOST = 1 << 30  # Linux sends at most 2 GiB - 4 KiB a call
BOUNDARY = "----SluicewayBench7f3a90c2d4e14b6f8a51"


class Envelope:
    """The bytes before and after the file's bytes in one request."""

    __slots__ = ("after", "before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before, self.after = before, after


def raw_envelope(method: str, path: str, length: int) -> Envelope:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
    )
    return Envelope(f"{head}Content-Length: {length}\r\n\r\n".encode(), b"")


def form_envelope(path: str, filename: str, length: int) -> Envelope:
    """As a browser sends it: a text field, then the file, with the length of the whole known."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="title"\r\n\r\nbench\r\n'
    file = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    before, after = (field + file).encode(), f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; "
        f"boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(before) + length + len(after)}\r\n\r\n"
    )
    return Envelope(head.encode() + before, after)


def warm(source: Path) -> None:
    """Read the file once, so that the timed part never waits for the source's disk."""
    with source.open("rb", buffering=0) as file:
        block = bytearray(BLOCK)
        while file.readinto(block):
            pass


def send_file(connection: socket.socket, source: Path, repeat: int, rate: float = 0) -> None:
    """`rate` is in bytes a second, 0 for all that goes."""
    pace, most = Pace(rate) if rate else None, SLICE if rate else SENDFILE_MOST
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(repeat):
            offset = 0
            while offset < size:
                count = os.sendfile(
                    connection.fileno(), file.fileno(), offset, min(most, size - offset)
                )
                offset += count
                if pace is not None:
                    pace.wait(count)


def upload(
    port: int, envelope: Envelope, source: Path, repeat: int = 1, rate: float = 0
) -> tuple[float, Answer]:
    """Seconds from connect to the last byte of the response, and the response.

    A refusal while sending is read, too.
    """
    began = time.perf_counter()
    with connect(port) as connection:
        try:
            connection.sendall(envelope.before)
            send_file(connection, source, repeat, rate)
            connection.sendall(envelope.after)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server may have answered early: its response says why
        response = read_answer(connection)
        return time.perf_counter() - began, response


def download(port: int, path: str, digest: bool) -> tuple[float, Answer, int, str | None]:
    """Returns seconds, the head, the body's size, and its sha-256 if `digest` (then untimed)."""
    block = bytearray(BLOCK)
    view = memoryview(block)
    hasher = hashlib.sha256()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n\r\n"
    began = time.perf_counter()
    with connect(port) as connection:
        connection.sendall(request.encode())
        response = Answer()
        while response.head is None:
            data = connection.recv(1 << 16)
            if not data:
                raise Refused("the server hung up without an answer")
            response.feed(data)
        if response.length is None:
            raise Refused("the download has no length")
        received = len(response.body)
        hasher.update(response.body)
        while received < response.length:
            count = connection.recv_into(block)
            if not count:
                break
            received += count
            if digest:
                hasher.update(view[:count])
        seconds = time.perf_counter() - began
    return seconds, response, received, hasher.hexdigest() if digest else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=["raw", "form", "get"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", default="PUT")
    parser.add_argument("--path", required=True)
    parser.add_argument(
        "--source", type=Path, help="the file to send; with `get` only read to warm the page cache"
    )
    parser.add_argument("--filename", default="upload.bin")
    parser.add_argument(
        "--repeat", type=int, default=1, help="send the file so many times as one body"
    )
    parser.add_argument(
        "--rate", type=float, default=0, help="bytes a second at most; 0 for all that goes"
    )
    parser.add_argument("--hash", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.source is not None:
        warm(asked.source)
    digest: str | None = None
    cpu = time.process_time()
    if asked.how == "get":
        seconds, response, count, digest = download(asked.port, asked.path, asked.hash)
    else:
        if asked.source is None:
            parser.error("--source is needed to send")
        count = asked.source.stat().st_size * asked.repeat
        if asked.how == "raw":
            envelope = raw_envelope(asked.method, asked.path, count)
        else:
            envelope = form_envelope(asked.path, asked.filename, count)
        seconds, response = upload(asked.port, envelope, asked.source, asked.repeat, asked.rate)
    cpu = time.process_time() - cpu
    text = bytes(response.body[:400]).decode("utf-8", "replace") if asked.how != "get" else ""
    json.dump(
        {
            "seconds": seconds,
            "cpu": cpu,
            "status": response.status,
            "bytes": count,
            "sha-256": digest,
            "answer": text,
        },
        sys.stdout,
    )
    print()
    return 0 if 200 <= response.status < 300 else 1


if __name__ == "__main__":
    sys.exit(main())
