"""A server as a target: each object is one request, a plain PUT or a form.

If a response is lost, the next attempt first looks at what is there. Knows no store and no source.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from dataclasses import replace as replaced
from urllib.parse import parse_qs, urlsplit

from sluiceway.client.download_plan import length_of
from sluiceway.client.file_request import FileRequest, form_request, put_request
from sluiceway.client.http.error_responses import TOKEN, refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.http.transport import Transport
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.resumable.offers import Offers
from sluiceway.client.retry import ANSWERED, ATTEMPTS, BUSY, RetryPolicy
from sluiceway.client.upload import upload
from sluiceway.client.upload_job import Resuming, UploadJob
from sluiceway.copying.contract import CopyItem, Reading, name_is_taken
from sluiceway.copying.endpoints.http_source import IN_PLACE, WANT_DIGEST, Listing
from sluiceway.copying.endpoints.verified_put import digest_of_source, receipt_for
from sluiceway.copying.endpoints.webdav_folders import WebdavFolders
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import MethodNotAllowed, NotFound, SluiceError
from sluiceway.pipe.hashes import SHA256, digest_pairs
from sluiceway.pipe.receipt import Receipt
from sluiceway.stores.contract import Pairs
from sluiceway.wire.headers.media_types import OCTET_STREAM
from sluiceway.wire.headers.object_digests import announced_digests, digest_headers
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import below, redact_url

__all__ = ["FormTarget", "HttpTarget", "ResumingPolicy"]

SECOND_LOOKS = (0.1, 0.3)  # seconds before a HEAD that was answered 500 is repeated
CONDITIONS = frozenset({"if-match", "if-none-match"})  # one that the user sends stands alone
# What WebDAV servers answer to a PUT whose folder is missing: some, most (RFC 4918 9.7.1), nginx.
FOLDER_MISSING = (404, 409, 500)

_TYPE = re.compile(r"[\x20-\x7e]+")  # what a header, or the head of a form's part, may carry


class HttpTarget:
    """Objects as PUT, below a URL that ends in `/`, or one object under the URL itself.

    A server that knows If-None-Match or Idempotency-Key cannot store one twice. For a server that
    knows neither, the target first looks at what is there.
    """

    repeats = True
    display_name: str

    def __init__(
        self,
        transport: Transport,
        server: RemoteServer,
        retry_policy: RetryPolicy = RetryPolicy(1),
        resuming: ResumingPolicy | None = None,
    ) -> None:
        """`retry_policy`: of one `put`. `resuming` is None where each object is one request."""
        self._transport, self._server, self._retry_policy = transport, server, retry_policy
        self._resuming = resuming
        self.display_name = redact_url(server.url)
        self._folders = WebdavFolders(transport, server)
        self._head_works = False  # a HEAD gave information: a 500 is transient then
        # No HEAD gave any, and a repeated one was answered 500: this API knows no HEAD.
        self._head_fails = False

    async def empty(self) -> bool:
        """Only a listing can show it."""
        try:
            entries, omitted, following = await Listing(self._transport, self._server).page("", 1)
        except SluiceError:
            return False
        return not entries and not omitted and following is None

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        head = await self._head(key)
        for wait in SECOND_LOOKS:
            if head.status != 500 or self._head_works or self._head_fails:
                break
            await asyncio.sleep(wait)
            head = await self._head(key)
        self._head_works = self._head_works or head.status in (200, 404)
        self._head_fails = self._head_fails or head.status == 500
        if head.status == 401 or head.status in BUSY or (head.status == 500 and self._head_works):
            raise refusal(head, "", TOKEN)
        if head.status != 200:
            return None  # nothing there, or unknown: many APIs know no HEAD. The PUT will show it
        known = {one.algorithm: one.value for one in announced_digests(head.headers)}
        return CopyItem(key, length_of(head), head.headers.get("etag", "")), digest_pairs(known)

    async def _head(self, key: str) -> Head:
        url = below(self._server.url, key)
        async with follow_redirects(
            self._transport, url, self._server.headers, WANT_DIGEST, method="HEAD"
        ) as response:
            return response.head

    async def digest(self, key: str, algorithm: str) -> str | None:
        url = below(self._server.url, key)
        source = RemoteSource(self._transport, url, self._server.headers, retry_policy=IN_PLACE)
        try:
            await source.meet()
            return await digest_of_source(source, algorithm)
        except (NotFound, MethodNotAllowed):
            return None
        finally:
            await source.aclose()

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        headers = dict(self._server.headers)
        own_condition = not headers.keys().isdisjoint(CONDITIONS)
        if not replace and not own_condition:
            headers["if-none-match"] = "*"
        if once:
            headers["idempotency-key"] = once
            standard = digest_headers(reading.metadata.digests).get("repr-digest")
            if standard is not None:
                headers["repr-digest"] = standard
        shape = put_request(self._server.url, key, _type(reading))
        job = _upload_job(reading, shape, headers, self._retry_policy)
        if self._resuming is not None and reading.content is None:  # a small one is sent again
            name = key if self._server.url.endswith("/") else reading.metadata.filename
            job = self._resuming.applied(job, reading, self._server.url, shape, name)
        try:
            return await upload(self._transport, job, reading.on_progress, reading.stages)
        except SluiceError as error:
            if not once and not replace and not own_condition and _is_taken(error):
                return await self._taken(error, reading, shape.url)
            if not once or not await self._created_folder(error, reading, shape):
                raise
        return await upload(self._transport, job, reading.on_progress, reading.stages)

    async def _taken(self, error: SluiceError, reading: Reading, url: str) -> Receipt:
        """Something is there: raises that, unless it is this object, whose response got lost."""
        if ATTEMPTS in error.members and reading.source.reopenable:
            there = RemoteSource(self._transport, url, self._server.headers, retry_policy=IN_PLACE)
            try:
                await there.meet()
                if there.length in (None, reading.source.length):
                    sha256 = await digest_of_source(there, SHA256)
                    if sha256 == await digest_of_source(reading.source, SHA256):
                        size, digests = reading.source.length or 0, ((SHA256, sha256),)
                        return receipt_for(reading, size, digests, redact_url(url))
            except SluiceError:
                pass  # unknown: the refusal is the better answer
            finally:
                await there.aclose()
        raise name_is_taken(error)

    async def _created_folder(
        self, error: SluiceError, reading: Reading, shape: FileRequest
    ) -> bool:
        """Whether the object's WebDAV folder was missing, and exists now."""
        # A server that explains itself by a code means what it says.
        missing = error.members.get(ANSWERED) in FOLDER_MISSING
        if not missing or "answer_code" in error.members or not reading.source.reopenable:
            return False
        created = await self._folders.create(shape.url)
        if not created and self._folders.refused in (401, 403, 507):
            error.detail += (
                f"; perhaps its folder is missing: creating it was answered {self._folders.refused}"
            )
        return created

    async def aclose(self) -> None:
        """The transport is its owner's."""


