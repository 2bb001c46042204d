"""Signed links: what their holder may do is in the link itself, with an HMAC over every byte of it.

Pure: text, keys and a clock in, a grant out. A link that was changed, is revoked or is
over opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sluiceway.errors import BadRequest
from sluiceway.uploads.access.grant import Grant, Right
from sluiceway.uploads.keys import new_id
from sluiceway.wire.headers.parameters import TOKEN
from sluiceway.wire.names import check_key, stays_inside
from sluiceway.wire.sizes import parse_size

__all__ = ["DAY", "FOLDER", "LinkKey", "LinkLimits", "SignedLink", "link", "new_link_key"]

FOLDER = "l"  # the path of a link: /l/LINK/ is the service as its holder may use it
MOST_LINK = 4096  # characters; a request's head holds more, some proxies do not
MOST_FIELDS = 1024  # bytes of the metadata that a link gives to its files
DAY = 86400.0
METHODS: Mapping[str, frozenset[Right]] = {
    "GET": frozenset({Right.READ}),
    "PUT": frozenset({Right.UPLOAD}),
    "POST": frozenset({Right.UPLOAD}),
}
KEY_PREFIX, KEY_BYTES = "lk_", 32

_PURPOSE = b"sluiceway-link-1\0"  # a key that signs other things, too, makes no links by accident
_SIGNED = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")
_SERVER = re.compile(r"https?://[^/?#\s]+[^?#\s]*", re.IGNORECASE)
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)")


@dataclass(frozen=True, slots=True)
class LinkKey:
    """A key that signs and checks links; its name stands in each of them."""

    secret: bytes

    @classmethod
    def parse(cls, text: str) -> LinkKey:
        """A key as `new_link_key` makes it. Raises BadRequest, which does not repeat it."""
        try:
            secret = base64.urlsafe_b64decode(text.strip().removeprefix(KEY_PREFIX) + "==")
        except (binascii.Error, ValueError):
            secret = b""
        if not text.strip().startswith(KEY_PREFIX) or len(secret) < KEY_BYTES:
            raise BadRequest(
                f"a key for links is {KEY_PREFIX} and {KEY_BYTES} random bytes in base64; make one "
                "with: sluiceway link new-key"
            )
        return cls(secret)

    @property
    def name(self) -> str:
        return hashlib.sha256(_PURPOSE + self.secret).hexdigest()[:8]

    @property
    def text(self) -> str:
        """As `parse` takes it."""
        return KEY_PREFIX + base64.urlsafe_b64encode(self.secret).decode().rstrip("=")

    def sign(self, payload: str) -> str:
        found = hmac.digest(self.secret, _PURPOSE + payload.encode(), "sha256")
        return base64.urlsafe_b64encode(found).decode().rstrip("=")


def new_link_key() -> str:
    """A fresh key as text."""
    return LinkKey(secrets.token_bytes(KEY_BYTES)).text


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What a link allows.

    Args:
        methods: Some of GET, PUT and POST. GET reads; PUT and POST upload in every dialect.
        key: The one file that it is for; or
        prefix: the folder that it is for: "inbox/".
        max_size: Bytes of one upload; None is the server's limit.
        types: Media types that may be uploaded: "image/*", "application/pdf". () for all.
        count: Files that may be uploaded in all; None for any number.
        expires: Seconds since the epoch at which it ends; None: never.
        owner: The name that its files get. Without one it is that of the link.
        fields: Metadata kept with each file, by names in lower case.
        quota: Bytes of all files together; None for no limit.

    Raises:
        BadRequest: A value cannot be signed; the text says which.
    """

    methods: tuple[str, ...] = ("POST",)
    key: str = ""
    prefix: str = ""
    max_size: int | None = None
    types: tuple[str, ...] = ()
    count: int | None = None
    expires: float | None = None
    owner: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    quota: int | None = None

    def __post_init__(self) -> None:
        if not self.methods or any(method not in METHODS for method in self.methods):
            raise BadRequest(f"a link is for some of {', '.join(METHODS)}")
        if bool(self.key) == bool(self.prefix):
            raise BadRequest("a link is for one key, or for a prefix that ends in /")
        if self.key:
            check_key(self.key)
        prefix = self.prefix.removesuffix("/")
        if self.prefix and not (
            self.prefix.endswith("/") and stays_inside(prefix) and prefix.isprintable()
        ):
            raise BadRequest("the prefix of a link is a folder and ends in /: inbox/")
        if any(not _TYPE.fullmatch(kind) for kind in self.types):
            raise BadRequest("types are media types such as image/* or application/pdf")
        if self.count is not None and self.count < 1:
            raise BadRequest("the count of a link is 1 or more")
        if self.max_size is not None and self.max_size < 0:
            raise BadRequest("the largest upload of a link is a number of bytes")
        if self.quota is not None and self.quota < 0:
            raise BadRequest("the quota of a link is a number of bytes")
        if not self.owner.isprintable() or len(self.owner) > 64:
            raise BadRequest("the owner of a link has at most 64 printable characters")
        sizes = [len(name.encode()) + len(value.encode()) for name, value in self.fields]
        for name, value in self.fields:
            wrong = name == "owner" or name != name.lower() or not TOKEN.fullmatch(name)
            if wrong or not value.isprintable() or sum(sizes) > MOST_FIELDS:
                raise BadRequest(
                    "fields of a link have names of lower-case letters, digits and -_., but not "
                    f"owner, and printable values; {MOST_FIELDS} bytes together"
                )

    def check_methods(self) -> None:
        """Raises BadRequest for limits of uploads on a link that brings none."""
        if Right.UPLOAD in self.grant("").rights:
            return
        for name in ("count", "quota", "max_size", "types"):
            if getattr(self, name) not in (None, ()):
                raise BadRequest(
                    f"{name} is for uploads, and a link with GET alone brings none; for a few "
                    "downloads of a file, store it with X-Max-Downloads, or serve with "
                    "--max-downloads"
                )

    def grant(self, id: str) -> Grant:
        """What a holder of the link with this id may do."""
        rights: frozenset[Right] = frozenset().union(*(METHODS[each] for each in self.methods))
        if self.prefix and Right.READ in rights:
            rights |= {Right.LIST}
        return Grant(
            self.owner or f"link:{id}",
            rights,
            self.prefix,
            self.max_size,
            self.expires,
            key=self.key,
            types=self.types,
            count=self.count,
            fields=self.fields,
            quota=self.quota,
            link=id,
        )


