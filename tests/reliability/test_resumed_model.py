"""Eight clients and two server processes, at random: each upload has the bytes of its holders.

A hypothesis state machine. The model knows which bytes each client sent, and learns from the
offsets that are told which of them count. Clients hang, send late, are cut and taken over.
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fix_server import Serve
from fix_taking import TORTURE, eventually
from sluiceway.testing.conformance.outcomes import Violation
from sluiceway.testing.conformance.peer import Connection, Peer, SeenResponse
from sluiceway.testing.conformance.tus_server import TusServer

EXAMPLES, STEPS = (400, 50) if TORTURE else (6, 25)
MOST_CLIENTS = 8
LONGEST = 400_000  # bytes of an upload
SERVERS = st.integers(0, 1)

ERRORS: list[str] = []
Step = TypeVar("Step", bound=Callable[..., Any])

pytestmark = pytest.mark.timeout(3600 if TORTURE else 120)


@dataclass(eq=False)
class Hanging:
    """A PATCH whose client sends now and then."""

    connection: Connection
    start: int
    sent: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class Modelled:
    """An upload as the clients know it."""

    path: str
    length: int
    content: bytearray = field(default_factory=bytearray)  # bytes that were told to be kept
    holder: Hanging | None = None  # whose bytes may count beyond these


def seen(step: Step) -> Step:
    """Note the first error: hypothesis tries a failed run again, and a race ends differently."""

    @wraps(step)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return step(*args, **options)
        except BaseException:
            ERRORS.append(traceback.format_exc())
            raise

    return cast(Step, run)


class Uploads(RuleBasedStateMachine):
    """The rules; each takes one of two servers."""

    uploads: Bundle[Modelled] = Bundle("uploads")
    hanging: Bundle[tuple[Modelled, Hanging]] = Bundle("hanging")

    def __init__(self, urls: tuple[str, str]) -> None:
        super().__init__()
        self._servers = [TusServer(Peer(f"{url}/files", {}, 20)) for url in urls]
        self._urls, self._clients = urls, 0
        self._bytes = random.Random(0)
        self._open: list[Modelled] = []
        self._hanging: list[Hanging] = []

    @rule(target=uploads, server=SERVERS, length=st.integers(1, LONGEST))
    @seen
    def create(self, server: int, length: int) -> Modelled:
        url = self._servers[server].create(length)
        self._open.append(Modelled(url.removeprefix(self._urls[server]), length))
        return self._open[-1]

    @rule(upload=uploads, server=SERVERS)
    @seen
    def ask(self, upload: Modelled, server: int) -> None:
        self._learn(upload, self._servers[server].offset(self._url(upload, server)))

    @rule(upload=uploads)
    @seen
    def ask_many_times_at_once(self, upload: Modelled) -> None:
        def ask(number: int) -> int:
            return self._servers[number % 2].offset(self._url(upload, number % 2))

        with ThreadPoolExecutor(4) as threads:
            offsets = set(threads.map(ask, range(4)))
        # One that comes before a hanging PATCH has reached its server says less than the others.
        assert len(offsets) == 1 or upload.holder is not None, offsets
        assert min(offsets) >= len(upload.content), offsets
        self._learn(upload, max(offsets))

    @rule(upload=uploads, server=SERVERS, size=st.integers(0, LONGEST))
    @seen
    def append(self, upload: Modelled, server: int, size: int) -> None:
        """At the offset that this client knows; a hanging PATCH may have come further.

        The last byte comes at the end.
        """
        offset = len(upload.content)
        data = self._bytes.randbytes(min(size, upload.length - offset - 1))
        tus, url = self._servers[server], self._url(upload, server)
        response = tus.patch(url, offset, data)
        if response.status == 409:
            assert upload.holder is not None, "409 at an offset that nobody moved"
            self._learn(upload, int(response.headers["upload-offset"]))
            return
        assert response.status == 204, (response.status, response.text)
        upload.holder = None
        upload.content += data
        assert response.headers["upload-offset"] == str(len(upload.content))

    @rule(upload=uploads, server=SERVERS, beyond=st.integers(1, 1000))
    @seen
    def append_elsewhere(self, upload: Modelled, server: int, beyond: int) -> None:
        response = self._servers[server].patch(
            self._url(upload, server), upload.length + beyond, b"wrong"
        )
        assert response.status == 409, response.status
        self._learn(upload, int(response.headers["upload-offset"]))

    @precondition(lambda self: self._clients < MOST_CLIENTS)
    @rule(target=hanging, upload=uploads, server=SERVERS, size=st.integers(1, LONGEST))
    @seen
    def hang(self, upload: Modelled, server: int, size: int) -> tuple[Modelled, Hanging]:
        """Begin a PATCH and send less than it announced."""
        tus, url = self._servers[server], self._url(upload, server)
        self._learn(upload, tus.offset(url))
        left = upload.length - len(upload.content)
        upload.holder = Hanging(
            tus.begin_patch(url, len(upload.content), left), len(upload.content)
        )
        self._clients += 1
        self._hanging.append(upload.holder)
        self._send(upload.holder, min(size, left - 1))
        if upload.holder.sent:  # it has reached its server before anybody else asks
            known = len(upload.content)
            eventually(lambda: self._received(tus, url) > known, "the PATCH has begun")
        return upload, upload.holder

    @rule(one=hanging, size=st.integers(1, 100_000))
    @seen
    def send_more(self, one: tuple[Modelled, Hanging], size: int) -> None:
        """It counts only as long as nobody took the upload over."""
        upload, client = one
        self._send(client, min(size, upload.length - client.start - len(client.sent) - 1))

    @rule(one=consumes(hanging), reset=st.booleans())
    @seen
    def cut(self, one: tuple[Modelled, Hanging], reset: bool) -> None:
        (one[1].connection.reset if reset else one[1].connection.close)()
        self._clients -= 1

    @rule(upload=consumes(uploads), server=SERVERS)
    @seen
    def cancel(self, upload: Modelled, server: int) -> None:
        """While others ask for it."""
        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(self._head, upload, number % 2) for number in (0, 1)]
            url = self._url(upload, server)
            assert threads.submit(self._servers[server].delete, url).result().status == 204
        assert {each.result().status for each in asked} <= {200, 404, 410}
        for number in (0, 1):
            assert self._head(upload, number).status in (404, 410)
        self._open.remove(upload)

    def teardown(self) -> None:
        """Each upload goes on to its end, and has the bytes of its holders in their order."""
        try:
            self._finish_all()
        finally:
            for client in self._hanging:
                client.connection.close()

    @seen
    def _finish_all(self) -> None:
        for number, upload in enumerate(self._open):
            server = number % 2
            tus, url = self._servers[server], self._url(upload, server)
            self._learn(upload, tus.offset(url))
            rest = self._bytes.randbytes(upload.length - len(upload.content))
            response = tus.patch(url, len(upload.content), rest)
            assert response.status == 204, (response.status, response.text)
            place = response.headers["content-location"]
            stored = tus.peer.ask("GET", tus.peer.absolute(place), {})
            assert stored.status == 200
            assert stored.body == bytes(upload.content) + rest

    def _received(self, tus: TusServer, url: str) -> int:
        return int(json.loads(tus.peer.ask("GET", url, {}).body)["received"])

    def _head(self, upload: Modelled, server: int) -> SeenResponse:
        return self._servers[server].head(self._url(upload, server))

    def _url(self, upload: Modelled, server: int) -> str:
        return self._urls[server] + upload.path

    def _send(self, client: Hanging, size: int) -> None:
        data = self._bytes.randbytes(max(0, size))
        client.connection.send(data)
        client.sent += data

    def _learn(self, upload: Modelled, offset: int) -> None:
        """An offset was told: it never goes back, and what is new are the holder's bytes."""
        known = len(upload.content)
        assert known <= offset, f"the offset went from {known} back to {offset}"
        if offset > known:
            assert upload.holder is not None, f"{offset - known} bytes came from nobody"
            new = upload.holder.sent[known - upload.holder.start : offset - upload.holder.start]
            upload.content += new
            assert len(upload.content) == offset, "more is kept than was sent"
        upload.holder = None  # asking took the upload over


def test_what_is_kept_is_what_the_holders_sent(serve: Serve) -> None:
    first = serve()
    urls = first.url, serve(root=first.root).url
    ERRORS.clear()
    with suppress(Flaky, AssertionError, Violation):
        run(urls)
    assert not ERRORS, ERRORS[0]


def run(urls: tuple[str, str]) -> None:
    run_state_machine_as_test(
        cast(type[Uploads], partial(Uploads, urls)),  # it calls it
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],  # a race is not found again by a shorter example
            report_multiple_bugs=False,
        ),
    )
