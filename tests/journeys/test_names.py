"""Names and keys from clients never lead out of the root: a corpus of known attacks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import TORTURE, tree
from hostile_names import CANARY, HOSTILE, RAW_TARGETS
from raw_http import form_body, form_head, head, talk


def mixtures() -> Iterator[str]:
    """Hostile pieces joined at random; the seed makes a failure repeatable."""
    chance = random.Random(7)
    for _ in range(5000 if TORTURE else 60):
        yield "".join(
            chance.choice(HOSTILE)[:300] + chance.choice(["", "/", "\\", "/../", "%2f"])
            for _ in range(chance.randint(1, 4))
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server whose root lies between folders that must not change."""
    around = tmp_path_factory.mktemp("guarded")
    for name in (CANARY, "root2/" + CANARY, "a/" + CANARY):
        (around / name).parent.mkdir(exist_ok=True)
        (around / name).write_text("not yours")
    server = start_server(around / "root")
    requests.put(f"{server.url}/files/inside", data=b"inside", timeout=10)
    yield server, around
    server.stop()


def outside(around: Path) -> dict[str, tuple[int, int, int]]:
    """Everything around the root, and our own folder in it."""
    return {
        name: what
        for name, what in tree(around).items()
        if not name.startswith("root/") and name != "root"
    }


def refused_or_inside(server: RunningServer, status: int, body: bytes) -> None:
    assert status < 500, body
    assert b"not yours" not in body


def test_no_key_leads_out_of_the_root(guarded: tuple[RunningServer, Path]) -> None:
    """PUT, GET, HEAD and DELETE of every hostile key: 4xx or inside, and nothing around changes."""
    server, around = guarded
    before = outside(around)
    for key in [*HOSTILE, *mixtures()]:
        target = "/files/" + quote(key, safe="/", errors="surrogatepass")
        for method, body in (("PUT", b"mine"), ("GET", b""), ("HEAD", b""), ("DELETE", b"")):
            request = (
                head(method, target[:60_000], "Connection: close", f"Content-Length: {len(body)}")
                + body
            )
            response = talk(server.port, request) if method != "HEAD" else None
            if response:
                refused_or_inside(server, response.status, response.body)

    assert outside(around) == before
    assert sorted(
        path.name for path in (server.root / ".sluiceway").iterdir() if path.name != "about"
    ) == ["drafts", "lasting", "processes", "servers"]
    assert server.drafts() == []


def test_no_raw_target_leads_out_of_the_root(guarded: tuple[RunningServer, Path]) -> None:
    """Targets that no client library sends: overlong UTF-8, bare percent signs, dots before
    /files.
    """
    server, around = guarded
    before = outside(around)
    for target in RAW_TARGETS:
        for method, body in ((b"PUT", b"mine"), (b"GET", b""), (b"DELETE", b"")):
            line = method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            response = talk(server.port, line + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            refused_or_inside(server, response.status, response.body)

    assert outside(around) == before


@pytest.mark.parametrize("way", ["query", "disposition", "form"])
def test_no_filename_leads_out_of_the_root(guarded: tuple[RunningServer, Path], way: str) -> None:
    """A filename is cleaned, never refused; the file is below its own id, also with folders in its
    name.
    """
    server, around = guarded
    before = outside(around)
    for name in [*HOSTILE, *list(mixtures())[:100]]:
        plain = "".join(character for character in name if character not in '\0\r\n"') or "x"
        if way == "query":
            response = talk(
                server.port,
                head("POST", "/files?name=" + quote(name, safe=""), "Content-Length: 4") + b"mine",
            )
        elif way == "disposition":
            disposition = "attachment; filename*=UTF-8''" + quote(name, safe="")
            response = talk(
                server.port,
                head("POST", "/files", f"Content-Disposition: {disposition}", "Content-Length: 4")
                + b"mine",
            )
        else:
            body = form_body(("f", plain, b"mine"))
            response = talk(server.port, form_head(len(body)) + body)

        if response.status == 400 and way == "disposition":
            continue  # an unreadable header gives no name
        assert response.status == 201, (name, response.body)
        (entry,) = response.json()["files"]
        folder, _, last = entry["key"].partition("/")
        assert len(folder) == 25
        assert "\\" not in last
        for segment in last.split("/"):
            assert segment.strip(" .")
            assert len(segment.encode()) <= 255
        assert (server.root / folder / last).read_bytes() == b"mine"
    assert outside(around) == before


def test_our_private_folder_is_neither_read_nor_written(
    guarded: tuple[RunningServer, Path],
) -> None:
    """Drafts and notes are no objects for PUT, GET, DELETE or the list."""
    server, _ = guarded
    (server.root / ".sluiceway" / "note").write_text("secret")
    for key in (".sluiceway/note", "%2esluiceway/note", ".SLUICEWAY/note", ".sluiceway"):
        put = requests.put(f"{server.url}/files/{key}", data=b"x", timeout=10)
        assert (put.status_code, put.json()["code"]) == (400, "bad-name")
        for response in (
            requests.get(f"{server.url}/files/{key}", timeout=10),
            requests.delete(f"{server.url}/files/{key}", timeout=10),
        ):
            assert (response.status_code, response.json()["code"]) == (404, "not-found")
    listed = requests.get(f"{server.url}/files?limit=1000", timeout=10).json()["files"]

    assert (server.root / ".sluiceway" / "note").read_text() == "secret"
    assert not [entry["key"] for entry in listed if ".sluiceway" in entry["key"].split("/")]
    (server.root / ".sluiceway" / "note").unlink()


@pytest.mark.parametrize(
    "template",
    ["../{filename}", "/{filename}", "a/../{id}", ".sluiceway/{id}", "{id}//{filename}", "a\\{id}"],
)
def test_a_template_that_leads_out_is_refused_at_start(tmp_path: Path, template: str) -> None:
    """--key-template is checked like any key, before the first upload."""
    with pytest.raises(AssertionError, match="key"):
        start_server(tmp_path / "root", "--key-template", template).stop()
