"""URLs for the client: credentials are taken out, origins compared, secrets redacted for people.

Pure text. Knows nothing of sockets or HTTP.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from sluiceway.errors import BadRequest

__all__ = [
    "Address",
    "below",
    "hide_links",
    "is_place",
    "is_url",
    "join_url",
    "joined",
    "located",
    "origin",
    "parse_address",
    "redact_url",
]

PLACES = ("postgresql://", "postgres://", "sqlite://", "s3://", "gs://", "az://")
DEFAULT_PORTS = {"http": 80, "https": 443}
PATH_SAFE = "/%:@!$&'()*+,;=~"  # RFC 3986 pchar and "/"; an existing %XX stays as it is
QUERY_SAFE = PATH_SAFE + "?"

_HOST = re.compile(
    r"[^\x00-\x20\x7f\"<>\\^`{|}%/?#@]+"
)  # WHATWG's forbidden characters; the [ ] of an address are taken off before
# Signed links are base64 of JSON that begins with {"i":" (`uploads/access/links.py`).
_LINK_BEGINS = "eyJpIjoi"
_LINK = re.compile(_LINK_BEGINS + r"[^/\\\s\"'?#&,;]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in ASCII. Its user and password became `authorization`, a ready header value."""

    url: str
    authorization: str | None = None


def is_url(text: str) -> bool:
    """Whether a copy's source or destination names a server, not a file with such a name."""
    return text.lower().startswith(("http://", "https://"))


def is_place(text: str) -> bool:
    """Whether it names a store with a scheme of its own: a database, a bucket, fsspec's systems."""
    return text.lower().startswith(PLACES) or (text.lower().startswith("fsspec+") and "://" in text)


def parse_address(text: str) -> Address:
    """Read a URL. Raises BadRequest for anything but http or https with a host."""
    if any(ord(character) < 0x21 or ord(character) == 0x7F for character in text):
        raise BadRequest("The URL holds a space or control character; percent-encode it")
    try:
        parts = urlsplit(text)  # urlsplit would drop tabs and line ends silently
        port = parts.port
    except ValueError:  # its text may repeat a password
        raise BadRequest(
            "This is not a URL; check host, port and brackets, and encode / in a password as %2F"
        ) from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BadRequest("A URL here begins with http:// or https:// and a host name")
    try:
        host = parts.hostname.encode("idna" if not parts.hostname.isascii() else "ascii").decode()
    except UnicodeError:
        raise BadRequest("The host name of the URL cannot be encoded") from None
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    if not _HOST.fullmatch(host):
        raise BadRequest("The host name of the URL holds a character that no host name has")
    path, query = (
        _encoded(text, safe)
        for text, safe in ((parts.path or "/", PATH_SAFE), (parts.query, QUERY_SAFE))
    )
    url = urlunsplit((parts.scheme, place, path, query, ""))
    if not _means(url, host, port):
        raise BadRequest("This is not a URL; check host, port and brackets")
    return Address(url, _basic(parts))


def _means(url: str, host: str, port: int | None) -> bool:
    """Whether every reader finds this host and port in the URL.

    Two readers that disagree are a way around a guard.
    """
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port, parts.username) == (host.lower(), port, None)
    except ValueError:
        return False


def _encoded(text: str, safe: str) -> str:
    """Percent-encode bytes that were not UTF-8, as `located` keeps them.

    Any other half of a character is refused.
    """
    try:
        return quote(text, safe, errors="surrogateescape")
    except UnicodeEncodeError:
        raise BadRequest("The URL holds half of a character; percent-encode it") from None


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(pair.encode()).decode()


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: credentials are bound to them (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


def joined(url: str, reference: str) -> str:
    """Return the target of a Location header, resolved, without its fragment.

    Raises BadRequest when it leads out of http and https.
    """
    try:
        target = urljoin(url, reference)
    except ValueError:
        raise BadRequest("The reference is not a URL") from None
    return parse_address(target).url


def located(url: str, value: str) -> str:
    """As `joined`, for a reference from a header, as ISO-8859-1 text.

    Servers send names unencoded: the bytes are UTF-8, or each one is percent-encoded. Existing
    escapes stay as they are.
    """
    try:
        text = value.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = value  # it did not come from a header
    return joined(url, text.strip(" \t").replace(" ", "%20"))


def join_url(parts: SplitResult) -> str:
    """As urlunsplit, which drops the // of a URL without a host, and takes a // path for one."""
    tail = urlunsplit(("", "", "", parts.query, parts.fragment))
    return f"{parts.scheme}://{parts.netloc}{parts.path}{tail}"


def below(url: str, path: str) -> str:
    """Return the URL of `path` below a URL whose path ends in `/`.

    `path` is as the file system spells it, with `/` between names.
    """
    parts = urlsplit(url)
    added = "/".join(
        quote(name.encode("utf-8", "surrogateescape"), safe="") for name in path.split("/")
    )
    return urlunsplit((parts.scheme, parts.netloc, parts.path + added, parts.query, ""))


def redact_url(url: str) -> str:
    """Return the URL for people and logs: without user, password and query.

    The query of a signed URL is a key.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # unbalanced brackets: the end of a password cannot be found
        return f"{url.partition('://')[0]}://…"
    netloc = parts.netloc.rpartition("@")[2]
    return join_url(SplitResult(parts.scheme, netloc, parts.path, "", ""))


def hide_links(text: str) -> str:
    """A text for the log without signed links, wherever they stand: `/l//LINK` is a slip, and the
    link is valid all the same. Also what is left of one that was cut."""
    return _LINK.sub("...", text) if _LINK_BEGINS in text else text
