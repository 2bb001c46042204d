"""All ways to add a file to the page (choose, drop, folders, paste), and the row of a finished
upload.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FilePayload, expect

from browser.conftest import OpenPage
from browser.slow_destination import SlowServer
from fix_server import Serve
from fix_taking import TORTURE
from sluiceway.pipe.hashes import digest_of

pytestmark = pytest.mark.chromium

MakeFile = Callable[[str, int], Path]
THOUSANDS = 3000 if TORTURE else 1000  # of files


def test_a_chosen_file_is_stored_and_its_row_says_where_and_what(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """One chosen file is stored byte for byte.

    The row shows 100 %, time, link and digest, and the list shows the file.
    """
    server = serve()
    page = visit(server.url)
    expect(page.page.locator("#stored-note")).to_have_text("Nothing is stored yet.")
    file = make_file("holiday in Zürich.jpg", 3_000_000)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    page.choose(file)
    row = page.wait_for("holiday in Zürich.jpg", "done")

    expect(row.locator(".percent")).to_have_text("100 %")
    expect(row.locator(".status")).to_contain_text("stored, finished in ")
    expect(row.locator(".digest code")).to_have_text(f"{digest[:6]}…{digest[-6:]}")
    expect(row.locator(".digest code")).to_have_attribute("title", digest)
    link = row.get_by_role("link", name="Open holiday in Zürich.jpg").get_attribute("href") or ""
    assert page.page.request.get(link).body() == file.read_bytes()
    expect(page.stored).to_have_count(1)
    expect(page.stored.first.locator(".name")).to_have_text("holiday in Zürich.jpg")
    expect(page.stored.first.locator(".size")).to_have_text("3 MB")
    assert list(server.stored().values()) == [3_000_000]
    assert server.drafts() == []


def test_the_whole_digest_goes_to_the_clipboard(
    serve: Serve, visit: OpenPage, make_file: MakeFile, context: BrowserContext
) -> None:
    """The row shows the digest shortened; its button copies all 64 digits."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit(serve().url)
    file = make_file("a.bin", 5000)
    page.choose(file)

    copy = page.wait_for("a.bin", "done").locator(".copy")
    copy.click()

    expect(copy).to_have_text("Copied")
    assert (
        page.page.evaluate("() => navigator.clipboard.readText()")
        == hashlib.sha256(file.read_bytes()).hexdigest()
    )


def test_the_row_names_the_algorithm_that_the_server_counted(
    serve: Serve, visit: OpenPage, make_file: MakeFile, nothing_extra: dict[str, str]
) -> None:
    """CRC64NVME, BLAKE3, and no digest at all where `auto` finds no library for it."""
    file = make_file("a.bin", 5000)
    for digest, env, algorithm in (
        ("blake3", None, "blake3"),
        ("auto", None, "crc64nvme"),
        ("auto", nothing_extra, ""),
    )[0 if TORTURE else 1 :]:
        page = visit(serve("--digest", digest, env=env).url)
        page.choose(file)
        row = page.wait_for("a.bin", "done")
        if not algorithm:
            expect(row.locator(".digest")).to_be_hidden()
            continue
        expect(row.locator(".algorithm")).to_have_text(algorithm, ignore_case=True)
        digits = digest_of(algorithm, file.read_bytes()).hex()
        expect(row.locator(".digest code")).to_have_attribute("title", digits)


