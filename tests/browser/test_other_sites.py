"""Pages of other sites in a real browser.

Allowed pages upload, all others reach nothing, and no uploaded file ever runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from rude_peer import Exchange, Peer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.chromium

RESULT = "() => window.result"
SEND = """
  <script type="module">
    const drop = document.querySelector("sluice-drop");
    await customElements.whenDefined("sluice-drop");
    for (const name of ["sluice-done", "sluice-error"]) {
      drop.addEventListener(name, ({ detail }) => {
        window.result = { name, code: detail.code, links: detail.links };
      });
    }
    drop.send([new File(["hello"], "hello.txt")]);
  </script>
"""


@contextmanager
def site() -> Iterator[ThreadingHTTPServer]:
    """Another site: an origin of its own, with one page that the test writes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body: bytes = getattr(self.server, "page", b"")
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def written(server: ThreadingHTTPServer, body: str) -> str:
    """Set the content of the site's page; returns its URL."""
    server.page = b"<!doctype html>" + body.encode()  # type: ignore[attr-defined]
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_the_element_works_on_a_page_of_an_allowed_origin(
    context: BrowserContext, serve: Serve
) -> None:
    """Script, upload, progress and answer come from the other server.

    The answer's link can be read and leads there.
    """
    with site() as other:
        origin = written(other, "")
        server = serve("--allow-origin", origin)
        written(
            other,
            f'<script type="module" src="{server.url}/page/sluice.js"></script>'
            f'<sluice-drop data-a="1"></sluice-drop>{SEND}',
        )
        page = context.new_page()
        page.goto(origin)
        page.wait_for_function(RESULT)
        result = page.evaluate(RESULT)

        assert result["name"] == "sluice-done"
        assert result["links"][0].startswith(server.url + "/files/")
        assert requests.get(result["links"][0], timeout=10).text == "hello"
        results = page.evaluate(
            """async (url) => {
              const putNew = (body) => fetch(
                url + "/files/by-page", { method: "PUT", body, headers: { "If-None-Match": "*" } });
              const put = await putNew("1");
              const again = await putNew("2");
              const gone = await fetch(url + "/files/by-page", { method: "DELETE" });
              return [put.status, put.headers.get("Location"), put.headers.get("ETag") !== null,
                      again.status, (await again.json()).code, gone.status];
            }""",
            server.url,
        )
        assert results == [201, "/files/by-page", True, 412, "precondition-failed", 204]


def test_a_page_that_is_not_allowed_neither_reads_nor_writes(
    context: BrowserContext, serve: Serve
) -> None:
    """Nothing of it reaches the store, whatever kind of request it makes."""
    server = serve("--allow-origin", "http://127.0.0.1:1")
    requests.put(f"{server.url}/files/secret", data=b"secret", timeout=10)
    with site() as other:
        page = context.new_page()
        page.goto(written(other, ""))
        results = page.evaluate(
            """async (url) => {
              const tries = [
                () => fetch(url + "/files").then((answer) => answer.text()),
                () => fetch(url + "/files/x", { method: "PUT", body: "1" }),
                () => fetch(url + "/files", { method: "POST", body: new FormData() }),
                () => fetch(url + "/files/secret", { method: "DELETE" }),
                () => import(url + "/page/sluice.js"),
              ];
              const ended = [];
              for (const attempt of tries) {
                ended.push(await attempt().then(() => "done", () => "refused"));
              }
              await fetch(url + "/files?name=blind", { method: "POST", body: "1", mode: "no-cors" })
                .catch(() => null);
              return ended;
            }""",
            server.url,
        )
    assert results == ["refused"] * 5
    assert server.stored() == {"secret": 6}


