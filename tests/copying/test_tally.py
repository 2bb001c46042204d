"""The engine counts what a listing gave and what became of it; a server's names become files only where they can be seen."""

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
from sluiceway.copying.report import Ended, Overall, Tally
from sluiceway.errors import Miscounted, SourceFailed, StoreFailed, Unauthorized
from sluiceway.stores.contract import Metadata, Omitted, Page
from sluiceway.stores.memory import MemoryStore


class Listed(GivenItems):
    """An origin that also lists what is no object."""

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


async def copied(origin: Any, to: Path, **more: Any) -> tuple[sluiceway.Report, dict[str, Ended]]:
    ended: dict[str, Ended] = {}

    def look(now: Overall) -> None:
        if now.ended is not None:
            ended[now.ended.key] = now.ended

    return await sluiceway.acopy_all(origin, to, on_progress=look, retries=0, **more), ended


async def test_the_four_ends_add_up_to_what_was_listed(tmp_path: Path) -> None:
    """Copied, there already, left out by a rule and failed; only the last makes the copy not ok."""
    (tmp_path / "there").write_bytes(b"there")
    omitted = [
        Omitted("link", "link", RULES["link"]),
        Omitted("photos/", "folder-marker", RULES["folder-marker"]),
    ]
    origin = Listed({"a": b"1", "there": b"there", "x/no": b"2"}, omitted)
    report, ended = await copied(origin, tmp_path, exclude=["x/**"])

    assert (
        report.listed,
        report.copied,
        report.skipped,
        report.left_out,
        report.excluded,
        report.failed,
    ) == (5, 1, 1, 3, 1, 0)
    assert (report.ok, ended["x/no"].code, ended["link"].code) == (True, "excluded", "link")
    origin = Listed(
        {"a": b"1"},
        [
            *omitted,
            Omitted("odd//x", "bad-name", "an empty segment"),
            Omitted("d/", "forbidden", "no"),
        ],
    )
    report, ended = await copied(origin, tmp_path)
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


def test_an_object_that_neither_arrived_nor_failed_is_an_error() -> None:
    """The engine holds itself to its count; the exit code of the command follows."""
    tally = Tally()
    tally.listed = 2
    tally.count(Ended("a", "copied", 1))

    with pytest.raises(Miscounted, match="2 objects were listed and 1 ended"):
        tally.check()
    tally.count(Ended("b", "failed"))
    tally.check()


class Omitting(MemoryStore):
    """A real store whose listing names something that it cannot spell, in its place."""

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        page = await super().list(prefix, after, limit)
        odd = Omitted("b/p/../q", "bad-name", "a segment ..")
        return Page(
            page.entries, page.next, complete=page.complete, omitted=(odd,) if page.complete else ()
        )


async def test_what_a_store_cannot_list_is_counted_and_named(tmp_path: Path) -> None:
    """The others arrive, the odd one is told by its key below the prefix, and the copy is not ok."""
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


async def test_an_origin_that_raises_a_library_s_own_error_fails_with_a_code(
    tmp_path: Path,
) -> None:
    """Not with the code of the root: it says nothing."""

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
    ],
)
async def test_a_side_that_knows_nobody_any_more_ends_the_run(
    tmp_path: Path, error: sluiceway.SluiceError
) -> None:
    """Twenty in a row: a token that ended in mid-run costs no thousand requests. What went well before is there."""
    given: dict[str, bytes | int | sluiceway.SluiceError] = {"0": b"1"}
    given |= {f"{number:04}": error for number in range(1, 1000)}
    with pytest.raises(type(error), match="20 objects in a row failed like this") as caught:
        await copied(GivenItems(given), tmp_path, jobs=1)

    assert caught.value.code == error.code
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


class _Listing(http.server.BaseHTTPRequestHandler):
    answer: dict[str, object]
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        data = json.dumps(self.answer).encode() if self.path.startswith("/files?") else b"x"
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def listing() -> Iterator[tuple[str, type[_Listing]]]:
    handler = type("Handler", (_Listing,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/files/", handler
        server.shutdown()
        thread.join()


async def test_a_hostile_server_s_names_do_not_become_files(
    listing: tuple[str, type[_Listing]], tmp_path: Path
) -> None:
    """What steers a terminal, cannot be seen or turns a name around is left out by name; the rest arrives."""
    url, handler = listing
    bad = ["\x1b[31mred", "bell\x07", "a\u202egpj.exe", "a\nb", "\ufeffa"]
    files = [{"key": key, "size": 1, "etag": None} for key in [*bad, "good"]]
    handler.answer = {"files": files, "next": None}
    report, ended = await copied(url, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    assert (report.copied, report.failed) == (1, len(bad))
    assert {ended[key].code for key in bad} == {"bad-name"}
    assert not any("%1B" in path for path in handler.seen)


async def test_what_a_server_says_it_could_not_list_is_counted(
    listing: tuple[str, type[_Listing]], tmp_path: Path
) -> None:
    """And an answer that does not say whether it goes on is no listing."""
    url, handler = listing
    omitted = [{"name": "odd//x", "code": "bad-name", "detail": "an empty segment"}]
    handler.answer = {"files": [{"key": "good", "size": 1}], "omitted": omitted, "next": None}
    report, ended = await copied(url, tmp_path)
    assert (report.ok, report.copied, ended["odd//x"].code) == (False, 1, "bad-name")

    handler.answer = {"files": [{"key": "good", "size": 1}]}
    with pytest.raises(sluiceway.SluiceError, match="whether its listing is complete"):
        await copied(url, tmp_path)
