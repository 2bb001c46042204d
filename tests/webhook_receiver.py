"""A receiver of webhooks, for tests: it checks each signature and event, and answers as told.

with WebhookReceiver() as receiver:
    serve("--on-finish", receiver.url, env=receiver.env)
    receiver.next_responses += [503]     # then 204
    receiver.wait_for(1)

The signature is checked by the library of Standard Webhooks, the event by that of CloudEvents.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

__all__ = ["SECRET", "Delivery", "WebhookReceiver", "hang", "of_type", "reset"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwc2VjcmV0"
Respond = Callable[[BaseHTTPRequestHandler], None]
# What an event is answered: a status, and JSON for its body or None
Decide = Callable[[dict[str, Any]], tuple[int, object]]


@dataclass(frozen=True)
class Delivery:
    """One request: `status` is what it was answered."""

    id: str
    event: dict[str, Any]
    status: int
    headers: dict[str, str]

    @property
    def kind(self) -> str:
        """The last word of the event's type: "started", "kept", "finished"."""
        return str(self.event["type"]).rpartition(".")[2]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.event["data"]
        return found


def of_type(kind: str, deliveries: list[Delivery]) -> list[Delivery]:
    return [one for one in deliveries if one.kind == kind]


@dataclass
class WebhookReceiver:
    """Listens on a free port, or on a given one; each entry of `next_responses` answers once."""

    port: int = 0
    next_responses: list[int | Respond] = field(default_factory=list)
    decide: Decide = lambda event: (204, None)  # where `next_responses` is empty
    headers: dict[str, str] = field(default_factory=dict)  # of responses with a given status
    deliveries: list[Delivery] = field(default_factory=list)
    requests: int = 0

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=of-the-query"

    @property
    def env(self) -> dict[str, str]:
        return {"SLUICEWAY_HOOK_SECRET": SECRET}

    @property
    def taken(self) -> list[Delivery]:
        return [one for one in self.deliveries if 200 <= one.status < 300]

    def wait_for(self, taken: int, timeout: float = 40) -> list[Delivery]:
        """Returns the deliveries that it took, once there are so many."""
        until = time.monotonic() + timeout
        while len(self.taken) < taken and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.taken) >= taken, self.deliveries
        return self.taken

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        respond = self.next_responses.pop(0) if self.next_responses else 0
        if not isinstance(respond, int):
            respond(handler)
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        event = Webhook(SECRET).verify(body, headers)  # raises for a wrong signature or time
        assert handler.headers["Content-Type"] == "application/cloudevents+json"
        cloud = from_http_event(HTTPMessage(headers, body))  # raises for what is none
        assert (cloud.get_id(), cloud.get_source()) == (headers["webhook-id"], "/files")
        assert cloud.get_data() == event["data"]
        assert handler.path == "/hook?key=of-the-query"
        status, answer = (respond, None) if respond else self.decide(event)
        self.deliveries.append(Delivery(headers["webhook-id"], event, status, headers))
        content = b"" if answer is None else json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in self.headers.items() if status != 204 else ():
            handler.send_header(name, value)
        if content:
            handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Breaks the connection off."""
    linger = (1).to_bytes(4, "little") + bytes(4)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Does not answer as long as the sender stays."""
    handler.connection.settimeout(30)
    while handler.connection.recv(1 << 16):
        pass
    handler.close_connection = True