class FormTarget:
    """Objects as forms, one POST each: the server picks the keys, so nothing can be found again.

    A POST is repeated only where the server surely has not got all of it, whatever its idempotency
    key promises.
    """

    repeats = False
    display_name: str

    def __init__(
        self,
        transport: Transport,
        server: RemoteServer,
        retry_policy: RetryPolicy,
        fields: tuple[tuple[str, str], ...] = (),
        file_field: str | None = None,
        resuming: ResumingPolicy | None = None,
    ) -> None:
        """`fields` are sent before the file, whose own field name is `file_field`. A form cannot be
        resumed: only a file without fields goes resumably, with `resuming`. Nor does one whose URL
        names it (`?name=`): that holds for a raw POST, and a form brings a name of its own."""
        self._transport, self._server, self._retry_policy = transport, server, retry_policy
        self._fields, self._file_field = fields, file_field
        named = "name" in parse_qs(urlsplit(server.url).query, keep_blank_values=True)
        self._resuming = None if fields or file_field or named else resuming
        self.display_name = redact_url(server.url)

    @property
    def resumes(self) -> bool:
        """Whether large files may go resumably, which parts need."""
        return self._resuming is not None

    async def empty(self) -> bool:
        return True  # no key is taken before the server picks it

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        return None

    async def digest(self, key: str, algorithm: str) -> str | None:
        return None

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        headers, token = dict(self._server.headers), secrets.token_bytes(16)
        name = reading.metadata.filename
        if once:
            # The boundary follows from the key: a repeated request has the same bytes.
            token, name = hashlib.sha256(once.encode("ascii")).digest()[:16], clean_name(key)
            headers["idempotency-key"] = once
        shape = form_request(
            self._server.url, name, _type(reading), self._fields, self._file_field, token
        )
        job = _upload_job(reading, shape, headers, self._retry_policy)
        if self._resuming is not None:
            raw = FileRequest("POST", self._server.url, _type(reading))
            job = self._resuming.applied(job, reading, self._server.url, raw, clean_name(name))
        return await upload(self._transport, job, reading.on_progress, reading.stages)

    async def aclose(self) -> None:
        """The transport is its owner's."""


class ResumingPolicy:
    """How the large objects of one copy go on after a cut."""

    def __init__(self, transport: Transport, retry_policy: RetryPolicy, parallel: int = 1) -> None:
        """`retry_policy`: of the steps of one object. `parallel`: its parts at once."""
        self._offers, self._retry_policy = Offers(transport), retry_policy
        self._parallel, self._reasons = parallel, set[str]()

    def applied(
        self, job: UploadJob, reading: Reading, place: str, request: FileRequest, name: str
    ) -> UploadJob:
        """The job, resumable where the server offers that."""
        resuming = Resuming(
            self._offers,
            place,
            request,
            name,
            self._retry_policy,
            reading.identity,
            reading.on_note,
            self._parallel,
            self._reasons,
            reading.broke,
        )
        return replaced(job, resuming=resuming)


def _upload_job(
    reading: Reading, shape: FileRequest, headers: dict[str, str], retry_policy: RetryPolicy
) -> UploadJob:
    """Where --digest is auto, sha-256 is counted: it is what HTTP servers name."""
    return UploadJob(
        reading.source,
        shape,
        reading.label,
        headers,
        reading.announced,
        retry_policy,
        reading.to_count(SHA256),
    )


def _is_taken(error: SluiceError) -> bool:
    """412 is the answer to If-None-Match. 409 may mean a missing folder, but not with this code."""
    status = error.members.get(ANSWERED)
    return status == 412 or (status == 409 and error.members.get("answer_code") == "exists")


def _type(reading: Reading) -> str:
    return reading.metadata.type if _TYPE.fullmatch(reading.metadata.type) else OCTET_STREAM
