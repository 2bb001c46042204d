"""A copy as a line for curl: quoted for a POSIX shell, its secrets as variables. Text only; nothing is asked or sent.

What curl cannot do as we do it is said beside the line, not hidden.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit, urlunsplit

from sluiceway.client.file_request import DEFAULT_FIELD
from sluiceway.client.http.redirects import HARMLESS
from sluiceway.copying.options import CopyOptions, Side
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import below

__all__ = ["CurlLine", "curl_line"]

# Names of headers, fields and query parameters whose values are not for screens and shell histories.
_SECRET = re.compile(
    r"auth|token|secret|passw|pwd|cookie|session|signature|credential|jwt|key$|key[^a-z]|(^|[^a-z])(sig|sid|pass)($|[^a-z])"
)
_BARE = re.compile(
    r"[A-Za-z0-9 ,./:=?&%+@_~-]*"
)  # what double quotes around leave as it is, in every shell
_GLOB = frozenset("[]{}")

PIPE_NOTE = "a pipe between two curls stores what came as a whole file when the source breaks off; sluiceway copy does not"
RESUME_NOTE = (
    "curl -C - goes on with whatever stands under that name, and checks neither version nor digest"
)


@dataclass(frozen=True, slots=True)
class CurlLine:
    """`text` for a shell, `variables` it reads, `notes` on what it does otherwise."""

    text: str
    variables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A secret's place in a word."""

    variable: str


_Word = Sequence[str | _Hidden]


@dataclass(slots=True)
class _Command:
    """The words of one curl."""

    prefix: str  # of its variables
    words: list[_Word] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)

    def add(self, *words: str | _Word) -> None:
        self.words += [(word,) if isinstance(word, str) else word for word in words]

    def hide(self, name: str) -> _Hidden:
        """A variable named after `name`, a new one each time."""
        plain = self.prefix + re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
        variable, number = plain, 1
        while variable in self.variables:
            number += 1
            variable = f"{plain}_{number}"
        self.variables.append(variable)
        return _Hidden(variable)

    def side(self, side: Side) -> None:
        """Headers and URL."""
        if side.login is not None:
            self.add("--digest", "--user", (f"{side.user}:", self.hide("password")))
        for name, value in side.headers.items():
            self._header(side, name, value)
        self.add(self._url(side.url))

    def _header(self, side: Side, name: str, value: str) -> None:
        if name == "authorization" and side.proof == "url":
            self.add("--user", (f"{side.user}:", self.hide("password")))
            return
        shown = "-".join(part.capitalize() for part in name.split("-"))
        if name == "authorization":
            scheme, space, _ = value.partition(" ")
            word: _Word = (f"{shown}: {scheme if space else ''}{space}", self.hide("token"))
        elif name not in HARMLESS and _SECRET.search(name):
            word = (f"{shown}: ", self.hide(name))
        else:
            word = (
                f"{shown}: {value}" if value else f"{shown};",
            )  # with a colon and nothing behind it curl sends none
        self.add("-H", word)

    def _url(self, url: str) -> _Word:
        parts = urlsplit(url)
        pieces: list[str | _Hidden] = [urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))]
        for number, pair in enumerate(parts.query.split("&") if parts.query else ()):
            name, equals, value = pair.partition("=")
            pieces.append(("&" if number else "?") + name + equals)
            if value:
                pieces.append(self.hide(name) if _SECRET.search(unquote(name).lower()) else value)
        return tuple(pieces)

    def text(self) -> str:
        """For a POSIX shell."""
        words = list(self.words)
        if any(
            _GLOB.intersection(piece) for word in words for piece in word if isinstance(piece, str)
        ):
            words.insert(0, ("-g",))  # brackets and braces are names here, not patterns
        return " ".join(["curl", *map(_quoted, words)])


def curl_line(order: CopyOptions, path: str | None = None, name: str | None = None) -> CurlLine:
    """The line for an order. `path` and `name`: of one file of a folder, which is a line of its own each."""
    if order.writes is None:
        if order.reads is None:
            return CurlLine("")
        fetch = _fetching(order.reads, "SLUICEWAY_")
        notes = _into(fetch, order, order.reads)
        return CurlLine(fetch.text(), tuple(fetch.variables), notes)
    send = _Command("SLUICEWAY_")
    if order.reads is None:
        path = order.source if path is None else path
        display_name = order.name_of(path) if name is None else name
        _sending(send, order, order.writes, path, display_name)
        return CurlLine(send.text(), tuple(send.variables))
    fetch = _fetching(order.reads, "SLUICEWAY_FROM_")
    _sending(send, order, order.writes, "-", order.name or _last(order.reads))
    return CurlLine(
        f"{fetch.text()} | {send.text()}", (*fetch.variables, *send.variables), (PIPE_NOTE,)
    )


def _fetching(side: Side, prefix: str) -> _Command:
    command = _Command(prefix)
    command.add("-sSfL")
    command.side(side)
    return command


def _into(command: _Command, order: CopyOptions, side: Side) -> tuple[str, ...]:
    if order.target == "-":
        return ()
    target = order.target
    if os.path.isdir(target):
        target = os.path.join(
            target, clean_name(order.name) if order.name is not None else _last(side)
        )
    if order.force:
        command.add("-o", target)
        return ()
    command.add("-C", "-", "-o", target)
    return (RESUME_NOTE,)


def _sending(command: _Command, order: CopyOptions, side: Side, path: str, name: str) -> None:
    kind = order.type_of(name)
    command.add("-sS", "--fail-with-body")
    if order.as_form:
        for (
            key,
            value,
        ) in order.form:  # --form-string: in a -F value a leading @ or < would name a file
            hidden = bool(_SECRET.search(key.lower()))
            command.add("--form-string", (f"{key}=", command.hide(key) if hidden else value))
        file = f"{order.field or DEFAULT_FIELD}=@{_parameter(path)};filename={_parameter(name)};type={kind}"
        command.add("-F", file)
    else:
        command.add("-T", path)
        if (
            path == "-" and order.size is not None
        ):  # without the empty one curl sends chunks all the same
            command.add("-H", "Transfer-Encoding:", "-H", f"Content-Length: {order.size}")
        command.add("-H", f"Content-Type: {kind}")
        if urlsplit(side.url).path.endswith("/"):
            side = replace(side, url=below(side.url, name))
    command.side(side)


def _last(side: Side) -> str:
    """What a server would most likely call the file; only its answer would tell."""
    return clean_name(unquote(urlsplit(side.url).path.rstrip("/").rpartition("/")[2]))


def _parameter(text: str) -> str:
    """Inside -F, quoted as curl reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted(word: Iterable[str | _Hidden]) -> str:
    pieces = list(word)
    plain = "".join(piece for piece in pieces if isinstance(piece, str))
    if not any(isinstance(piece, _Hidden) for piece in pieces):
        return shlex.quote(plain)
    if _BARE.fullmatch(plain):
        behind = ["", *reversed(pieces)][:-1][::-1]  # what follows each piece
        return (
            '"'
            + "".join(_in_quotes(piece, after) for piece, after in zip(pieces, behind, strict=True))
            + '"'
        )
    # An exclamation mark in double quotes is history to an interactive bash: text alone, variables alone.
    return "".join(
        shlex.quote(piece) if isinstance(piece, str) else f'"${piece.variable}"'
        for piece in pieces
        if piece
    )


def _in_quotes(piece: str | _Hidden, after: str | _Hidden) -> str:
    if isinstance(piece, str):
        return piece
    grows = isinstance(after, str) and (after[:1].isalnum() or after[:1] == "_")
    return f"${{{piece.variable}}}" if grows else f"${piece.variable}"
