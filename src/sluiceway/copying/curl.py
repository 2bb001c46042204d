"""A copy as a line for curl: quoted for a POSIX shell, with secrets as variables.

Notes beside the line say where curl behaves differently. Text only: sends nothing.
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
from sluiceway.copying.options import CopyOptions
from sluiceway.copying.servers import RemoteServer
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import below

__all__ = ["CurlLine", "curl_line"]

# Names of headers, fields and query parameters whose values must not reach a screen or history.
_SECRET = re.compile(
    r"auth|token|secret|passw|pwd|cookie|session|signature|credential|jwt|key$|key[^a-z]"
    r"|(^|[^a-z])(sig|sid|pass)($|[^a-z])"
)
# Characters that double quotes protect in every shell.
_BARE = re.compile(r"[A-Za-z0-9 ,./:=?&%+@_~-]*")
_GLOB = frozenset("[]{}")

PIPE_NOTE = (
    "if the source breaks off, a pipe between two curls stores the beginning as a complete file; "
    "sluiceway copy does not"
)
RESUME_NOTE = (
    "curl -C - continues whatever file has that name, and checks neither version nor digest"
)


@dataclass(frozen=True, slots=True)
class CurlLine:
    """`text` for a shell, the `variables` it reads, and `notes` on where it differs."""

    text: str
    variables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Stands for a secret in a word."""

    variable: str


_Word = Sequence[str | _Hidden]


@dataclass(slots=True)
class _CurlCommand:
    """The words of one curl command."""

    prefix: str  # of its variables
    words: list[_Word] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)

    def add(self, *words: str | _Word) -> None:
        self.words += [(word,) if isinstance(word, str) else word for word in words]

    def hide(self, name: str) -> _Hidden:
        """A new variable, named after `name`."""
        plain = self.prefix + re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
        variable, number = plain, 1
        while variable in self.variables:
            number += 1
            variable = f"{plain}_{number}"
        self.variables.append(variable)
        return _Hidden(variable)

    def side(self, side: RemoteServer) -> None:
        """Headers and URL."""
        if side.login is not None:
            self.add("--digest", "--user", (f"{side.user}:", self.hide("password")))
        for name, value in side.headers.items():
            self._header(side, name, value)
        self.add(self._url(side.url))

    def _header(self, side: RemoteServer, name: str, value: str) -> None:
        if name == "authorization" and side.auth_from == "url":
            self.add("--user", (f"{side.user}:", self.hide("password")))
            return
        shown = "-".join(part.capitalize() for part in name.split("-"))
        if name == "authorization":
            scheme, space, _ = value.partition(" ")
            word: _Word = (f"{shown}: {scheme if space else ''}{space}", self.hide("token"))
        elif name not in HARMLESS and _SECRET.search(name):
            word = (f"{shown}: ", self.hide(name))
        else:
            # With a colon and nothing behind it, curl does not send the header.
            word = (f"{shown}: {value}" if value else f"{shown};",)
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
            words.insert(0, ("-g",))  # brackets and braces are parts of names here, not patterns
        return " ".join(["curl", *map(_quoted, words)])


def curl_line(options: CopyOptions, path: str | None = None, name: str | None = None) -> CurlLine:
    """The line for a copy. `path` and `name`: of one file of a folder, which each have a line."""
    if options.writes is None:
        if options.reads is None:
            return CurlLine("")
        fetch = _fetching(options.reads, "SLUICEWAY_")
        notes = _into(fetch, options, options.reads)
        return CurlLine(fetch.text(), tuple(fetch.variables), notes)
    send = _CurlCommand("SLUICEWAY_")
    if options.reads is None:
        path = options.source if path is None else path
        display_name = options.name_of(path) if name is None else name
        _sending(send, options, options.writes, path, display_name)
        return CurlLine(send.text(), tuple(send.variables))
    fetch = _fetching(options.reads, "SLUICEWAY_FROM_")
    _sending(send, options, options.writes, "-", options.name or _last(options.reads))
    return CurlLine(
        f"{fetch.text()} | {send.text()}", (*fetch.variables, *send.variables), (PIPE_NOTE,)
    )


def _fetching(side: RemoteServer, prefix: str) -> _CurlCommand:
    command = _CurlCommand(prefix)
    command.add("-sSfL")
    command.side(side)
    return command


def _into(command: _CurlCommand, options: CopyOptions, side: RemoteServer) -> tuple[str, ...]:
    if options.target == "-":
        return ()
    target = options.target
    if os.path.isdir(target):
        target = os.path.join(
            target, clean_name(options.name) if options.name is not None else _last(side)
        )
    if options.force:
        command.add("-o", target)
        return ()
    command.add("-C", "-", "-o", target)
    return (RESUME_NOTE,)


def _sending(
    command: _CurlCommand, options: CopyOptions, side: RemoteServer, path: str, name: str
) -> None:
    kind = options.type_of(name)
    command.add("-sS", "--fail-with-body")
    if options.as_form:
        # --form-string: in a -F value, a leading @ or < would name a file.
        for key, value in options.form:
            hidden = bool(_SECRET.search(key.lower()))
            command.add("--form-string", (f"{key}=", command.hide(key) if hidden else value))
        field = options.field or DEFAULT_FIELD
        file = f"{_parameter(path)};filename={_parameter(name)};type={kind}"
        command.add("-F", f"{field}=@{file}")
    else:
        command.add("-T", path)
        if path == "-" and options.size is not None:
            # Without the empty header curl would send chunks all the same.
            command.add("-H", "Transfer-Encoding:", "-H", f"Content-Length: {options.size}")
        command.add("-H", f"Content-Type: {kind}")
        if not options.force and side.headers.keys().isdisjoint(("if-match", "if-none-match")):
            command.add("-H", "If-None-Match: *")
        if urlsplit(side.url).path.endswith("/"):
            side = replace(side, url=below(side.url, name))
    command.side(side)


def _last(side: RemoteServer) -> str:
    """The name a server would most likely give; only its response would show it."""
    return clean_name(unquote(urlsplit(side.url).path.rstrip("/").rpartition("/")[2]))


def _parameter(text: str) -> str:
    """Quoted for -F, as curl reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted(word: Iterable[str | _Hidden]) -> str:
    pieces = list(word)
    plain = "".join(piece for piece in pieces if isinstance(piece, str))
    if not any(isinstance(piece, _Hidden) for piece in pieces):
        return shlex.quote(plain)
    if _BARE.fullmatch(plain):
        behind = ["", *reversed(pieces)][:-1][::-1]  # the piece after each
        return (
            '"'
            + "".join(_in_quotes(piece, after) for piece, after in zip(pieces, behind, strict=True))
            + '"'
        )
    # In double quotes an interactive bash expands exclamation marks: quote text by itself.
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
