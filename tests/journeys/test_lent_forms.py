"""Files of forms go round the event loop: the same bytes, fields and errors as those that do not.

Each journey runs with connections that are never lent, always lent, and handed back at random
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from lent_ways import OFF, WAYS, lent_bytes, lent_env
from raw_http import BOUNDARY, Wire, form_begun, form_body, form_head, head
from sluiceway.uploads.keys import new_id

MIB = 1 << 20
DELIMITER = f"\r\n--{BOUNDARY}".encode()
# Bytes with almost a delimiter at every place that matters, and many of its beginnings.
ALMOST = b"".join(DELIMITER[:at] + b"x" for at in range(len(DELIMITER))) * 40
MAX_SIZE = 6 * MIB


@pytest.fixture(scope="module", params=WAYS)
def lender(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp(request.param)
    server = start_server(
        folder / "root",
        "--max-size",
        str(MAX_SIZE),
        "--key-template",
        "{path}",
        env=lent_env(folder, request.param),
    )
    yield server
    # the test of the tests: connections were lent, or never
    assert (request.param == OFF) is (not lent_bytes(server))
    server.stop()


@pytest.mark.parametrize(
    "files",
    [
        [noise(MAX_SIZE)],
        [noise(3 * MIB + 1), noise(MIB, seed=2), b"", b"short"],
        [ALMOST + noise(MIB) + ALMOST, ALMOST * 9],
        [DELIMITER[:-1] * 60_000, b"\r" * 300_000, b"\r\n" * 300_000],
    ],
    ids=["one", "several", "almost", "beginnings"],
)
def test_all_files_and_fields_of_a_form_arrive(
    lender: RunningServer, files: list[bytes], request: pytest.FixtureRequest
) -> None:
    """Also the fields between and behind them, and a second form in the same connection."""
    case = request.node.callspec.id
    with Wire(lender.port) as wire:
        for turn in ("first", "second"):
            parts: list[tuple[str, str | None, bytes]] = [("before", None, b"1")]
            for number, data in enumerate(files):
                parts.append(("file", f"{case}-{turn}-{number}", data))
                parts.append((f"behind-{number}", None, b"2"))
            body = form_body(*parts)
            wire.send(form_head(len(body)) + body)
            response = wire.answer()
            assert response.status == 201, response
            entries = response.json()["files"]
            for number, (data, entry) in enumerate(zip(files, entries, strict=True)):
                assert entry["sha-256"] == hashlib.sha256(data).hexdigest()
                assert (lender.root / f"{case}-{turn}-{number}").read_bytes() == data
            assert len(response.json()["fields"]) == len(files) + 1


@pytest.mark.parametrize("over", [1, MIB])
def test_no_byte_beyond_the_largest_size_is_kept(lender: RunningServer, over: int) -> None:
    body = form_body(("file", f"over-{over}", noise(MAX_SIZE + over)))
    with Wire(lender.port) as wire:
        wire.send(form_head(len(body)) + body)
        response = wire.answer()
    assert (response.status, response.json()["code"]) == (413, "too-large")
    assert not (lender.root / f"over-{over}").exists()


@pytest.mark.parametrize("end", ["half", "reset", "delimiter"])
def test_a_cut_form_stores_nothing(lender: RunningServer, end: str) -> None:
    """Also where the last bytes are a whole delimiter, and the last `--` is missing."""
    body = form_begun(("file", f"cut-{end}", noise(2 * MIB)))
    with Wire(lender.port) as wire:
        wire.send(form_head(len(body) + 2 * MIB) + body)
        if end == "reset":
            wire.reset()
        else:
            wire.send(DELIMITER if end == "delimiter" else b"")
            wire.half_close()
            assert wire.answer().status == 400
    eventually(lambda: not list(lender.root.glob("**/*.part*")), "the draft goes")
    assert not (lender.root / f"cut-{end}").exists()


def test_what_was_received_counts_every_byte_of_the_form(lender: RunningServer) -> None:
    """The counter of the whole body, whatever thread read it."""
    body, upload = form_body(("file", "counted", noise(5 * MIB))), new_id()
    with Wire(lender.port) as wire:
        wire.send(form_head(len(body), target=f"/files?upload={upload}") + body)
        assert wire.answer().status == 201
    with Wire(lender.port) as wire:
        wire.send(head("GET", f"/uploads/{upload}"))
        counters = wire.answer().json()
    assert counters["received"] == len(body)
    assert counters["forwarded"] == counters["kept"] == 5 * MIB
