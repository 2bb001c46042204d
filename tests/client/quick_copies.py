"""Uploads and downloads through the client alone, with a retry policy whose waits are short."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from sluiceway.client.download import download
from sluiceway.client.download_job import DownloadJob
from sluiceway.client.file_request import form_request, put_request
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.files import open_local
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.retry import RetryPolicy
from sluiceway.client.upload import UploadJob, upload
from sluiceway.pipe.hashes import SHA256
from sluiceway.pipe.receipt import OnProgress, Receipt

__all__ = ["QUICK", "fetch", "pass_on", "send"]

QUICK = RetryPolicy(first_wait=0.01)
TYPE = "application/octet-stream"


def quick(retries: int | None) -> RetryPolicy:
    return QUICK if retries is None else RetryPolicy(retries + 1, first_wait=0.01)


async def send(
    path: str | os.PathLike[str],
    url: str,
    *,
    form: Sequence[tuple[str, str]] | None = None,
    retries: int | None = None,
    on_progress: OnProgress | None = None,
    algorithms: Sequence[str] = (SHA256,),
    idle: float = 60.0,
) -> Receipt:
    """Upload a file, in a form when one is given; `retries` None is the usual number."""
    path = os.fspath(path)
    name = os.path.basename(path)
    request = put_request(url, name, TYPE)
    if form is not None:
        request = form_request(url, name, TYPE, form, None, b"0123456789abcdef")
    source = await asyncio.to_thread(open_local, path)
    async with Transport(Deadlines(idle=idle)) as transport:
        job = UploadJob(
            source, request, path, {}, retry_policy=quick(retries), algorithms=algorithms
        )
        return await upload(transport, job, on_progress)


async def fetch(
    url: str,
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    retries: int | None = None,
    on_progress: OnProgress | None = None,
) -> Receipt:
    """Download a file; `retries` None is the usual number."""
    job = DownloadJob(url, {}, os.fspath(target), force=force, retry_policy=quick(retries))
    async with Transport() as transport:
        return await download(transport, job, on_progress)


async def pass_on(
    source_url: str,
    target_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    retries: int | None = None,
) -> Receipt:
    """Upload what another server sends; `retries` None is the usual number."""
    policy = quick(retries)
    async with Transport() as transport:
        source = RemoteSource(transport, source_url, headers or {}, retry_policy=policy)
        try:
            await source.meet()
            request = put_request(target_url, source.name, source.type or TYPE)
            job = UploadJob(source, request, source_url, {}, source.promises, policy)
            return await upload(transport, job)
        finally:
            await source.aclose()
