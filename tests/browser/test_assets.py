"""The page's files as they are served: types, validators, policy. Needs no browser."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve

PAGE = Path(str(files("sluiceway.server").joinpath("page")))
ASSETS = sorted(
    path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.*") if "py" not in path.suffix
)
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "ts": "text/plain; charset=utf-8",
}


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    return serve()


def test_every_asset_has_its_type_and_strict_headers(server: RunningServer) -> None:
    """Each file is served under its path; the policy allows nothing from elsewhere."""
    for path in ["/", *(f"/page/{name}" for name in ASSETS)]:
        answer = requests.get(server.url + path, timeout=10)
        suffix = "html" if path == "/" else path.rpartition(".")[2]

        assert answer.status_code == 200, path
        assert answer.headers["Content-Type"] == TYPES.get(suffix, "image/svg+xml")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy


def test_the_policy_allows_the_pages_own_assets_only(server: RunningServer) -> None:
    """Scripts and styles need a nonce that is new each time, or come from /page/.

    The policy repeats no other part of a request's Host.
    """

    def sources(host: str) -> tuple[str, list[str]]:
        answer = requests.get(server.url + "/", headers={"Host": host}, timeout=10)
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy["script-src"] == policy["style-src"]
        assert policy["worker-src"] == policy["base-uri"] == "'none'"
        assert "ETag" not in answer.headers
        nonce, *rest = policy["script-src"].split(" ")
        loads = re.findall(r"<(?:script|link) [^>]*>", answer.text)
        assert len(loads) >= 3
        assert all(f'nonce="{nonce[7:-1]}"' in element for element in loads)
        return nonce, rest

    (one, first), (two, second) = sources(f"127.0.0.1:{server.port}"), sources("localhost")
    assert one != two
    assert (first, second) == ([f"127.0.0.1:{server.port}/page/"], ["localhost/page/"])
    assert sources("[::1]:8000")[1] == []


def test_an_unchanged_asset_is_not_sent_again(server: RunningServer) -> None:
    """A strong ETag.

    The same tag gets 304 without a body, another tag the whole asset.
    """
    first = requests.get(f"{server.url}/page/sluice.js", timeout=10)
    tag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)

    for known, status in (
        (tag, 304),
        (f"W/{tag}", 304),
        (f'"old", {tag}', 304),
        ("*", 304),
        ('"old"', 200),
    ):
        again = requests.get(
            f"{server.url}/page/sluice.js", headers={"If-None-Match": known}, timeout=10
        )
        assert again.status_code == status, known
        assert again.headers["ETag"] == tag
        assert (again.content == b"") == (status == 304)


def test_head_has_the_headers_of_get(server: RunningServer) -> None:
    """HEAD has GET's headers."""
    for path in ("/", "/page/page.css"):
        got, head = (
            requests.get(server.url + path, timeout=10),
            requests.head(server.url + path, timeout=10),
        )
        assert head.content == b""
        for name in ("Content-Type", "Content-Length", "ETag", "Content-Security-Policy"):
            assert _without_nonce(head.headers.get(name)) == _without_nonce(got.headers.get(name))


def _without_nonce(value: str | None) -> str:
    return re.sub(r"'nonce-[^']*'", "", value or "")


@pytest.mark.parametrize(
    "name", ["nothing.js", "../page.py", "..%2Fpage.py", "%2e%2e/page.py", "..\\page.py", ""]
)
def test_only_the_pages_own_assets_can_be_requested(server: RunningServer, name: str) -> None:
    """Other names, and names that try to climb, get a readable 404."""
    request = requests.Request("GET", server.url).prepare()
    request.url = f"{server.url}/page/{name}"  # as it is: requests would tidy it
    with requests.Session() as session:
        answer = session.send(request, timeout=10)

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not-found"


def test_nothing_on_the_page_comes_from_elsewhere_or_stands_inline() -> None:
    """No asset contains another host's address, an inline script or an inline style, or creates
    one.
    """
    for name in ASSETS:
        text = (PAGE / name).read_text("utf-8")
        foreign = [
            url
            for url in re.findall(r"https?://[^\s\"'`]*", text)
            if url != "http://www.w3.org/2000/svg"
        ]
        assert foreign == [], name
        for inline in (
            r"<script(?![^>]*\bsrc=)",
            r"<style",
            r"\sstyle=",
            r"\son[a-z]+=\"",
            r"innerHTML",
            r"\beval\(",
        ):
            assert not re.search(inline, text), (name, inline)
