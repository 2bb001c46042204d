"""The URL of the next server: {placeholders} behind its host are filled in per file.

A value becomes one path segment or one query value, percent-encoded. Nothing a client sends can
change the host or the path, even at a backend that decodes a path twice.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from urllib.parse import quote, unquote, urljoin, urlsplit

from sluiceway.errors import BadForm, BadRequest
from sluiceway.wire.urls import Address, below, parse_address

__all__ = ["RelayUrl"]

# Bytes of one value in a URL: servers take request lines of 8 KiB, names have at most 255 bytes.
MOST_VALUE = 1024
DECODINGS = 2  # nginx decodes %2F before it matches a path, and a server behind it may decode again
SEGMENTS = frozenset({"key"})  # values that keep their slashes: each segment was checked before


class RelayUrl:
    """A checked template.

    `address` is that of its host: the credentials are taken out of the URL and ready as a header.
    """

    def __init__(self, to: str, path: str | None = None) -> None:
        """`path` is resolved against `to` and must stay at its host. Raises BadRequest."""
        base = parse_address(_hidden(to))
        try:
            target = to if path is None else urljoin(_plain(to), path)
        except ValueError:
            raise BadRequest("The path is not a URL; check host, port and brackets") from None
        self.address: Address = base
        if path is not None and urlsplit(target)[:2] != urlsplit(_plain(to))[:2]:
            raise BadRequest("The path leads to another host than --to; name that host with --to")
        try:
            self.names: list[str] = [
                name for _, name, _, _ in string.Formatter().parse(target) if name is not None
            ]
        except ValueError:
            raise BadRequest(
                "A { or } in the URL has no partner; write %7B and %7D for plain ones"
            ) from None
        if any(not name for name in self.names):
            raise BadRequest(
                "{} in the URL has no name; write {key}, {filename} or the name of a field"
            )
        host = urlsplit(target).netloc
        if "{" in host:
            raise BadRequest("The host of the URL cannot depend on values from clients")
        parse_address(_hidden(target))
        # For a look at the server: the path as far as it is the same for all files.
        self.probed: str = _ascii(target).partition("{")[0].partition("?")[0]
        if self.names:
            self.probed = self.probed.rpartition("/")[0] + "/"
        # True: the URL names one resource. False: keys are appended to its path.
        self.exact: bool = path is not None or bool(self.names)
        pieces = string.Formatter().parse(_ascii(target))
        self._pieces = [
            (text, None if name is None else unquote(name)) for text, name, _, _ in pieces
        ]
        self._template_steps = _steps(
            urlsplit(
                "".join(text if name is None else f"{text}x" for text, name in self._pieces)
            ).path
        )

    def fill(self, values: Mapping[str, str]) -> str:
        """The URL for one file. Raises BadForm for a value that is missing or unusable in a URL."""
        url = ""
        for text, name in self._pieces:
            url += text
            if name is not None:
                url += _encoded(name, values.get(name), in_path="?" not in url)
        return self._checked(parse_address(url).url)

    def below(self, key: str) -> str:
        """The URL of the object `key` below a URL without placeholders."""
        place = urlsplit(self.fill({}))
        return self._checked(below(place._replace(path=place.path.rstrip("/") + "/").geturl(), key))

    def _checked(self, url: str) -> str:
        """Two harmless values, or a value and the template, may make a `..` together."""
        if _steps(urlsplit(url).path) != self._template_steps:
            raise BadForm(
                "The values sent would lead to another URL of the destination; "
                "send plain names without . and .."
            )
        return url


def _encoded(name: str, value: str | None, in_path: bool) -> str:
    if value is None:
        raise BadForm(
            f"The destination's URL needs a value for {name!r}: send it as a query parameter "
            f"(?{name}=…) or as a form field before the file"
        )
    raw = value.encode("utf-8", "replace")
    if (
        not value
        or len(raw) > MOST_VALUE
        or any(unicodedata.category(letter) == "Cc" for letter in value)
    ):
        raise _no_part(name)
    if in_path and (_steps(value) or (name not in SEGMENTS and re.search(r"[/\\]", value))):
        raise _no_part(name)
    return quote(raw, safe="/" if name in SEGMENTS else "")


def _no_part(name: str) -> BadForm:
    return BadForm(
        f"The value of {name!r} cannot be part of a URL; send a plain, short one without slashes"
    )


def _steps(path: str) -> int:
    """The number of `.` and `..` segments of a path, decoded as often as servers in a row may do.

    Tomcat cuts a segment at its semicolon, Windows drops dots and spaces at its end, and a NUL ends
    a path for programs in C.
    """
    found, decoded = 0, path
    for _ in range(DECODINGS + 1):
        segments = re.split(r"[/\\]", decoded)
        found += sum(
            1
            for segment in segments
            if re.fullmatch(r"[. ]*\.[. ]*", segment.partition(";")[0]) or "\0" in segment
        )
        decoded = unquote(decoded)
    return found


def _hidden(url: str) -> str:
    """The URL with its braces encoded, for checks that know no templates."""
    return url.replace("{", "%7B").replace("}", "%7D")


def _plain(url: str) -> str:
    """The URL without user and password, which go into a header."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _ascii(url: str) -> str:
    """The URL as `parse_address` writes it, with its placeholders."""
    return parse_address(_hidden(_plain(url))).url.replace("%7B", "{").replace("%7D", "}")