@dataclass(frozen=True, slots=True)
class SignedLink:
    """A link that this key made: its id, the name of its key, what it allows."""

    id: str
    key_name: str
    limits: LinkLimits

    @property
    def grant(self) -> Grant:
        return self.limits.grant(self.id)

    @classmethod
    def make(cls, limits: LinkLimits, key: LinkKey) -> tuple[SignedLink, str]:
        """A fresh link and its text.

        Raises BadRequest for one that would be too long, and for limits that would limit nothing.
        """
        limits.check_methods()
        made = cls(new_id()[:16], key.name, limits)
        values = {"i": made.id, "k": key.name, "m": list(limits.methods), **_written(limits)}
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
        payload = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        signed = f"{payload}.{key.sign(payload)}"
        if len(signed) > MOST_LINK:
            raise BadRequest(f"the link would have more than {MOST_LINK} characters; sign less")
        return made, signed

    @classmethod
    def read(cls, text: str, keys: Iterable[LinkKey]) -> SignedLink | None:
        """The link of a text; None for one that no key has signed, byte for byte."""
        found = _SIGNED.fullmatch(text) if len(text) <= MOST_LINK else None
        if found is None:
            return None
        payload, signature = found.groups()
        signers = [key for key in keys if hmac.compare_digest(key.sign(payload), signature)]
        if not signers:
            return None
        # From here on it is our own writing.
        padded = payload + "=" * (-len(payload) % 4)
        values = json.loads(base64.urlsafe_b64decode(padded))
        return cls(values["i"], values["k"], _read(values))


_SHORT = {
    "key": "f",
    "prefix": "p",
    "max_size": "s",
    "types": "t",
    "count": "c",
    "expires": "e",
    "owner": "o",
    "fields": "d",
    "quota": "q",
}


def _written(limits: LinkLimits) -> dict[str, object]:
    """What is signed besides id, key and methods; what is not limited is left out."""
    usual = LinkLimits(key="-")
    found = {short: getattr(limits, name) for name, short in _SHORT.items()}
    plain = {short: getattr(usual, name) for name, short in _SHORT.items()}
    return {short: value for short, value in found.items() if value != plain[short] and value != ""}


def _read(values: Mapping[str, object]) -> LinkLimits:
    given = {name: values[short] for name, short in _SHORT.items() if short in values}
    for name in ("types", "fields"):
        if isinstance(several := given.get(name), list):
            given[name] = tuple(tuple(one) if isinstance(one, list) else one for one in several)
    methods = values["m"]
    return LinkLimits(
        methods=tuple(methods) if isinstance(methods, list) else (),
        **given,  # type: ignore[arg-type]
    )


def link(
    server: str,
    secret: str,
    *,
    key: str = "",
    prefix: str = "",
    method: str | Sequence[str] = "POST",
    max_size: str | int | None = None,
    types: Sequence[str] = (),
    count: int | None = None,
    expires: float | None = DAY,
    owner: str = "",
    fields: Mapping[str, str] | None = None,
    quota: str | int | None = None,
) -> str:
    """Make a link that lets its holder upload or read, within limits, without a token.

    It needs no connection to the server. A browser shows a page with what the link allows; curl,
    programs and tus clients take it as the address of a server.

    Args:
        server: The address of the server: "https://files.example.com/".
        secret: A key of its `--link-key-file`.
        key: The one file that the link is for; or
        prefix: the folder that it is for: "inbox/".
        method: "POST" or "PUT" to upload, "GET" to read; or several.
        max_size: The largest upload: bytes, or text such as "10GiB".
        types: Media types that may be uploaded: "image/*", "application/pdf".
        count: Files that may be uploaded in all.
        expires: Seconds from now until it ends; None: never.
        owner: The name that its files get (`Metadata.owner`).
        fields: Metadata kept with each file.
        quota: All its files together, as `max_size`. Links with one `owner` share what it has.

    Returns:
        The URL; it ends in "/".

    Raises:
        BadRequest: A value cannot be signed; the text says which.

    Example:
        url = sluiceway.link(
            "https://files.example.com/", os.environ["LINK_KEY"], prefix="orders/17/", count=3
        )
    """
    limits = LinkLimits(
        (method,) if isinstance(method, str) else tuple(method),
        key,
        prefix,
        None if max_size is None else parse_size(str(max_size), "max_size"),
        tuple(types),
        count,
        None if expires is None else time.time() + expires,
        owner,
        tuple(sorted((fields or {}).items())),
        None if quota is None else parse_size(str(quota), "quota"),
    )
    if not _SERVER.fullmatch(server):
        raise BadRequest(f"the address of a server is https://HOST or http://HOST, not {server!r}")
    _, text = SignedLink.make(limits, LinkKey.parse(secret))
    return f"{server.rstrip('/')}/{FOLDER}/{text}/"
