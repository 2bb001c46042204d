"""One line for each request, and in it the upload that the request brought or ended.

An upload is ended by one request, so its end is in the log once. Nothing secret is logged: no
query, no header but the request's id, no link, and no id of an upload that can still be cancelled.
Control bytes are escaped.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from sluiceway.pipe.stages import verdict
from sluiceway.server.access.entering import LINK, unlinked
from sluiceway.server.access.identity import owner_in
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.log.formats import log_event
from sluiceway.uploads.log_event import LogEvent
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.session import UploadSession
from sluiceway.uploads.summary import UploadSummary, summary_of
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.request_trace import current_trace
from sluiceway.wire.urls import hide_links

__all__ = ["STAGES", "UPLOAD", "client_of", "log_access", "shown_path"]

# Loads the codec now: a process without free descriptors cannot load it, and needs its log most.
codecs.lookup("unicode_escape")

log: logging.Logger = logging.getLogger("sluiceway.access")

# In a request's scope: the stage times of its upload, and the name of the destination
STAGES = "sluiceway.stages"
# And the upload itself, an UploadSession or a HeldUpload
UPLOAD = "sluiceway.upload"

MOST_LOGGED = 512  # characters of a path or a key; a longer one only fills the disk


class _AccessLine(LogEvent):
    """The line of one request. It is written as text or as values, when it is needed."""

    def __init__(
        self,
        scope: Scope,
        status: int,
        sent: int,
        seconds: float,
        code: str,
        spent: Mapping[str, float] | None,
    ) -> None:
        self._scope, self._path, self._spent = scope, shown_path(scope), spent
        self._status, self._sent, self._seconds, self._code = status, sent, seconds, code
        upload: UploadSession | HeldUpload | None = scope.get(UPLOAD)
        self._upload: UploadSummary | None = None if upload is None else summary_of(upload)

    def __str__(self) -> str:
        scope, spent, path = self._scope, self._spent, self._path.replace('"', '\\"')
        request = f'{client_of(scope)} "{_escaped(scope["method"])} {path}"'
        line = f"{request} {self._status} {self._sent} {self._seconds:.3f}s"
        if spent is not None:
            for name, took in spent.items():
                line += f" {name}={took:.3f}s"
            line += f" ({verdict(spent, scope[STAGES][1])})"
        if self._upload is not None:
            line = f"{line}{_upload_text(self._upload, self._code)}"
        owner = owner_in(scope)
        return f"{line} by {owner}" if owner else line

    def values(self) -> Mapping[str, object]:
        scope, upload, trace = self._scope, self._upload, current_trace.get()
        values: dict[str, object] = {
            "event": "upload" if upload is not None and upload.has_ended else "request",
            "client": client_of(scope),
            "method": _escaped(scope["method"]),
            "path": self._path,
            "status": self._status,
            "code": self._code,
            "name": owner_in(scope),
            "sent": self._sent,
            "seconds": round(self._seconds, 6),
            "request_id": trace.request_id,
            "trace_id": trace.trace_id,
        }
        if (spent := self._spent) is not None:
            values["stages"] = {name: round(took, 6) for name, took in spent.items()}
            values["verdict"] = verdict(spent, scope[STAGES][1])
        if upload is not None:
            values |= _upload_values(upload)
            values["code"] = self._code or upload.code
        return values


def log_access(
    scope: Scope,
    status: int,
    sent: int,
    seconds: float,
    code: str,
    spent: Mapping[str, float] | None,
) -> None:
    """Log the line of a request that has ended.

    `sent` are the bytes of its response, `code` that of its error, "" for none, `spent` the seconds
    of its upload by stage, where it had one.
    """
    if log.isEnabledFor(logging.INFO):
        log_event(log, _AccessLine(scope, status, sent, seconds, code, spent))


def shown_path(scope: Scope) -> str:
    """The path of a request for people who may not do what it does: without links and ids."""
    path, mounted = str(scope["path"]), str(scope.get("root_path", ""))
    if LINK in scope:
        path, mounted = unlinked(scope, path), unlinked(scope, mounted)
    # The id of an upload is left out: it is enough to cancel the upload.
    if path.removeprefix(mounted).startswith("/uploads/"):
        path = f"{mounted if path.startswith(mounted) else ''}/uploads/..."
    return _escaped(hide_links(path))


def _upload_text(upload: UploadSummary, code: str) -> str:
    request = current_trace.get().request_id
    if not upload.has_ended:
        return f" in={upload.received} request={request}"
    key = _escaped(upload.keys[0]).replace('"', '\\"') if upload.keys else ""
    more = f" and {len(upload.keys) - 1} more" if len(upload.keys) > 1 else ""
    failure = f" code={code or upload.code}" if code or upload.code else ""
    return (
        f' upload={upload.id} key="{key}"{more} in={upload.received} kept={upload.kept}'
        f" state={upload.state}{failure} request={request}"
    )


def _upload_values(upload: UploadSummary) -> dict[str, object]:
    if not upload.has_ended:
        return {"received": upload.received}
    return {
        "upload": upload.id,
        "key": upload.keys[0] if upload.keys else "",
        "files": len(upload.keys),
        "received": upload.received,
        "kept": upload.kept,
        "state": upload.state,
    }


def _escaped(text: str) -> str:
    """Printable ASCII on one line, without a terminal's escape sequences."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text[:MOST_LOGGED]
    return text[:MOST_LOGGED].encode("unicode_escape").decode()


def client_of(scope: Scope) -> str:
    """The client's address: that of the connection, if X-Forwarded-For names none; else "-"."""
    found = _client_address((scope.get("client") or ("",))[0][:MOST_LOGGED])
    if found == "-" and (peer := getattr(scope.get(PROTOCOL), "client", None)) is not None:
        return _client_address(str(peer[0])[:MOST_LOGGED])
    return found


@lru_cache(256)
def _client_address(text: str) -> str:
    """The client's address, or "-" for any other text: proxies pass on X-Forwarded-For as it is."""
    host, _, port = text.rpartition(":")
    for candidate in (
        text,
        text.strip("[]"),
        host.strip("[]") if clipped_uint(port) is not None else "",
    ):
        with suppress(ValueError):
            return str(ip_address(candidate.partition("%")[0]))
    return "-"
