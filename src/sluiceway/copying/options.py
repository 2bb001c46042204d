"""What a copy is asked to do, checked in one place before anything is opened or sent.

`CopyOptions` is the keyword arguments of `copy` and `copy_all`, checked. Text only: knows nothing
of files, sockets or time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Literal, Unpack
from urllib.parse import unquote, urlsplit

from sluiceway.client.file_request import is_form
from sluiceway.client.retry import DEFAULT_POLICY, FIRST_WAIT, RetryPolicy
from sluiceway.copying.arguments.engines import check_engine, checked_journal
from sluiceway.copying.arguments.keywords import (
    CopyAllKeywords,
    CopyKeywords,
    FormFields,
    SharedKeywords,
)
from sluiceway.copying.arguments.store_options import check_place, with_store_options
from sluiceway.copying.filters import KeyFilter
from sluiceway.copying.servers import Network, RemoteServer
from sluiceway.errors import BadRequest
from sluiceway.pipe.hashes import DEFAULT_CHOICE, SHA256, DigestChoice
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_place, is_url, parse_address

if TYPE_CHECKING:
    from sluiceway.client.bodies.inputs import BodyInput
    from sluiceway.client.local.command import Command

__all__ = [
    "MOST_JOBS",
    "MOST_PARALLEL",
    "MOST_RETRIES",
    "RETRIES",
    "CopyOptions",
]

# One to two minutes: a server that is restarted comes back, and of thousands of objects some fail
# several times in a row.
RETRIES = 8
MOST_RETRIES = 100  # about an hour and a half
MOST_JOBS = 256  # each has a connection on both sides, and pieces in memory
MOST_PARALLEL = 16  # parts of one object under way; a bucket's are 16 MiB each in memory

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 token
# So that one header cannot become two. A range up to the last character takes 2 ms to compile.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# These follow from the body; given by hand they would contradict it.
_OWN_HEADERS = frozenset(
    [
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "if-range",
        "range",
        "te",
        "transfer-encoding",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """One copy, checked.

    Args:
        source: a path, `-`, the URL of a server or of a place; "" where it is an object.
        target: likewise.
        reads: the source, where it is a server.
        writes: the destination, where it is a server.
        command: a program whose output is the source.
        content: an open file, bytes or an iterable that is the source.
        network: timeouts (seconds), certificates and authentication.
        retry_policy: how often one transfer is tried, and the waits between.
        rate: bytes a second at most; None for no limit.
        force: replace what is at the destination.
        digests: what is counted of every object.
        resume: whether large objects may go on in a later run.
        parallel: parts of one large object under way at once.
        name, type, form, field, size (bytes), pack: of `copy`.
        jobs, journal, key_filter, dry_run, preserve, unpack, scheduler: of `copy_all`.

    Raises:
        BadRequest: from `for_one` and `for_many`; never repeats a value that may be secret.

    Example:
        `CopyOptions.for_one("big.iso", "https://host/files/", token="…", limit_rate="10MiB")`
    """

    source: str
    target: str
    reads: RemoteServer | None = None
    writes: RemoteServer | None = None
    command: Command | None = None
    content: BodyInput | None = None
    network: Network = dataclass_field(default_factory=Network)
    retry_policy: RetryPolicy = DEFAULT_POLICY
    rate: int | None = None
    force: bool = False
    digests: DigestChoice = DEFAULT_CHOICE
    resume: bool = True
    parallel: int = 1
    name: str | None = None
    type: str | None = None
    form: tuple[tuple[str, str], ...] = ()
    field: str | None = None
    size: int | None = None
    pack: str | None = None
    jobs: int | None = None
    journal: str | None = None
    key_filter: KeyFilter = dataclass_field(default_factory=KeyFilter)
    dry_run: bool = False
    preserve: bool = False
    unpack: str | None = None
    scheduler: str | None = None

    @classmethod
    def for_one(
        cls,
        source: str,
        target: str,
        command: Command | None = None,
        content: BodyInput | None = None,
        **given: Unpack[CopyKeywords],
    ) -> CopyOptions:
        """The options of `copy`. Raises BadRequest."""
        pack, size, kind = given.get("pack"), given.get("size"), given.get("type")
        form, field = _pairs(given.get("form")), given.get("field")
        in_hand = command is not None or content is not None
        if pack is not None and in_hand:
            raise BadRequest(
                "A command, an open file or bytes give one file; a zip is made of many"
            )
        if pack not in (None, "zip"):
            raise BadRequest('Files can be packed as "zip" only')
        if pack is not None and size is not None:
            raise BadRequest("The size of a zip follows from its files; leave out size")
        if pack is None and not in_hand and not _far(source) and not _far(target):
            raise _no_url(source, target)
        options = cls._shared(source, target, given)
        writes = options.writes
        if writes is None and (form or field is not None):
            raise BadRequest("A form and a field name are for uploads to a server; leave them out")
        if writes is None and kind is not None and not is_place(target):
            raise BadRequest("A type is for uploads; leave it out")
        if options.reads is not None and size is not None:
            raise BadRequest("A size is for pipes; a server announces the length itself")
        if writes is not None:
            headers = dict(writes.headers)
            by_hand = headers.pop("content-type", None)
            writes = replace(writes, headers=headers)
            if by_hand is not None and is_form(writes.url, form, field):
                raise BadRequest("A form has its own Content-Type; use --type for the file's")
            kind = kind if kind is not None else by_hand
        return replace(
            options,
            writes=writes,
            command=command,
            content=content,
            name=given.get("name") or (content.name or None if content is not None else None),
            type=_plain(kind or (content.type if content is not None else None), "type"),
            form=form,
            field=field,
            size=_size(size),
            pack=pack,
        )

    @classmethod
    def for_many(cls, source: str, target: str, **given: Unpack[CopyAllKeywords]) -> CopyOptions:
        """The options of `copy_all`. A side that is an object is "". Raises BadRequest."""
        jobs, journal, unpack = given.get("jobs"), given.get("journal"), given.get("unpack")
        if jobs is not None and not 1 <= jobs <= MOST_JOBS:
            raise BadRequest(f"The number of jobs is 1 to {MOST_JOBS}")
        if unpack is not None and (unpack != "tar" or not source):
            raise BadRequest("Only a tar can be unpacked, named by its path or URL")
        options = cls._shared(source, target, given)
        check_engine(given, source, target)
        return replace(
            options,
            jobs=jobs,
            journal=None if journal is None else checked_journal(os.fspath(journal)),
            scheduler=given.get("scheduler"),
            key_filter=KeyFilter(given.get("include", ()), given.get("exclude", ())),
            dry_run=given.get("dry_run", False),
            preserve=given.get("preserve", False),
            unpack=unpack,
        )

    @classmethod
    def for_listing(cls, source: str, **given: Unpack[SharedKeywords]) -> CopyOptions:
        """The options of a listing, and of deleting what it names. Raises BadRequest."""
        return cls._shared(source, "", given)

    @classmethod
    def _shared(cls, source: str, target: str, given: SharedKeywords) -> CopyOptions:
        retries = given.get("retries", RETRIES)
        if not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
            raise BadRequest(f"The number of retries is a whole number from 0 to {MOST_RETRIES}")
        parallel = given.get("parallel", 1)
        if not isinstance(parallel, int) or not 1 <= parallel <= MOST_PARALLEL:
            raise BadRequest(
                f"The number of parallel parts is a whole number from 1 to {MOST_PARALLEL}"
            )
        source, target = (
            with_store_options(side, given.get("store_option")) for side in (source, target)
        )
        for side in (source, target):
            if is_place(side):
                check_place(side)
        network = Network(
            given.get("timeout"), given.get("ca_file"), given.get("client_cert"), given.get("auth")
        )
        reads, writes = _servers(source, target, network, given)
        rate = given.get("limit_rate")
        return cls(
            source=source,
            target=target,
            reads=reads,
            writes=writes,
            network=network,
            retry_policy=RetryPolicy(retries + 1, FIRST_WAIT),
            rate=parse_size(rate, "The rate") if isinstance(rate, str) else rate,
            force=given.get("force", False),
            digests=DigestChoice.parse(given.get("digest", SHA256)),
            resume=given.get("resume", True),
            parallel=parallel,
        )

    @property
    def as_form(self) -> bool:
        """Whether files are sent to the destination as multipart/form-data."""
        return self.writes is not None and is_form(self.writes.url, self.form, self.field)

    @property
    def is_download(self) -> bool:
        """Whether it is one file from a server to this machine, which can be resumed there."""
        local = self.writes is None and not is_place(self.target)
        return self.reads is not None and self.pack is None and local

    def name_of(self, path: str) -> str:
        """The name of one local file at a server. Raises BadRequest for a pipe without a name."""
        if self.name is not None:
            return self.name
        if path != "-":
            return os.path.basename(path)
        url_path = urlsplit(self.writes.url).path if self.writes is not None else ""
        if self.as_form or url_path.endswith("/"):
            raise BadRequest(f"{self.display_name(path)} has no name; give one with --name")
        return unquote(url_path.rpartition("/")[2])

    def display_name(self, path: str) -> str:
        """A local source, for people."""
        if self.command is not None:
            return "The command's output"
        if self.content is not None:
            return self.content.name or "The given content"
        return "Standard input" if path == "-" else path

    def type_of(self, name: str) -> str:
        """The media type of a file of this name."""
        return self.type or guess_type(name)


def _far(side: str) -> bool:
    return is_url(side) or is_place(side)


def _no_url(source: str, target: str) -> BadRequest:
    """Neither side is far away: one side has an unknown scheme, or both are local."""
    for side in (source, target):
        scheme, mark, _ = side.partition("://")
        if mark:
            return BadRequest(
                f"{scheme}:// is not supported; use https://, s3://, gs://, az://, postgresql://, "
                f"sqlite:/// or fsspec+{scheme}://"
            )
    return BadRequest(
        "At least one of source and destination is a URL (https://, s3://, postgresql:// …); "
        "to copy between two folders, use --recursive (copy_all in Python)"
    )


def _servers(
    source: str, target: str, network: Network, given: SharedKeywords
) -> tuple[RemoteServer | None, RemoteServer | None]:
    """The sides that are servers, each with its headers."""
    reading, writing = is_url(source), is_url(target)
    headers, from_headers = given.get("headers") or {}, given.get("from_headers") or {}
    token, from_token = given.get("token"), given.get("from_token")
    if (headers or from_headers) and not reading and not writing:
        raise BadRequest("Headers are for servers, and neither side is a URL; leave them out")
    if from_headers and not reading:
        raise BadRequest("Headers for the source need a source that is a URL; leave them out")
    reads = writes = None
    if reading and not writing:
        # The only server there is: options for "the" server and for the source are both for it.
        token = token if from_token is None else from_token
        reads = _server(source, {**headers, **from_headers}, token, network)
    elif reading:
        reads = _server(source, from_headers, from_token, network)
    if writing:
        writes = _server(target, headers, token, network)
    if network.auth == "digest" and not any(one and one.login for one in (reads, writes)):
        raise BadRequest(
            "Digest authentication takes user and password from the URL: "
            "https://USER:PASSWORD@HOST/…"
        )
    return reads, writes


def _server(
    text: str, given: Mapping[str, str], token: str | None, network: Network
) -> RemoteServer:
    """A header given by hand outranks the token, and the token outranks the URL's user."""
    address = parse_address(text)
    headers: dict[str, str] = {}
    auth_from: Literal["", "url", "token", "header"] = ""
    if address.authorization is not None:
        headers["authorization"], auth_from = address.authorization, "url"
    if token is not None:
        headers["authorization"], auth_from = f"Bearer {_plain(token, 'token')}", "token"
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest("A header is written as 'Name: value'")
        if name.lower() in _OWN_HEADERS:
            raise BadRequest(f"The header {name} follows from the body; leave it out")
        headers[name.lower()] = _plain(value, f"header {name}") or ""
        if name.lower() == "authorization":
            auth_from = "header"
    parts, login = urlsplit(text), None
    if auth_from == "url" and network.auth == "digest":
        del headers["authorization"]
        login = (unquote(parts.username or ""), unquote(parts.password or ""))
    return RemoteServer(address.url, headers, auth_from, unquote(parts.username or ""), login)


def _plain(value: str | None, what: str) -> str | None:
    """Refuses control characters without repeating the value, which may be a secret."""
    if value is not None and _CONTROL.search(value):
        raise BadRequest(f"The {what} holds a control character, such as a line end")
    return value


def _size(size: int | str | None) -> int | None:
    if isinstance(size, str):
        return parse_size(size, "The size")
    if size is not None and size < 0:
        raise BadRequest("The size is a number of bytes, 0 or more")
    return size


def _pairs(form: FormFields | None) -> tuple[tuple[str, str], ...]:
    if form is None:
        return ()
    if not isinstance(form, Mapping):
        return tuple(form)
    pairs: list[tuple[str, str]] = []
    for name, value in form.items():
        pairs += [(name, value)] if isinstance(value, str) else [(name, one) for one in value]
    return tuple(pairs)
