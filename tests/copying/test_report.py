"""Every listed object is counted once; invisible names of a server do not become files."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import sluiceway
from copying.given_items import GivenItems
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import RULES, CopyItem
from sluiceway.copying.endpoints.store import StoreSource
from sluiceway.copying.report import ObjectResult, Overall, Tally
from sluiceway.errors import Miscounted, NoSpace, SourceFailed, StoreFailed, Unauthorized
from sluiceway.stores.contract import Metadata, Omitted, Page
from sluiceway.stores.memory import MemoryStore


class Listed(GivenItems):
    """A source that also lists things that are no objects."""

    def __init__(
        self, given: dict[str, bytes | int | sluiceway.SluiceError], omitted: list[Omitted]
    ) -> None:
        super().__init__(given)
        self.omitted = omitted

    async def items(self) -> AsyncIterator[CopyItem]:
        async for item in super().items():
            yield item
        for one in self.omitted:
            yield CopyItem(one.name, None, omitted=one)


async def copied(
    source: Any, to: Path, **more: Any
) -> tuple[sluiceway.Report, dict[str, ObjectResult]]:
    ended: dict[str, ObjectResult] = {}

    def look(now: Overall) -> None:
        if now.result is not None:
            ended[now.result.key] = now.result

    return await sluiceway.acopy_all(source, to, on_progress=look, retries=0, **more), ended


async def test_the_four_states_add_up_to_the_listed_objects(tmp_path: Path) -> None:
    """Copied, skipped, left out by a rule, failed; only a failure makes the copy not ok."""
    (tmp_path / "there").write_bytes(b"there")
    omitted = [
        Omitted("link", "link", RULES["link"]),
        Omitted("photos/", "folder-marker", RULES["folder-marker"]),
    ]
    source = Listed({"a": b"1", "there": b"there", "x/no": b"2"}, omitted)
    report, ended = await copied(source, tmp_path, exclude=["x/**"])

    assert (
        report.listed,
        report.copied,
        report.skipped,
        report.left_out,
        report.excluded,
        report.failed,
    ) == (5, 1, 1, 3, 1, 0)
    assert (report.ok, ended["x/no"].code, ended["link"].code) == (True, "excluded", "link")
    source = Listed(
        {"a": b"1"},
        [
            *omitted,
            Omitted("odd//x", "bad-name", "an empty segment"),
            Omitted("d/", "forbidden", "no"),
        ],
    )
    report, ended = await copied(source, tmp_path)
    assert (report.listed, report.skipped, report.left_out, report.failed, report.ok) == (
        5,
        1,
        2,
        2,
        False,
    )
    assert {one.key: one.code for one in report.failures} == {
        "odd//x": "bad-name",
        "d/": "forbidden",
    }


def test_an_object_that_did_not_end_is_an_error() -> None:
    """The engine checks its own count; the exit code of the command follows."""
    tally = Tally()
    tally.listed = 2
    tally.count(ObjectResult("a", "copied", 1))

    with pytest.raises(Miscounted, match="2 objects were listed and 1 ended"):
        tally.check()
    tally.count(ObjectResult("b", "failed"))
    tally.check()


class Omitting(MemoryStore):
    """A real store whose listing has a name that it cannot represent."""

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        page = await super().list(prefix, after, limit)
        odd = Omitted("b/p/../q", "bad-name", "a segment ..")
        return Page(
            page.entries, page.next, complete=page.complete, omitted=(odd,) if page.complete else ()
        )


async def test_objects_a_store_cannot_list_are_counted_and_named(tmp_path: Path) -> None:
    """The others are copied, the odd one is reported by its key, and the copy is not ok."""
    store = Omitting()
    for key in ("b/a", "b/z"):
        draft = await store.draft("i" * 22, 1)
        await draft.write(b"1")
        await draft.publish(key, Metadata(""))
    report, ended = await copied(StoreSource(store, "b/", "memory", RetryPolicy(1)), tmp_path)

    assert (report.ok, report.copied, report.failed, ended["p/../q"].code) == (
        False,
        2,
        1,
        "bad-name",
    )


async def test_an_error_of_a_library_becomes_a_failure_with_a_code(
    tmp_path: Path,
) -> None:
    """Not with the code of the base class, which says nothing."""

    class Raising(GivenItems):
        def open(self, item: CopyItem) -> Any:
            raise RuntimeError("boom")

    report, _ = await copied(Raising({"a": b"1"}), tmp_path)

    assert [(one.code, one.detail) for one in report.failures] == [
        ("store-failed", "RuntimeError: boom")
    ]


@pytest.mark.parametrize(
    "error",
    [
        StoreFailed("the key was not accepted", answered=403),
        Unauthorized("no"),
        SourceFailed("no", answered=401),
        StoreFailed("the proxy wants a login", answered=407),
        NoSpace("the disk is full"),
    ],
)
async def test_a_side_that_rejects_the_credentials_or_is_full_ends_the_run(
    tmp_path: Path, error: sluiceway.SluiceError
) -> None:
    """After twenty in a row: a token that expires does not cost thousands of requests."""
    given: dict[str, bytes | int | sluiceway.SluiceError] = {"0": b"1"}
    given |= {f"{number:04}": error for number in range(1, 1000)}
    with pytest.raises(type(error), match="20 objects in a row failed like this") as caught:
        await copied(GivenItems(given), tmp_path, jobs=1)

    assert caught.value.code == error.code
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


class _Listing(http.server.BaseHTTPRequestHandler):
    response: dict[str, object]
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        data = json.dumps(self.response).encode() if self.path.startswith("/files?") else b"x"
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """No log lines."""


@pytest.fixture
def listing() -> Iterator[tuple[str, type[_Listing]]]:
    handler = type("Handler", (_Listing,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/files/", handler
        server.shutdown()
        thread.join()


async def test_hostile_names_of_a_server_do_not_become_files(
    listing: tuple[str, type[_Listing]], tmp_path: Path
) -> None:
    """Names with characters that are invisible or steer a terminal fail; the rest is copied."""
    url, handler = listing
    bad = ["\x1b[31mred", "bell\x07", "a\u202egpj.exe", "a\nb", "\ufeffa"]
    files = [{"key": key, "size": 1, "etag": None} for key in [*bad, "good"]]
    handler.response = {"files": files, "next": None}
    report, ended = await copied(url, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    assert (report.copied, report.failed) == (1, len(bad))
    assert {ended[key].code for key in bad} == {"bad-name"}
    assert not any("%1B" in path for path in handler.seen)


async def test_objects_a_server_could_not_list_are_counted(
    listing: tuple[str, type[_Listing]], tmp_path: Path
) -> None:
    """A response without "next" is no listing."""
    url, handler = listing
    omitted = [{"name": "odd//x", "code": "bad-name", "detail": "an empty segment"}]
    handler.response = {"files": [{"key": "good", "size": 1}], "omitted": omitted, "next": None}
    report, ended = await copied(url, tmp_path)
    assert (report.ok, report.copied, ended["odd//x"].code) == (False, 1, "bad-name")

    handler.response = {"files": [{"key": "good", "size": 1}]}
    with pytest.raises(sluiceway.SluiceError, match="whether its listing is complete"):
        await copied(url, tmp_path)
