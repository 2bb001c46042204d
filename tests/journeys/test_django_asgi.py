"""Django under ASGI: our app runs beside the site; `parts` says that it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from fix_django import DATA, MIB, Site, post, site
from fix_taking import eventually
from raw_http import Wire, form_body, form_head

UVICORN = ["-m", "uvicorn", "--port", "{port}", "django_site:asgi"]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(UVICORN, tmp_path_factory) as running:
        yield running


def test_under_asgi_our_app_runs_beside_django(beside: Site) -> None:
    """It serves the page, stores an upload while it arrives, and its links have the prefix."""
    page = requests.get(f"{beside.url}/drop/", timeout=10)
    assert page.status_code == 200
    for reference in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text):
        assert requests.get(f"{beside.url}/drop/{reference}", timeout=10).status_code == 200
    assert "/drop/" not in page.text  # its links are relative

    with Wire(beside.port) as wire:
        whole = form_body(("f", "a ü.bin", DATA))
        wire.send(form_head(len(whole), target="/drop/files") + whole[:-MIB])
        eventually(
            lambda: any(
                path.stat().st_size > 512 << 10
                for path in beside.store.rglob("*")
                if path.is_file()
            ),
            "a draft",
        )
        wire.send(whole[-MIB:])
        answer = wire.answer()
    assert answer.status == 201
    place = answer.headers["location"]
    assert place.startswith("/drop/files/")
    assert answer.json()["files"][0]["url"] == place
    assert requests.get(f"{beside.url}{place}", timeout=10).content == DATA
    assert requests.get(f"{beside.url}/threads", timeout=10).json()[0] == "MainThread"
    assert requests.get(f"{beside.url}/drop", timeout=10).status_code == 404


def test_under_asgi_parts_raises_bad_order(beside: Site) -> None:
    """Django reads the whole body before it calls the view; @uploads still works, but later."""
    answer = post(beside, "/walk", ("f", "a", b"1"))
    assert (answer.status_code, answer.json()["code"]) == (500, "bad-order")
    assert "log" in answer.json()["detail"]

    stored = post(beside, "/stored", ("t", None, b"1"), ("f", "a", DATA))
    assert (stored.status_code, stored.json()["fields"]) == (201, {"t": ["1"]})
    assert (beside.store / stored.json()["files"][0][4]).read_bytes() == DATA
