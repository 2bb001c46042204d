"""The list of stored files: pages, hostile names as plain text, deletion on a second press only."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from browser.conftest import OpenPage
from fix_server import Serve

pytestmark = pytest.mark.chromium


def test_long_lists_come_in_pages(serve: Serve, visit: OpenPage) -> None:
    """120 files.

    The first fifty, then more by a button, until all are there and the button is gone.
    """
    server = serve("--key-template", "{filename}")
    with requests.Session() as session:
        for number in range(120):
            session.put(f"{server.url}/files/{number:03}.txt", data=b"x", timeout=10)
    page = visit(server.url)
    more = page.page.get_by_role("button", name="Show more")

    expect(page.stored).to_have_count(50)
    more.click()
    expect(page.stored).to_have_count(100)
    more.click()
    expect(page.stored).to_have_count(120)
    expect(more).to_be_hidden()


def test_all_files_come_as_one_zip(serve: Serve, visit: OpenPage, tmp_path: Path) -> None:
    """A link beside the heading, once there is more than one file."""
    server = serve()
    page = visit(server.url)
    link = page.page.get_by_role("link", name="All as .zip")
    for name in ("one.txt", "two.txt"):
        expect(link).to_be_hidden()
        (tmp_path / name).write_text(name)
        page.choose(tmp_path / name)
        expect(page.stored.filter(has_text=name)).to_be_visible()

    with page.page.expect_download() as coming:
        link.click()
    coming.value.save_as(tmp_path / "all.zip")
    assert coming.value.suggested_filename == "files.zip"
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(archive.read(name) for name in archive.namelist()) == [b"one.txt", b"two.txt"]


def test_a_name_is_text_whatever_it_contains(serve: Serve, visit: OpenPage, tmp_path: Path) -> None:
    """Markup in a name is shown and does not run.

    In the queue, and in the list, which may contain files that other programs stored.
    """
    server = serve()
    name = "<img src=x onerror=document.title='run'>.txt"
    server.root.mkdir(exist_ok=True)
    (server.root / name).write_bytes(b"x")
    (tmp_path / name).write_bytes(b"x")
    page = visit(server.url)
    expect(page.stored.locator(".name")).to_have_text(name)

    page.choose(tmp_path / name)
    expect(page.page.locator(".row .name")).to_have_text(name)
    expect(page.stored).to_have_count(2)
    assert page.page.locator("main img").count() == 0
    assert "run" not in page.page.title()


def test_a_file_is_deleted_only_on_the_second_press(serve: Serve, visit: OpenPage) -> None:
    """The first press asks, leaving the button disarms it, the second press deletes."""
    server = serve()
    for name in ("keep.txt", "drop.txt"):
        requests.post(f"{server.url}/files", params={"name": name}, data=b"x", timeout=10)
    page = visit(server.url)
    button = page.page.locator(".stored-row", has_text="drop.txt").locator(".delete")

    button.click()
    expect(button).to_have_text("Really?")
    page.page.get_by_role("button", name="Choose files").focus()
    expect(button).to_have_text("Delete")
    assert len(server.stored()) == 2

    button.click()
    button.click()
    expect(page.stored).to_have_count(1)
    assert [key.rpartition("/")[2] for key in server.stored()] == ["keep.txt"]


def test_the_lines_for_terminals_name_this_very_server(serve: Serve, visit: OpenPage) -> None:
    """The curl command of the page works unchanged and stores a file here."""
    server = serve()
    page = visit(server.url)

    expect(page.page.locator("#line-curl")).to_have_text(
        f"curl -T big.iso {server.url}/files/big.iso"
    )
    expect(page.page.locator("#line-python")).to_contain_text(f'"{server.url}/files/big.iso"')