def test_a_rebound_name_reads_nothing_and_this_machines_names_work(
    context: BrowserContext, serve: Serve
) -> None:
    """The browser takes the page for the server's own origin.

    A window with a probe's response does not help it either.
    """
    server = serve()
    requests.put(f"{server.url}/files/secret", data=b"secret", timeout=10)
    page = context.new_page()
    for path in ("/", "/healthz"):
        answer = page.goto(f"http://evil.example:{server.port}{path}")
        assert answer is not None
        assert answer.status == 403
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert page.evaluate(
            "() => fetch('/files').then((answer) => answer.status, () => 'blocked')"
        ) in (403, "blocked")
    for name in ("localhost", "files.localhost", "127.0.0.1"):
        found = page.goto(f"http://{name}:{server.port}/files")
        assert found is not None
        assert found.status == 200
    assert server.stored() == {"secret": 6}


def test_an_uploaded_script_is_run_neither_by_the_page_nor_as_a_worker(
    context: BrowserContext, serve: Serve
) -> None:
    """A script injected into the page can load nothing that users uploaded."""
    server = serve()
    requests.put(
        f"{server.url}/files/evil.js",
        data=b"window.evil = 1",
        headers={"Content-Type": "text/javascript"},
        timeout=10,
    )
    page = context.new_page()
    page.goto(f"{server.url}/")
    results = page.evaluate(
        """async () => {
          const tag = document.createElement("script");
          tag.src = "/files/evil.js";
          const loaded = await new Promise((done) => {
            tag.onload = () => done("loaded");
            tag.onerror = () => done("refused");
            document.head.append(tag);
          });
          const worker = await navigator.serviceWorker.register("/files/evil.js")
            .then(() => "registered", () => "refused");
          const imported = await import("/files/evil.js").then(() => "imported", () => "refused");
          return [loaded, worker, imported, window.evil === undefined];
        }"""
    )
    assert results == ["refused", "refused", "refused", True]


@pytest.mark.parametrize("what", ["endpoint", "uploads"])
def test_a_token_is_sent_only_to_listed_origins(
    context: BrowserContext, serve: Serve, what: str
) -> None:
    """For other origins the upload does not start and the page gets the reason."""
    server, asked = serve(), list[Exchange]()

    def note(exchange: Exchange) -> None:
        asked.append(exchange)
        exchange.reply(204)

    with Peer(note) as elsewhere, site() as own:
        written(own, "")
        for listed, code in (("", "token-elsewhere"), (f"http://x.example {elsewhere.url}", None)):
            place = f'{what}="{elsewhere.url}/files" token="secret-token" token-origins="{listed}"'
            copied = (
                f'<script type="module" src="{server.url}/page/sluice.js"></script>'
                f"<sluice-drop {place}></sluice-drop>{SEND}"
            )
            page = context.new_page()
            page.route(f"{server.url}/**", _as_own)
            page.goto(written(own, copied))
            page.wait_for_function("() => customElements.get('sluice-drop')")
            if code is not None:
                page.wait_for_function(RESULT)
                assert page.evaluate(RESULT)["code"] == code
                assert asked == []
            elif what == "endpoint":
                eventually(lambda: asked != [], "the listed origin is asked")
            page.close()


def _as_own(route: object) -> None:
    """Let the page load the script from its server; the test is about where the token goes."""
    from playwright.sync_api import Route

    assert isinstance(route, Route)
    answer = route.fetch()
    route.fulfill(response=answer, headers={**answer.headers, "access-control-allow-origin": "*"})


def test_the_page_works_under_a_policy_that_names_its_own_parts_alone(
    context: BrowserContext, serve: Serve
) -> None:
    """Its modules load and an upload works.

    This also holds where a proxy changed the Host, so that only the nonce matches.
    """
    server: RunningServer = serve("--allowed-host", "behind.example")
    page = context.new_page()
    errors: list[str] = []
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.route(
        f"{server.url}/",
        lambda route: route.continue_(headers={**route.request.headers, "host": "behind.example"}),
    )
    for _ in range(2):
        page.goto(f"{server.url}/")
        page.wait_for_load_state("networkidle")
    linked = page.locator("link[rel=stylesheet]").count()
    assert page.evaluate("() => document.styleSheets.length") == linked > 0
    assert errors == []
