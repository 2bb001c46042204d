"""sluiceway.django on real servers.

Views read parts as they arrive, and @uploads stores files meanwhile. A truncated body is an error.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest
import requests

import sluiceway
from fix_django import DATA, FORM_TYPE, GUNICORN, MIB, RUNSERVER, SHA, Site, post, site
from fix_taking import eventually
from hostile_names import CANARY, HOSTILE
from raw_http import Wire, chunk, form_begun, form_body, form_head
from sluiceway.testing.memory_meter import MemoryMeter


@pytest.fixture(scope="module", params=["gunicorn", "runserver"])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site(GUNICORN if request.param == "gunicorn" else RUNSERVER, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(GUNICORN, tmp_path_factory) as running:
        yield running


@pytest.mark.parametrize("path", ["/relay", "/forwarded"])
def test_the_next_server_gets_a_file_while_it_arrives(either: Site, path: str) -> None:
    """Before a twentieth was sent: by a view that reads its parts, and by @uploads."""
    before = len(either.peer.seen)
    size = 24 * MIB
    begun = form_begun(("title", None, b"book"), ("file", "book.pdf", b""))
    end = form_body(("x", "y", b"@@")).partition(b"@@")[2]
    with Wire(either.port) as wire:
        wire.send(form_head(len(begun) + size + len(end), target=path) + begun + bytes(MIB))
        eventually(lambda: len(either.peer.seen) > before, "the backend gets the request")
        exchange = either.peer.seen[before]
        eventually(lambda: len(exchange.body) >= 256 << 10, "the backend has its first bytes")
        for _ in range(size // MIB - 1):
            wire.send(bytes(MIB))
        wire.send(end)
        answer = wire.answer()

    assert answer.status == 201
    assert exchange.headers["content-length"] == str(size)
    assert len(exchange.body) == size
    if path == "/forwarded":
        assert exchange.target == "/book"
        name, filename, length, kind, _, sha256, url = answer.json()["files"][0]
        assert (name, filename, length, kind) == ("file", "book.pdf", size, "application/pdf")
        assert sha256 == hashlib.sha256(bytes(size)).hexdigest()
        assert url == f"{either.peer.url}/files/7"


@pytest.mark.parametrize("path", ["/relay", "/stored"])
def test_a_large_file_costs_no_memory_and_no_temporary_file(gunicorn: Site, path: str) -> None:
    """64 MiB cost as much as 4 MiB, and the temporary folder stays empty."""
    peaks = {}
    for size in (4 * MIB, 32 * MIB, 4 * MIB, 64 * MIB):
        meters = [MemoryMeter(pid) for pid in gunicorn.pids]
        for meter in meters:
            meter.reset()
        form = sluiceway.Form({"title": "forget"}).file(
            "file", (bytes(MIB) for _ in range(size // MIB)), size=size
        )
        assert (
            requests.post(
                f"{gunicorn.url}{path}", data=form, headers=form.headers, timeout=60
            ).status_code
            == 201
        )
        peaks[size] = sum(meter.peak() for meter in meters)
        assert not list(gunicorn.temporary.iterdir())

    assert peaks[64 * MIB] - peaks[4 * MIB] <= 16 * MIB


@pytest.mark.parametrize("chunks", [False, True])
def test_a_view_saves_a_file_whole(gunicorn: Site, chunks: bool) -> None:
    """With its name and type, and its size if the form has a length; chunks work, too."""
    answer = post(
        gunicorn, "/save", ("title", None, b"T"), ("file", "a ü.pdf", DATA), chunks=chunks
    )

    size = None if chunks else len(DATA)
    assert answer.json() == {
        "filename": "a ü.pdf",
        "type": "application/octet-stream",
        "size": size,
        "title": "T",
    }
    assert (gunicorn.folder / "saved.bin").read_bytes() == DATA
    assert [path.name for path in gunicorn.folder.iterdir()] == ["saved.bin"]


def test_parts_come_in_order_one_or_many(either: Site) -> None:
    """Files that the view does not read are skipped."""
    answer = post(
        either,
        "/walk",
        ("f", "a", DATA),
        ("f", "b", DATA),
        ("t", None, b"v"),
        ("g", "c", b""),
        ("empty", "", b""),
    )

    assert answer.json() == [
        ["f", "a"],
        ["f", "b", SHA],
        ["t", "v"],
        ["g", "c", hashlib.sha256(b"").hexdigest()],
    ]


def test_many_files_are_stored_with_their_names(either: Site) -> None:
    """Django's mappings have the place of each, and every byte is there."""
    names = ["a ü.pdf", "日本語.txt", "\U0001f600.bin"]
    answer = post(
        either,
        "/stored",
        ("t", None, b"1"),
        *(("f", name, DATA) for name in names),
        ("t", None, b"2"),
        ("e", "", b""),
    )

    result = answer.json()
    assert (answer.status_code, result["fields"]) == (201, {"t": ["1", "2"]})
    assert [file[1] for file in result["files"]] == names
    for name, _, size, _, key, sha256, url in result["files"]:
        assert (name, size, sha256, url) == ("f", len(DATA), SHA, None)
        assert (either.store / key).read_bytes() == DATA


