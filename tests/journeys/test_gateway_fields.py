"""Form fields through the gateway: each file is sent with them, within bounds of memory and
bytes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fix_gateway import Gateway, parts, takes
from fix_server import RunningServer, start_server
from raw_http import BOUNDARY, form_body, form_head, talk
from rude_peer import Exchange, Peer
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.request import MOST_REPEATED, RelayRequest
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.relay.url_template import RelayUrl

Passing = tuple[RunningServer, Peer]


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passing]:
    """A gateway that sends files in chunks, so that fields may follow, and its backend."""
    with Peer(takes) as peer:
        server = start_server(
            tmp_path_factory.mktemp("fields") / "none", "--relay-chunked", to=f"{peer.url}/files"
        )
        yield server, peer
        server.stop()


def raw(*lines: bytes) -> bytes:
    return (
        b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), line) for line in lines)
        + b"--%s--\r\n" % BOUNDARY.encode()
    )


def test_fields_are_passed_on_in_utf_8(passing: Passing) -> None:
    """Names and values; the form's own `_charset_` says so too."""
    server, peer = passing
    disposition = b"Content-Disposition: form-data; name="
    body = raw(
        disposition + b'"_charset_"\r\n\r\nwindows-1252',
        disposition + b'"price"\r\n\r\n5 \x80',
        disposition + b'"text"\r\nContent-Type: text/plain; charset=ISO-8859-5\r\n\r\n\xe4',
        disposition
        + b'"f"; filename="gr\xf6\xdfe \x80.csv"\r\n'
        + b"Content-Type: text/csv; charset=windows-1252\r\n\r\n\x80",
    )
    response = talk(server.port, form_head(len(body)) + body)

    assert response.status == 201
    first, price, text, file = parts(peer.seen[-1])
    assert first.endswith(b"\r\n\r\nUTF-8")
    assert price.endswith("\r\n\r\n5 €".encode())
    assert text.endswith("\r\n\r\nф".encode())
    assert (
        'filename="größe €.csv"\r\nContent-Type: text/csv; charset=windows-1252\r\n\r\n'.encode()
        in file
    )
    assert file.endswith(b"\r\n\r\n\x80")


@pytest.mark.parametrize("fields_first", [True, False])
def test_repeated_fields_of_many_files_are_bounded(passing: Passing, fields_first: bool) -> None:
    """3 MB and 200 one-byte files became 577 MiB here and at the backend: 413 before any
    request.
    """
    server, peer = passing
    fields = [(f"n{number}", None, b"x" * 950_000) for number in range(3)]
    files = [("f", f"{number}.txt", b"1") for number in range(200)]
    before = len(peer.seen)
    body = form_body(*((*fields, *files) if fields_first else (*files, *fields)))
    response = talk(server.port, form_head(len(body)) + body)

    assert (response.status, response.json()["code"], response.json()["limit"]) == (
        413,
        "too-large",
        MOST_REPEATED,
    )
    assert len(peer.seen) == before


def test_usual_forms_of_many_files_are_passed_on(passing: Passing) -> None:
    """Two hundred files with a title."""
    server, peer = passing
    before = len(peer.seen)
    body = form_body(
        ("title", None, b"Holidays"), *(("f", f"{number}.txt", b"1") for number in range(200))
    )
    response = talk(server.port, form_head(len(body)) + body)

    assert response.status == 201
    assert len(peer.seen) - before == 200


async def test_a_written_head_is_released() -> None:
    """The head with all its fields, and its reservation, are released while the file is sent."""

    def held() -> int:
        # isinstance() would wake lazy objects of other libraries
        return sum(len(one.head) for one in gc.get_objects() if type(one) is RelayRequest)

    fields = [("title", "x" * 500_000)]
    budget, label = (
        Budget(64 << 20),
        UploadRequest(field="f", fields=fields, size_is_certain=False, filename="a"),
    )
    with Peer(takes) as peer:
        store = RelayStore(Backend(RelayUrl(peer.url + "/files"), chunked=True), budget)
        drafts = [await store.draft(f"up.{number}", None, label) for number in range(8)]
        for draft in drafts:
            await draft.write(b"y" * 60_000)
        assert budget.used == 7 * 60_000  # the first waits for its length at no cost
        for draft in drafts[:4]:
            await draft.write(b"y" * 60_000)
        assert (held(), budget.used) == (0, 4 * 60_000)
        for draft in drafts[2:]:
            await draft.publish("k", Metadata("a"))
        assert (held(), budget.used) == (0, 0)
        for draft in drafts:
            await draft.discard()
        await store.aclose()
        assert sum(exchange.body.endswith(b"--\r\n") for exchange in peer.seen) == 6


async def test_a_discarded_draft_releases_its_reservation() -> None:
    """At any point."""
    budget = Budget(64 << 20)
    store = RelayStore(Backend(RelayUrl("http://127.0.0.1:9/files")), budget)
    drafts = [
        await store.draft(f"up.{number}", None, UploadRequest(field="f", size_is_certain=False))
        for number in range(3)
    ]
    for draft in drafts:
        await draft.write(b"y" * 1000)
    assert budget.used == 2000
    for draft in drafts:
        await draft.discard()
        await draft.discard()
    assert budget.used == 0
    await store.aclose()


def test_a_type_is_passed_on_with_its_parameters(gateway: Gateway) -> None:
    """Of a raw body and of a form's file, sent raw or in a form."""
    seen: list[Exchange] = []

    def keeps(exchange: Exchange) -> None:
        seen.append(exchange)
        takes(exchange)

    with Peer(keeps) as peer:
        server = gateway(peer.url + "/files", "--relay-body", "raw")
        kind = "Content-Type: text/csv; charset=windows-1252"
        body = raw(
            b'Content-Disposition: form-data; name="f"; filename="a.csv"\r\n'
            + kind.encode()
            + b"\r\n\r\n\x80"
        )
        assert talk(server.port, form_head(len(body)) + body).status == 201
    assert seen[0].headers["content-type"] == "text/csv; charset=windows-1252"
