"""Addresses of the backend in what it answers: clients must not learn them.

A header that is a reference to such an address is left out. In other headers and in text, the
address is taken out and the rest stays: `http://10.0.0.5:9000/books/7` becomes `/books/7`. Pure
text and bytes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sluiceway.wire.headers.object_digests import DIGEST_HEADERS

__all__ = ["HiddenAddresses"]

REFERENCES = ("location", "content-location")
# They would describe the body as it was before.
OF_THE_BODY = ("content-digest", "content-md5", "digest", *DIGEST_HEADERS)
INSTEAD = b"destination"  # of a host and port without a scheme

END = rb"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"  # a longer name is another host; a full stop is none

_TEXT = re.compile(r"(text/|application/([a-z0-9.+-]*\+)?(json|xml|javascript)\b)", re.IGNORECASE)
_PRIVATE_ENDS = (".internal", ".local", ".localhost", ".lan", ".intranet", ".home.arpa", ".svc")


class HiddenAddresses:
    """The hosts of `urls`, and every host that only an inner network knows.

    Example:
        HiddenAddresses(["http://10.0.0.5:9000/books"]).text(b"see http://10.0.0.5:9000/books/7")
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._hosts = {urlsplit(url).hostname or "" for url in urls} - {""}
        names = "|".join(re.escape(_in_url(host)) for host in sorted(self._hosts))
        slash = rb"(?:/|\\/|%2[fF])"
        port = rb"(?:(?::|%3[aA])[0-9]{1,5})"
        host = names.encode()
        self._url = re.compile(
            rb"(?:https?(?::|%3[aA]))?"
            + slash
            + slash
            + rb"(?:"
            + host
            + rb")"
            + port
            + rb"?"
            + END,
            re.IGNORECASE,
        )
        # A host alone may be a word like any other; with a port, a dot or a colon it is an address.
        alone = [name for name in self._hosts if "." in name or ":" in name]
        bare = "|".join(re.escape(_in_url(name)) for name in sorted(alone)).encode()
        self._bare = re.compile(
            rb"(?<![A-Za-z0-9.-])(?:(?:"
            + host
            + rb")"
            + port
            # a plain address, also without a port
            + (rb"|(?:" + bare + rb")" if bare else b"")
            + rb")"
            + END,
            re.IGNORECASE,
        )

    def is_hidden(self, url: str) -> bool:
        """Whether the URL leads to the backend, or into an inner network."""
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return True
        return host in self._hosts or _is_inner(host)

    def headers(self, headers: Mapping[str, str], was_changed: bool) -> dict[str, str]:
        """The headers without addresses; `was_changed`: the body is not what they describe."""
        kept = {}
        for name, value in headers.items():
            if (name in REFERENCES and self.is_hidden(value)) or (
                was_changed and name in OF_THE_BODY
            ):
                continue
            raw = value.encode("utf-8", "surrogateescape")
            kept[name] = self.text(raw).decode("utf-8", "surrogateescape")
        return kept

    def body(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Text without addresses. What is encoded, or no text, stays as it is."""
        if headers.get("content-encoding", "") not in ("", "identity"):
            return body
        kind = headers.get("content-type", "text/plain")
        return self.text(body) if _TEXT.match(kind) else body

    def text(self, text: bytes) -> bytes:
        return self._bare.sub(INSTEAD, self._url.sub(b"", text))


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_inner(host: str) -> bool:
    """Whether only an inner network knows the host, by its look: no name is resolved."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return "." not in host or host.lower().rstrip(".").endswith(_PRIVATE_ENDS)
