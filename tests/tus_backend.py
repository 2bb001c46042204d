"""A backend that speaks tus, and does what a test wants: loses bytes, lies about offsets, is slow.

backend = TusBackend()
with Peer(backend) as peer: …
"""

from __future__ import annotations

from collections.abc import Callable

from rude_peer import Exchange

__all__ = ["Act", "TusBackend"]

Act = Callable[[Exchange], None]


class TusBackend:
    """One upload. `odd` answers a request instead, by its method, as often as it has acts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.length = ""
        self.location = "/uploads/1"
        self.gives_content = False
        self.odd: dict[str, list[Act]] = {}
        self.seen: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        if acts := self.odd.get(exchange.method):
            acts.pop(0)(exchange)
            return
        getattr(self, f"do_{exchange.method.lower()}")(exchange)

    def sizes(self) -> list[int]:
        """Bytes of each PATCH, as its head says."""
        found = [each for each in self.seen if each.method == "PATCH"]
        return [int(each.headers["content-length"]) for each in found]

    def do_options(self, exchange: Exchange) -> None:
        extensions = "creation,creation-defer-length,termination,checksum"
        checksums = "sha1,sha256"
        exchange.reply(
            204,
            {
                "Tus-Version": "1.0.0",
                "Tus-Extension": extensions,
                "Tus-Checksum-Algorithm": checksums,
            },
        )

    def do_post(self, exchange: Exchange) -> None:
        self.data.clear()
        self.length = exchange.headers.get("upload-length", "")
        exchange.reply(201, {"Location": self.location, "Tus-Resumable": "1.0.0"})

    def do_head(self, exchange: Exchange) -> None:
        headers = {"Upload-Offset": str(len(self.data)), "Tus-Resumable": "1.0.0"}
        exchange.reply(200, headers | ({"Upload-Length": self.length} if self.length else {}))

    def do_get(self, exchange: Exchange) -> None:
        """As tusd, before the upload is complete, too. @tus/server: 404 until then."""
        if self.gives_content:
            exchange.reply(200, {"Content-Type": "application/octet-stream"}, bytes(self.data))
        else:
            exchange.reply(404)

    def do_patch(self, exchange: Exchange) -> None:
        if int(exchange.headers["upload-offset"]) != len(self.data):
            exchange.read_body()
            exchange.reply(409)
            return
        self.data += exchange.read_body()
        self.length = exchange.headers.get("upload-length", self.length)
        exchange.reply(204, {"Upload-Offset": str(len(self.data)), "Tus-Resumable": "1.0.0"})

    def do_delete(self, exchange: Exchange) -> None:
        exchange.reply(204, {"Tus-Resumable": "1.0.0"})
