"""What somebody wants copied, checked before anything is opened or sent: sides, headers, names, sizes.

Text only; knows nothing of files, sockets or time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from sluiceway.client.file_request import is_form
from sluiceway.client.retry import MOST_ATTEMPTS
from sluiceway.copying.network import USUAL, Network
from sluiceway.errors import BadRequest
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_place, is_url, parse_address

if TYPE_CHECKING:
    from sluiceway.client.local.command import Command

__all__ = ["MOST_RETRIES", "RETRIES", "CopyOptions", "Fields", "Side", "make_order"]

Fields = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]]

RETRIES = MOST_ATTEMPTS - 1
MOST_RETRIES = 100  # about an hour and a half; whoever waits longer needs another tool

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 token
_TEXT = re.compile(
    r"[\t\x20-\x7e\x80-\U0010ffff]*"
)  # no control characters: a header cannot grow into two
_OURS = frozenset(  # what the body decides; given by hand they would contradict it
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


@dataclass(frozen=True, slots=True)
class Side:
    """One server: its URL without credentials, and the headers it gets, their names in lower case."""

    url: str
    headers: Mapping[str, str]
    proof: Literal["", "url", "token", "header"] = ""  # where its Authorization came from
    user: str = ""  # the URL's own, without the password
    login: tuple[str, str] | None = field(
        default=None, repr=False
    )  # user and password, where they are told to a challenge only


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """One copy. `reads` and `writes` are its servers; a side that is none is a path or `-`."""

    source: str
    target: str
    reads: Side | None
    writes: Side | None
    name: str | None = None
    type: str | None = None
    form: tuple[tuple[str, str], ...] = ()
    field: str | None = None
    size: int | None = None
    force: bool = False
    attempts: int = MOST_ATTEMPTS
    rate: int | None = None  # bytes a second at most
    network: Network = USUAL
    command: Command | None = None  # whose output is the source, instead of a path

    @property
    def as_form(self) -> bool:
        return self.writes is not None and is_form(self.writes.url, self.form, self.field)

    def name_of(self, path: str) -> str:
        """What a single file is called over there. Raises BadRequest for a pipe without a name."""
        if self.name is not None:
            return self.name
        if path != "-":
            return os.path.basename(path)
        place = urlsplit(self.writes.url).path if self.writes is not None else ""
        if self.as_form or place.endswith("/"):
            raise BadRequest(f"{self.display_name(path)} has no name; give one with --name")
        return unquote(place.rpartition("/")[2])

    def display_name(self, path: str) -> str:
        """A local source, for people."""
        return (
            "The command's output"
            if self.command is not None
            else "Standard input"
            if path == "-"
            else path
        )

    def type_of(self, name: str) -> str:
        return self.type or guess_type(name)


def make_order(
    source: str,
    target: str,
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    size: int | str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    force: bool = False,
    retries: int = RETRIES,
    limit_rate: int | str | None = None,
    network: Network = Network(),
    command: Command | None = None,
) -> CopyOptions:
    """Raises BadRequest for what makes no sense, without repeating what may be a secret."""
    reading, writing = is_url(source), is_url(target)
    if not (reading or writing or is_place(source) or is_place(target) or command is not None):
        raise BadRequest(
            "At least one of source and destination is a URL: http://, https:// or postgresql://"
        )
    if from_headers and not reading:
        raise BadRequest("Headers for the source belong to a source that is a URL; leave them out")
    if not 0 <= retries <= MOST_RETRIES:
        raise BadRequest(f"The number of retries is 0 to {MOST_RETRIES}")
    reads: Side | None = None
    if not writing and (form or field is not None):
        raise BadRequest("A form and a field name belong to uploads to a server; leave them out")
    if not writing and type is not None and not is_place(target):
        raise BadRequest("A type belongs to uploads; leave it out")
    if reading and not writing:
        # The one server there is: what is said for "the" server and what is said for the source are both for it.
        reads = _side(
            source,
            {**(headers or {}), **(from_headers or {})},
            token if from_token is None else from_token,
            network,
        )
    elif reading:
        reads = _side(source, from_headers or {}, from_token, network)
    if reading and size is not None:
        raise BadRequest("A size belongs to a pipe; a server tells the length itself")
    writes = _side(target, headers or {}, token, network) if writing else None
    if network.auth == "digest" and not any(
        side is not None and side.login for side in (reads, writes)
    ):
        raise BadRequest(
            "Digest authentication takes user and password from the URL: https://USER:PASSWORD@HOST/…"
        )
    kind = type
    if writes is not None:
        sent = dict(writes.headers)
        by_hand = sent.pop("content-type", None)
        writes = replace(writes, headers=sent)
        if by_hand is not None and is_form(writes.url, _pairs(form), field):
            raise BadRequest("A form brings its own Content-Type; use --type for the file's")
        kind = type if type is not None else by_hand
    return CopyOptions(
        source=source,
        target=target,
        reads=reads,
        writes=writes,
        name=name,
        type=_plain(kind, "type"),
        form=_pairs(form),
        field=field,
        size=_size(size),
        force=force,
        attempts=retries + 1,
        rate=parse_size(limit_rate, "The rate") if isinstance(limit_rate, str) else limit_rate,
        network=network,
        command=command,
    )


def _side(text: str, given: Mapping[str, str], token: str | None, network: Network) -> Side:
    """The strongest word on who we are wins: a header by hand, the token, the URL's user."""
    address = parse_address(text)
    sent: dict[str, str] = {}
    proof: Literal["", "url", "token", "header"] = ""
    if address.authorization is not None:
        sent["authorization"], proof = address.authorization, "url"
    if token is not None:
        sent["authorization"], proof = f"Bearer {_plain(token, 'token')}", "token"
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest("A header is written as 'Name: value'")
        if name.lower() in _OURS:
            raise BadRequest(f"The header {name} follows from what is sent; leave it out")
        sent[name.lower()] = _plain(value, f"header {name}") or ""
        if name.lower() == "authorization":
            proof = "header"
    parts, login = urlsplit(text), None
    if proof == "url" and network.auth == "digest":
        del sent["authorization"]
        login = (unquote(parts.username or ""), unquote(parts.password or ""))
    return Side(address.url, sent, proof, unquote(parts.username or ""), login)


def _plain(value: str | None, what: str) -> str | None:
    """As it is; control characters are refused without being repeated, for the value may be a secret."""
    if value is not None and not _TEXT.fullmatch(value):
        raise BadRequest(f"The {what} holds a control character, such as a line end")
    return value


def _size(size: int | str | None) -> int | None:
    if isinstance(size, str):
        return parse_size(size, "The size")
    if size is not None and size < 0:
        raise BadRequest("The size is a number of bytes from 0 on")
    return size


def _pairs(form: Fields | None) -> tuple[tuple[str, str], ...]:
    if form is None:
        return ()
    if not isinstance(form, Mapping):
        return tuple(form)
    pairs: list[tuple[str, str]] = []
    for name, value in form.items():
        pairs += [(name, value)] if isinstance(value, str) else [(name, one) for one in value]
    return tuple(pairs)
