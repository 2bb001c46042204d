"""Uploaders that nobody here wrote, in Chromium, on a page of another site that may write here.

Lines break; the browser's rules of other sites (CORS) hold for each request.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from browser.other_app import OtherApp, other_app
from cutting_proxy import CuttingProxy
from fix_npm import npm_package
from fix_server import RunningServer, start_server

pytestmark = pytest.mark.chromium

SIZE = 2_500_000
CUT = 1_000_000  # bytes of a connection
BYTES = """(size) => {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) bytes[at] = (at * 31 + (at >> 8)) % 251;
  return bytes;
}"""
TUS = """([endpoint, name, size, options]) => new Promise((resolve, reject) => {
  const upload = new tus.Upload(new File([bytes(size)], name), {
    endpoint, retryDelays: [0, 50, 100, 200, 400], metadata: { filename: name },
    onSuccess: () => resolve(upload.url), onError: (error) => reject(String(error)), ...options,
  });
  upload.start();
})"""
UPPY = """async ([plugin, name, size, options]) => {
  const uppy = new Uppy.Uppy().use(Uppy[plugin], options);
  uppy.addFile({ name, type: "application/x-books", data: new Blob([bytes(size)]) });
  const { successful, failed } = await uppy.upload();
  return [successful.length, failed.map(({ error }) => error)];
}"""


def sent() -> bytes:
    """What the pages make of SIZE."""
    return bytes((at * 31 + (at >> 8)) % 251 for at in range(SIZE))


@pytest.fixture(scope="module")
def site() -> Iterator[OtherApp]:
    with other_app() as app:
        app.page = "<!doctype html><title>A page of another site</title>"
        yield app


@pytest.fixture(scope="module")
def taker(site: OtherApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("taker") / "root"
    server = start_server(root, "--allow-origin", site.url)
    yield server
    server.stop()


def page_of(context: BrowserContext, site: OtherApp, script: Path) -> Page:
    page = context.new_page()
    page.goto(site.url + "/")
    page.add_script_tag(path=script)
    page.evaluate(f"globalThis.bytes = {BYTES}")
    return page


def stored_as(server: RunningServer, name: str) -> bytes:
    (key,) = [key for key in server.stored() if key.endswith(f"/{name}")]
    return (server.root / key).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.torture),
        {"chunkSize": 700_000, "uploadDataDuringCreation": True},
        pytest.param(
            {"uploadLengthDeferred": False, "overridePatchMethod": True}, marks=pytest.mark.torture
        ),
        {"parallelUploads": 3},
    ],
    ids=["one-request", "chunks", "override", "parallel"],
)
def test_tus_js_client_goes_on_through_a_line_that_breaks(
    context: BrowserContext, site: OtherApp, taker: RunningServer, options: dict[str, Any]
) -> None:
    name = f"tus-{'-'.join(options)}.bin"
    page = page_of(context, site, npm_package("tus-js-client") / "dist" / "tus.min.js")
    with CuttingProxy(taker.port, CUT) as proxy:
        url = page.evaluate(TUS, [f"{proxy.url}/files", name, SIZE, options])
        assert url.startswith(proxy.url)
    assert stored_as(taker, name) == sent()


@pytest.mark.parametrize("plugin", ["Tus", pytest.param("XHRUpload", marks=pytest.mark.torture)])
def test_uppy_stores_a_file(
    context: BrowserContext, site: OtherApp, taker: RunningServer, plugin: str
) -> None:
    """Its tus uploader goes on through a line that breaks."""
    page = page_of(context, site, npm_package("uppy") / "dist" / "uppy.min.js")
    name = f"uppy-{plugin}.bin"
    with CuttingProxy(taker.port, CUT if plugin == "Tus" else None) as proxy:
        options = {"endpoint": f"{proxy.url}/files", "retryDelays": [0, 50, 100, 200, 400]}
        if plugin == "XHRUpload":
            options = {"endpoint": f"{proxy.url}/files", "fieldName": "file"}
        assert page.evaluate(UPPY, [plugin, name, SIZE, options]) == [1, []]
    assert stored_as(taker, name) == sent()


def test_a_page_reads_what_it_needs(
    context: BrowserContext, site: OtherApp, taker: RunningServer
) -> None:
    """Each header of tus is exposed, on errors too; PATCH, HEAD and DELETE are allowed."""
    page = page_of(context, site, npm_package("tus-js-client") / "dist" / "tus.min.js")
    found = page.evaluate(
        """async (server) => {
          const version = { "Tus-Resumable": "1.0.0" };
          const said = (response, names) => [response.status,
            ...names.filter((name) => response.headers.has(name))];
          const options = await fetch(`${server}/files`, { method: "OPTIONS" });
          const made = await fetch(`${server}/files`, { method: "POST", headers: { ...version,
            "Upload-Defer-Length": "1", "Upload-Metadata": "a YQ==",
            "Upload-Concat": "partial" } });
          const url = new URL(made.headers.get("Location"), made.url);
          const head = await fetch(url, { method: "HEAD", headers: version });
          const wrong = await fetch(url, { method: "PATCH", body: "x", headers: { ...version,
            "Upload-Offset": "7", "Content-Type": "application/offset+octet-stream" } });
          const ended = await fetch(url, { method: "DELETE", headers: version });
          return [
            said(options, ["Tus-Version", "Tus-Extension", "Tus-Checksum-Algorithm"]),
            said(made, ["Location", "Upload-Expires", "Tus-Resumable"]),
            said(head, ["Upload-Offset", "Upload-Defer-Length", "Upload-Metadata",
              "Upload-Concat"]),
            said(wrong, ["Upload-Offset", "Tus-Resumable"]),
            said(ended, ["Tus-Resumable"]),
          ];
        }""",
        taker.url,
    )
    assert [each[0] for each in found] == [204, 201, 200, 409, 204]
    assert [len(each) - 1 for each in found] == [3, 3, 4, 2, 1]