def test_the_folders_of_a_chosen_folder_are_in_the_key(gunicorn: Site) -> None:
    """A browser sends album/a/README; its name is README, and its key has the folders."""
    files = [("f", f"album/{folder}/README", folder.encode()) for folder in "ab"]
    stored = post(gunicorn, "/stored", *files).json()["files"]

    assert [file[1] for file in stored] == ["README", "README"]
    keys = [file[4].partition("/")[2] for file in stored]
    assert keys == ["album/a/README", "album/b/README"]


def test_hostile_names_stay_in_the_folder(gunicorn: Site) -> None:
    """Every file is stored in the folder, whatever its name."""
    canary = gunicorn.store.parent / CANARY
    canary.write_text("sings")
    outside = {
        path for path in gunicorn.store.parent.rglob("*") if gunicorn.store not in path.parents
    }
    for name in HOSTILE:
        if not set(name) & set('\r\n\x00"\\') and name:
            answer = post(gunicorn, "/stored", ("f", name, b"123"))
            key = answer.json()["files"][0][4] if answer.status_code == 201 else None
            assert answer.status_code == 201, name
            assert key is None or (gunicorn.store / key).resolve().read_bytes() == b"123", name

    assert {
        path for path in gunicorn.store.parent.rglob("*") if gunicorn.store not in path.parents
    } == outside
    assert canary.read_text() == "sings"


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("path", ["/save", "/relay"])
def test_a_truncated_body_is_an_error_in_a_view(gunicorn: Site, path: str, chunks: bool) -> None:
    """The client hangs up in the middle: no file is saved, no complete request is relayed."""
    for left in gunicorn.folder.iterdir():
        left.unlink()
    before = len(gunicorn.peer.seen)
    begun = form_begun(("title", None, b"T"), ("file", "a.bin", b""))
    data = begun + DATA
    length = None if chunks else len(begun) + len(DATA) * 2
    with Wire(gunicorn.port) as wire:
        wire.send(form_head(length, target=path) + (chunk(data) if chunks else data))
        time.sleep(0.1)
        wire.half_close()
        answer = wire.answer()

    assert (answer.status, answer.code) == (400, "body-cut")
    assert not list(gunicorn.folder.iterdir())
    for exchange in gunicorn.peer.seen[before:]:
        assert exchange.was_cut()


WHOLE = form_body(
    ("title", None, b"book"),
    ("f", "a", DATA[:200_000]),
    ("f", "b", DATA[:300_000]),
    ("after", None, b"A"),
)
CUTS = {
    "in the first file": 150_000,
    "in the second file": 400_000,
    "behind the second file": WHOLE.index(b"after"),
    "in the last field": len(WHOLE) - 40,
    "in the last boundary": len(WHOLE) - 5,
}


@pytest.mark.parametrize("where", CUTS)
@pytest.mark.parametrize("path", ["/stored", "/forwarded"])
def test_no_file_of_a_truncated_form_is_published(either: Site, path: str, where: str) -> None:
    """Neither the truncated one nor the complete ones before it.

    Django's own parser would report success.
    """
    kept, before = either.kept(), len(either.peer.seen)
    with Wire(either.port) as wire:
        wire.send(form_head(len(WHOLE), target=path) + WHOLE[: CUTS[where]])
        wire.half_close()
        answer = wire.answer()

    assert answer.status == 400
    assert answer.code in ("body-cut", "bad-form")
    assert either.kept() == kept
    for exchange in either.peer.seen[before:]:
        assert exchange.was_cut()
    assert either.threads() == []


def test_nothing_is_left_when_the_client_resets(gunicorn: Site) -> None:
    """A reset of the connection removes the draft and ends its thread."""
    kept = gunicorn.kept()
    with Wire(gunicorn.port) as wire:
        wire.send(form_head(50 * MIB, target="/stored") + form_begun(("f", "a", b"")) + DATA)
        eventually(lambda: gunicorn.kept() != kept, "a draft is there")
        assert "sluiceway-request" in gunicorn.threads()
        wire.reset()
    eventually(lambda: gunicorn.kept() == kept, "the draft is gone")
    eventually(lambda: gunicorn.threads() == [], "the thread is gone")


