"""A watched file of a view is sent on by HTTP libraries: its bar follows the other server's kernel.

The other server reads a part and stops; then the bar stops near that part, whichever library sends.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
import boto3
import httpx
import pytest
import requests
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from requests_toolbelt import MultipartEncoder

import sluiceway
from fix_taking import eventually
from raw_http import form_body, form_head
from rude_peer import Peer
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.view_progress import ViewProgress
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm
from watched_uploads import NEAR, SIZE, STOP, WINDOW, Stopping

TYPE = form_head(1).decode().partition("Content-Type: ")[2].partition("\r\n")[0]
BODY = form_body(("file", "book.pdf", bytes(SIZE)))

PROGRESS = AppProgress.of("tests of libraries")


def watched_file() -> tuple[LiveFile, ViewProgress, ProgressRecord]:
    """A file of a form that has arrived, in a request that is watched."""
    upload = new_id()
    progress = PROGRESS.begin(upload, len(BODY))
    assert progress is not None
    arrived = io.BytesIO(BODY)

    def read(size: int) -> bytes:
        data = arrived.read(min(size, 64 << 10))
        progress.count_received(len(data))
        return data

    form = LiveForm(read, TYPE, len(BODY), FormLimits(), watched=progress.add_file)
    file, record = form.file("file"), PROGRESS.find(upload)
    assert file is not None
    assert record is not None
    return file, progress, record


def by_requests(url: str, file: LiveFile) -> None:
    requests.post(url, data=file, timeout=30)


def by_requests_form(url: str, file: LiveFile) -> None:
    form = sluiceway.Form({"title": "T"}).file("file", file)
    requests.post(url, data=form, headers=form.headers, timeout=30)


def by_requests_sized(url: str, file: LiveFile) -> None:
    body = sluiceway.Sized(file, SIZE)
    requests.post(url, data=body, headers=body.headers, timeout=30)


def by_requests_in_chunks(url: str, file: LiveFile) -> None:
    requests.post(url, data=iter(file), timeout=30)


def by_toolbelt(url: str, file: LiveFile) -> None:
    form = MultipartEncoder({"title": "T", "file": ("book.pdf", file, "application/pdf")})
    requests.post(url, data=form, headers={"Content-Type": form.content_type}, timeout=30)


def by_boto3(url: str, file: LiveFile) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(
            request_checksum_calculation="when_required",
            retries={"max_attempts": 0},
            signature_version=UNSIGNED,
        ),
    )
    client.put_object(Bucket="books", Key="book", Body=file, ContentLength=SIZE)


def by_urllib3(url: str, file: LiveFile) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("POST", url, body=file, headers={"Content-Length": str(SIZE)}, timeout=30)


def by_http_client(url: str, file: LiveFile) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request("POST", "/", body=file, headers={"Content-Length": str(SIZE)})
    connection.getresponse()
    connection.close()


def by_httpx(url: str, file: LiveFile) -> None:
    httpx.post(url, content=file, headers={"Content-Length": str(SIZE)}, timeout=30)


def by_httpx_form(url: str, file: LiveFile) -> None:
    form = sluiceway.Form().file("file", file)
    httpx.post(url, content=form, headers=form.headers, timeout=30)


def by_httpx_async(url: str, file: LiveFile) -> None:
    async def main() -> None:
        form = sluiceway.Form().file("file", file)
        async with httpx.AsyncClient(timeout=30) as client:
            await client.post(url, content=aiter(form), headers=form.headers)

    asyncio.run(main())


def by_aiohttp(url: str, file: LiveFile) -> None:
    async def main() -> None:
        form = sluiceway.Form().file("file", file)
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=form, headers=form.headers),
        ):
            pass

    asyncio.run(main())


WAYS = [
    by_requests,
    by_requests_form,
    by_requests_sized,
    by_requests_in_chunks,
    by_toolbelt,
    by_boto3,
    by_urllib3,
    by_http_client,
    by_httpx,
    by_httpx_form,
    by_httpx_async,
    by_aiohttp,
]


@pytest.mark.parametrize("send", WAYS)
def test_the_bar_follows_the_other_servers_kernel(send: Callable[[str, LiveFile], None]) -> None:
    """It stops near the byte where the other server stops, moves on while the library waits for the
    answer, and lacks a byte until the view has answered."""
    act = Stopping()
    file, progress, record = watched_file()
    with Peer(act, window=WINDOW) as peer:
        sending = threading.Thread(target=send, args=(peer.url, file))
        sending.start()
        try:
            # its kernel may have what it has not read yet
            eventually(lambda: act.taken >= STOP, "the other server reads up to the stop")
            eventually(lambda: record.kept >= STOP - NEAR, "the bar reaches the stop")
            assert record.kept <= record.forwarded <= record.received
            assert record.kept <= STOP + NEAR
            assert record.by_kernel
            act.goes_on.set()
            # toolbelt counts, and so asks for nothing behind its last piece
            least = SIZE - (NEAR if send is by_toolbelt else 1)
            eventually(lambda: record.kept >= least, "the bar lacks a byte")
        finally:
            act.goes_on.set()
            act.answers.set()
            sending.join()
    assert record.state.word == "checking"
    assert record.kept < SIZE
    progress.end(201)
    assert (record.state.word, record.kept, record.by_kernel) == ("complete", SIZE, False)
