"""A server is replaced again and again while clients send: none fails, none sends anything twice.

Raw bodies, forms and uploads in pieces, over connections that stay open between requests. No client
tries anything again.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import requests
from requests.adapters import HTTPAdapter

from fix_replaced import Replace, can_replace
from fix_server import RunningServer, Serve
from fix_taking import TORTURE, noise
from raw_http import BOUNDARY, form_begun, form_body
from tus_by_hand import Tus

pytestmark = can_replace

MIB = 1 << 20
UPLOADS = 200 if TORTURE else 8  # at least; clients go on until the last server has taken over
AT_ONCE = 8 if TORTURE else 4
REPLACED = 5 if TORTURE else 1
LARGEST = 200 * MIB if TORTURE else MIB
LARGE = 4 if TORTURE else 0  # uploads of the largest size
BULK = 8 * MIB if TORTURE else MIB  # the most of all others
PIECE = 64 << 10  # bytes that a client sends at once


@dataclass
class Clients:
    """What they share: the address, the bytes, and which file has how many of them."""

    port: int
    data: bytes
    sent: dict[str, int] = field(default_factory=dict)

    def run(self, number: int, sizes: Iterator[int], go_on: Callable[[], bool]) -> None:
        """One client, with one way to send, on a connection of its own."""
        send = (self._raw, self._form, self._pieces, self._plain)[number % 4]
        url = f"http://127.0.0.1:{self.port}"
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=0))
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            for count in itertools.count():
                if not go_on():
                    break
                size, key = next(sizes), f"{number}-{count}"
                send(url, session, connection, key, size)
                self.sent[key] = size
            connection.close()

    def _raw(self, url: str, session: requests.Session, _: object, key: str, size: int) -> None:
        """Chunked."""
        response = session.put(f"{url}/files/{key}", data=self._body(size), timeout=120)
        assert response.status_code == 201, response.text

    def _plain(
        self,
        _: str,
        __: object,
        connection: http.client.HTTPConnection,
        key: str,
        size: int,
    ) -> None:
        """Of a known length, by the standard library."""
        headers = {"Content-Length": str(size)}
        connection.request("PUT", f"/files/{key}", body=self._body(size), headers=headers)
        response = connection.getresponse()
        assert response.status == 201, response.read()
        response.read()

    def _form(self, url: str, session: requests.Session, _: object, key: str, size: int) -> None:
        first = form_begun(("file", key, b""))
        last = form_body(("file", key, b"")).removeprefix(first)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        body = itertools.chain([first], self._body(size), [last])
        response = session.post(f"{url}/files", data=body, headers=headers, timeout=120)
        assert response.status_code == 201, response.text

    def _pieces(self, url: str, session: requests.Session, _: object, key: str, size: int) -> None:
        """Two, by tus."""
        tus = Tus(url, session=session)
        upload = tus.create(size, filename=key)
        for begin, end in ((0, size // 2), (size // 2, size)):
            response = tus.patch(upload, begin, self._body(end - begin))
            assert response.status_code == 204, response.text

    def _body(self, size: int) -> Iterator[bytes]:
        view = memoryview(self.data)
        for at in range(0, size, PIECE):
            yield bytes(view[at % (len(view) - PIECE) :][: min(PIECE, size - at)])


def sizes_of(chance: random.Random) -> Iterator[int]:
    """The large ones come among the first, so that servers are replaced meanwhile."""
    for number in itertools.count():
        is_large = LARGE and number % 5 == 1 and number < 5 * LARGE
        yield LARGEST if is_large else chance.randint(BULK // 8, BULK)


@pytest.mark.timeout(1800 if TORTURE else 180)
def test_no_upload_notices_that_servers_are_replaced(serve: Serve, replace: Replace) -> None:
    """Every file is there once, with the size that was sent, after one request for each."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    options = ("--log-format", "json", "--shutdown-timeout", "60", "--key-template", "{filename}")
    servers = [serve(*options)]
    clients = Clients(servers[0].port, noise(4 * MIB))
    sizes, last_serves, lock = sizes_of(random.Random(seed)), threading.Event(), threading.Lock()

    def one_of() -> Iterator[int]:
        while True:
            with lock:
                size = next(sizes)
            yield size

    def go_on() -> bool:
        return not last_serves.is_set() or len(clients.sent) < UPLOADS

    with ThreadPoolExecutor(AT_ONCE) as threads:
        runs = [threads.submit(clients.run, one, one_of(), go_on) for one in range(AT_ONCE)]
        try:
            for number in range(REPLACED):
                eventually_sent = (number + 1) * UPLOADS // (REPLACED + 1)
                while len(clients.sent) < eventually_sent and not any(run.done() for run in runs):
                    last_serves.wait(0.02)
                servers.append(replace(servers[-1], *options))
        finally:
            last_serves.set()
        for run in runs:
            run.result()
    for server in servers[:-1]:
        assert server.process.wait(120) == 0
    assert servers[-1].stored() == clients.sent
    ended = Counter(key for server in servers for key in uploads_in_the_log(server))
    assert ended == dict.fromkeys(clients.sent, 1)
    print(f"{len(clients.sent)} uploads, {sum(clients.sent.values()) >> 20} MiB")


def uploads_in_the_log(server: RunningServer) -> Iterator[str]:
    """The keys of those that ended there, all of them well."""
    for line in server.log().splitlines():
        if line.startswith("{") and (event := json.loads(line)).get("event") == "upload":
            assert event["state"] == "complete", event
            yield event["key"]