def test_a_destinations_refusal_arrives_while_the_client_sends(either: Site) -> None:
    """With its status and text, after the first bytes of 50 MiB."""
    begun = form_begun(("title", None, b"refuse"), ("file", "a.bin", b""))
    with Wire(either.port) as wire:
        wire.send(form_head(len(begun) + 50 * MIB, target="/forwarded") + begun + bytes(3 * MIB))
        if either.reads_all_first:
            wire.send(bytes(47 * MIB))
        answer = wire.answer()

    assert (answer.status, answer.body) == (409, b"not this one")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert either.threads() == []


def test_a_missing_field_of_the_address_is_a_bad_form(gunicorn: Site) -> None:
    """The address of the destination needs the field `title`."""
    answer = post(gunicorn, "/forwarded", ("file", "a.bin", DATA))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-form")
    assert "'title'" in answer.json()["detail"]


def test_several_destinations_publish_all_or_none(gunicorn: Site) -> None:
    """A folder that the request names, and a server: if it refuses, the folder stays empty."""
    kept, before = gunicorn.kept(), len(gunicorn.peer.seen)
    refused = post(gunicorn, "/several?who=ann&place=refuse", ("f", "a.bin", DATA))
    assert refused.status_code == 409
    assert gunicorn.kept() == kept

    taken = post(gunicorn, "/several?who=ann&place=book", ("f", "a.bin", DATA))
    key, _, url = taken.json()["files"][0][4:]
    assert (gunicorn.store / "ann" / key).read_bytes() == DATA
    assert (gunicorn.peer.seen[before + 1].body, url) == (DATA, f"{gunicorn.peer.url}/files/7")


def test_a_too_large_form_is_refused(gunicorn: Site) -> None:
    """SLUICEWAY_MAX_SIZE limits all files of a form together."""
    kept = gunicorn.kept()
    begun = form_begun(("file", "a.bin", b""))
    with Wire(gunicorn.port) as wire:
        wire.send(form_head(len(begun) + 1000 * MIB, target="/stored") + begun)
        for _ in range(100):
            wire.send(bytes(MIB))
        wire.send(bytes(MIB))
        answer = wire.answer()

    assert (answer.status, answer.code) == (413, "too-large")
    assert gunicorn.kept() == kept


def test_uploads_refuses_a_chunked_body(gunicorn: Site) -> None:
    """Django treats it as empty and calls no upload handler; `parts` reads it."""
    answer = post(gunicorn, "/stored", ("file", "a", DATA), chunks=True)
    assert (answer.status_code, answer.json()["code"]) == (411, "length-required")


def test_uploads_refuses_a_coded_part(gunicorn: Site) -> None:
    """It would keep the coded bytes without the word."""
    kept = gunicorn.kept()
    own = {"Content-Encoding": "gzip"}
    files = {"file": ("a.txt", b"coded", "text/plain", own)}
    answer = requests.post(f"{gunicorn.url}/stored", files=files, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported")
    assert gunicorn.kept() == kept


def test_mistakes_in_a_view_are_logged_for_the_operator(gunicorn: Site) -> None:
    """A body that Django has read, and a stored file that is read again.

    A body that is not a form is the client's mistake: 400.
    """
    cookies = {"csrftoken": "a" * 32}
    late = requests.post(
        f"{gunicorn.url}/late",
        files={"f": b"1"},
        data={"csrfmiddlewaretoken": "a" * 32},
        cookies=cookies,
        timeout=10,
    )
    assert (late.status_code, late.json()["code"]) == (500, "bad-order")
    assert "log" in late.json()["detail"]

    again = post(gunicorn, "/read-again", ("file", "a", b"1"))
    assert (again.status_code, again.json()["code"]) == (500, "bad-order")
    assert "log" in again.json()["detail"]

    before = post(gunicorn, "/looked-before", ("file", "a", b"1"))
    assert (before.status_code, before.json()["code"]) == (500, "bad-order")
    assert "log" in before.json()["detail"]

    other = requests.post(f"{gunicorn.url}/save", json=[], timeout=10)
    assert (other.status_code, other.json()["code"]) == (400, "bad-request")


def test_the_rest_of_a_malformed_form_is_not_parsed_as_a_form(gunicorn: Site) -> None:
    """A view that catches the error gets empty mappings, and so does one that reads parts.

    Nothing is stored.
    """
    kept = gunicorn.kept()
    broken = form_body(("a", "b", b"1")).replace(b'name="a"', b"nothing")
    body = broken.replace(b"--\r\n", b"\r\n") + form_body(("file", "c", DATA))
    answer = requests.post(
        f"{gunicorn.url}/broken", data=body, headers={"Content-Type": FORM_TYPE}, timeout=10
    )

    assert answer.json() == {"error": "BadForm", "then": [0, 0]}
    assert post(
        gunicorn, "/twice", ("t", None, b"1"), ("f", "a", DATA), ("g", "b", b"2")
    ).json() == ["t", 0, 0]
    assert gunicorn.kept() == kept
