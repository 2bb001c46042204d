"""What `--to` and its relatives name: the store, or several of them behind one. Nothing is connected or written here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.server.settings import BadSetting, Settings
from sluiceway.stores.contract import SignedUrls, Store
from sluiceway.stores.disk.store import DiskStore
from sluiceway.stores.fanout.store import Destination, FanoutStore
from sluiceway.stores.memory import MemoryStore
from sluiceway.stores.registry import open_root, split_place
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.urls import is_place, is_url, origin, redact_url

if TYPE_CHECKING:
    from sluiceway.stores.relay.backend import Backend

__all__ = ["display_name", "open_destination"]

_KIND = re.compile(r"(required|best-effort):(.+)")
_HEADER = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)"
)  # RFC 9110 5.5
_FRAMING = frozenset(
    ["connection", "content-length", "content-type", "expect", "host", "te", "transfer-encoding"]
)


def open_destination(told: Settings, budget: Budget) -> Store:
    """The store, or a fan-out of all. Raises BadSetting for a place this version does not know, or that is named twice."""
    places = [_place(text) for text in told.to]
    if not any(required for required, _ in places):
        raise BadSetting(
            "--to names best-effort places only; at least one must be required, for an answer to stand on"
        )
    found = [_identity(place, told) for _, place in places]
    for number, (_, place) in enumerate(places):
        if found[number] in found[:number]:
            raise BadSetting(f"--to names {redact_url(place)} twice; name each place once")
    legs = [
        Destination(_store(place, told, budget), required, redact_url(place))
        for required, place in places
    ]
    store = legs[0].store if len(legs) == 1 else FanoutStore(legs, budget)
    if told.redirect_downloads and not isinstance(store, SignedUrls):
        raise BadSetting(
            "--redirect-downloads needs a bucket as the one --to: nobody else signs URLs"
        )
    return store


def display_name(told: Settings) -> str:
    """The destinations as people may read them: without passwords."""
    return " and ".join(
        f"{'' if required else 'best-effort '}{redact_url(place)}"
        for required, place in map(_place, told.to)
    )


def _place(text: str) -> tuple[bool, str]:
    """Whether it is required, and where it is."""
    kind = _KIND.fullmatch(text)
    return (True, text) if kind is None else (kind[1] == "required", kind[2])


def _identity(place: str, told: Settings) -> str:
    """The same for two spellings of one place."""
    if is_url(place):
        return _backend(place, told).url.address.url.rstrip("/")
    return place if place.startswith("memory:") else os.path.realpath(place)


def _store(place: str, told: Settings, budget: Budget) -> Store:
    scheme, colon, _ = place.partition(":")
    if is_url(place):
        from sluiceway.stores.relay.store import (
            RelayStore,
        )  # late: a server that keeps its files loads no client

        return RelayStore(_backend(place, told), budget)
    if scheme == "memory" and colon:
        return MemoryStore()
    if is_place(place):
        options = (
            {}
            if told.ca_file is None or not place.lower().startswith(("s3:", "gs:", "az:"))
            else {"ca_file": told.ca_file}
        )
        return _named_store(
            place, budget, options | dict(_option(text) for text in told.store_option)
        )
    if "://" in place:
        known = "folders, and URLs that begin with http(s)://, s3://, gs://, az://, postgresql:// or fsspec+PROTOCOL://"
        raise BadSetting(
            f"--to {scheme}://…: this version knows {known}"
        )  # the rest may hold a password
    return DiskStore(place, budget)


def _named_store(place: str, budget: Budget, options: Mapping[str, str]) -> Store:
    if place.lower().startswith("postgres") and split_place(place)[0]:
        raise BadSetting(
            f"--to {redact_url(place)} names a key; a server takes the whole database table, ?table=NAME"
        )
    try:
        return open_root(place, budget, options)
    except BadRequest as error:
        raise BadSetting(f"--to {redact_url(place)}: {error.detail}") from None


def _backend(place: str, told: Settings) -> Backend:
    from sluiceway.client.http.exchange import Deadlines
    from sluiceway.stores.relay.backend import Backend
    from sluiceway.stores.relay.url_template import RelayUrl

    try:
        url = RelayUrl(place, told.relay_url)
    except BadRequest as error:
        raise BadSetting(f"--to {redact_url(place)}: {error.detail}") from None
    headers = dict(_header(text) for text in told.relay_header)
    if url.address.authorization is not None:
        headers.setdefault("authorization", url.address.authorization)
    if told.relay_method is not None and not re.fullmatch(r"[A-Z]{1,20}", told.relay_method):
        raise BadSetting(
            f"--relay-method is a method such as POST, PUT or PATCH, not {told.relay_method!r}"
        )
    return Backend(
        url=url,
        method=told.relay_method,
        body="form" if told.relay_form is not None else told.relay_body,
        form_field=told.relay_form,
        fields=tuple(_field(text) for text in told.relay_field),
        headers=headers,
        answer_headers=frozenset(_answer_header(name) for name in told.relay_answer_header),
        expect=told.relay_expect,
        chunked=told.relay_chunked,
        deadlines=Deadlines(
            told.relay_connect_timeout, told.relay_idle_timeout, told.relay_answer_timeout
        ),
        trust=_trust(told, url.address.url),
    )


def _trust(told: Settings, url: str) -> Trust:
    trust = Trust(told.ca_file, told.client_cert, (origin(url),))
    try:
        trust.contexts()
    except BadRequest as error:
        raise BadSetting(f"--ca-file or --client-cert: {error.detail}") from None
    return trust


def _answer_header(name: str) -> str:
    from sluiceway.stores.relay.response import NEVER

    if not TOKEN.fullmatch(name):
        raise BadSetting(
            f"--relay-answer-header takes the name of a header, such as X-Book-Id, not {name!r}"
        )
    if name.lower() in NEVER:
        raise BadSetting(
            f"--relay-answer-header {name}: that header belongs to one connection; leave it out"
        )
    return name.lower()


def _header(text: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(text)
    if found is None:
        raise BadSetting("--relay-header is written as 'NAME: VALUE'")  # its text may hold a secret
    if found[1].lower() in _FRAMING:
        raise BadSetting(
            f"--relay-header {found[1]}: that header follows from what is sent; leave it out"
        )
    return found[1].lower(), found[2].rstrip(" \t")


def _option(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise BadSetting("--store-option is written as NAME=VALUE")
    return name, value


def _field(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise BadSetting("--relay-field is written as NAME=VALUE")
    return name, value