def test_dropped_files_and_folders_are_stored_with_everything_inside(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """Drop a file and a folder with 101 files and a folder in it.

    All are stored, rows show where each one lay.
    """
    server = serve()
    page = visit(server.url)
    single = make_file("single.txt", 10)
    make_file("album/deep/er/last.jpg", 20)
    for number in range(101):  # a directory reader gives at most 100 names at once
        make_file(f"album/{number:03}.jpg", 1000 + number)

    page.drop(single, single.parent / "album")

    expect(page.summary).to_have_text("103 files stored", timeout=60_000)
    assert sorted(server.stored().values()) == sorted([10, 20, *range(1000, 1101)])
    row = page.wait_for("last.jpg", "done")
    expect(row.locator(".folder")).to_have_text("album/deep/er/")
    assert (
        sum(
            key.endswith(tuple(f"/album/{number:03}.jpg" for number in range(101)))
            for key in server.stored()
        )
        == 101
    )
    assert [
        size for key, size in server.stored().items() if key.endswith("/album/deep/er/last.jpg")
    ] == [20]


def test_dragging_files_over_the_page_shows_what_a_drop_does(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """The whole page is the target.

    A veil with text appears while files are over it, and disappears with them.
    """
    page = visit(serve().url)
    veil = page.page.locator("#veil")
    data = {
        "items": [],
        "files": [str(make_file("a", 1)), str(make_file("b", 1))],
        "dragOperationsMask": 1,
    }
    devtools = page.page.context.new_cdp_session(page.page)
    expect(veil).to_be_hidden()

    for kind in ("dragEnter", "dragOver"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 5, "y": 5, "data": data})
    expect(veil).to_be_visible()
    expect(veil).to_contain_text("Let go to send")
    devtools.detach()  # the drag ends somewhere else: no further word from it

    expect(veil).to_be_hidden()


def test_a_chosen_folder_is_stored_whole(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """Choose a folder: each file inside is stored, its row shows the path."""
    server = serve()
    page = visit(server.url)
    make_file("notes/one.txt", 11)
    folder = make_file("notes/more/two.txt", 22).parent.parent

    with page.page.expect_file_chooser() as chooser:
        page.page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(str(folder))

    expect(page.summary).to_have_text("2 files stored")
    assert sorted(server.stored().values()) == [11, 22]
    expect(page.row("two.txt").locator(".folder")).to_have_text("notes/more/")
    assert sorted(key.partition("/")[2] for key in server.stored()) == [
        "notes/more/two.txt",
        "notes/one.txt",
    ]


def test_files_of_one_name_in_different_folders_are_distinguished(
    serve: Serve, visit: OpenPage, make_file: MakeFile
) -> None:
    """album/a/README and album/b/README: rows and list show the folders.

    Delete removes the right one.
    """
    server = serve()
    page = visit(server.url)
    make_file("album/a/README", 11)
    folder = make_file("album/b/README", 22).parent.parent

    with page.page.expect_file_chooser() as chooser:
        page.page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(str(folder))
    expect(page.summary).to_have_text("2 files stored")

    expect(page.page.locator(".row .folder")).to_have_text(["album/a/", "album/b/"])
    shown = page.page.locator("#stored-rows .stored-row .folder")
    expect(shown).to_have_count(2)
    assert sorted(shown.all_text_contents()) == ["album/a/", "album/b/"]
    delete = page.page.get_by_role("button", name="Delete album/a/README")
    delete.click()
    page.page.get_by_role("button", name="Really delete album/a/README").click()
    expect(page.stored).to_have_count(1)
    assert list(server.stored().values()) == [22]


@pytest.mark.parametrize("flatten", [False, pytest.param(True, marks=pytest.mark.torture)])
def test_a_pages_own_form_for_a_folder_keeps_the_paths(
    serve: Serve, visit: OpenPage, make_file: MakeFile, flatten: bool
) -> None:
    """<input webkitdirectory> in a form without a script: the browser sends paths as names.

    --flatten drops them.
    """
    server = serve(*(["--flatten"] if flatten else []))
    page = visit(server.url).page
    make_file("album/a/README", 11)
    folder = make_file("album/b/README", 22).parent.parent
    page.set_content(
        '<form method="post" action="/files" enctype="multipart/form-data">'
        '<input type="file" name="f" webkitdirectory multiple><button>Send</button></form>'
    )
    page.locator("input").set_input_files(str(folder))
    with page.expect_navigation():
        page.get_by_role("button", name="Send").click()

    kept = sorted(key.partition("/")[2] for key in server.stored())
    assert kept == (["README", "README"] if flatten else ["album/a/README", "album/b/README"])


def test_files_missing_in_the_list_are_counted(serve: Serve, visit: OpenPage) -> None:
    """Another program stores a file whose name is not UTF-8.

    The list says that it cannot show one file.
    """
    server = serve()
    (server.root / "seen.txt").write_bytes(b"1")
    with open(os.fsencode(server.root) + b"/caf\xe9", "wb") as file:
        file.write(b"2")
    page = visit(server.url)

    expect(page.stored).to_have_count(1)
    expect(page.page.locator("#stored-note")).to_contain_text("1 file cannot be shown")


def test_a_pasted_picture_is_stored_under_the_moment(
    serve: Serve, visit: OpenPage, context: BrowserContext
) -> None:
    """Ctrl+V with a picture on the clipboard stores it at once.

    The name is the time, not "image.png".
    """
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    server = serve()
    page = visit(server.url)
    page.page.evaluate(
        """async () => {
          const canvas = document.createElement("canvas");
          const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
          await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }"""
    )

    page.page.keyboard.press("Control+V")

    page.wait_for("pasted 20", "done")
    (key,) = server.stored()
    assert key.endswith(".png")


def test_pasted_text_is_stored_only_after_confirmation(
    serve: Serve, visit: OpenPage, context: BrowserContext
) -> None:
    """A clipboard may hold a secret: the page sends text only after a yes, and forgets it on
    Escape.
    """
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    server = serve()
    page = visit(server.url)
    offer = page.page.locator("#offer")
    page.page.evaluate("() => navigator.clipboard.writeText('grüße')")

    page.page.keyboard.press("Control+V")
    expect(offer).to_contain_text("5 characters")
    page.page.keyboard.press("Escape")
    expect(offer).to_be_hidden()
    assert server.stored() == {}

    page.page.keyboard.press("Control+V")
    page.page.get_by_role("button", name="Store it as a file").click()
    page.wait_for("pasted 20", "done")

    (path,) = (server.root / key for key in server.stored())
    assert path.read_text("utf-8") == "grüße"


def test_two_files_are_sent_at_a_time(
    visit: OpenPage, make_file: MakeFile, slow: Callable[..., SlowServer]
) -> None:
    """Of five files, at most two run at the same time.

    The others show that they wait, and all are stored in the end.
    """
    server = slow(rate=3_000_000)
    page = visit(server.url)
    page.choose(*(make_file(f"{number}.bin", 1_500_000) for number in range(5)))

    expect(page.status("4.bin")).to_have_text("waiting for its turn")
    most = 0
    while page.page.locator(".row:not([data-state=done])").count():
        most = max(
            most, page.page.locator(".row:is([data-state=sending], [data-state=finishing])").count()
        )
        page.page.wait_for_timeout(50)

    assert most == 2
    expect(page.summary).to_have_text("5 files stored")


def test_thousands_of_files_keep_the_page_usable(serve: Serve, visit: OpenPage) -> None:
    """Only some have a row, the page counts the rest, and one button cancels all."""
    page = visit(serve().url)
    with page.page.expect_file_chooser() as chooser:
        page.page.get_by_role("button", name="Choose files").click()
    files: list[FilePayload] = [
        {"name": f"{n}.txt", "mimeType": "text/plain", "buffer": b"x"} for n in range(THOUSANDS)
    ]
    chooser.value.set_files(files)

    expect(page.page.locator("#unshown")).to_contain_text("more files, waiting or done")
    assert page.page.locator(".row").count() < 50
    page.page.get_by_role("button", name="Cancel all").click()

    expect(page.page.get_by_role("button", name="Cancel all")).to_be_hidden()
    expect(page.page.locator("#unshown")).to_be_hidden()
    expect(page.page).to_have_title(re.compile(r"^([0-9,]+ files? stored – )?Sluiceway$"))
