"""The list of stored files as a person uses it: folders, search, order, selection, names, tabs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, FilePayload, Locator, expect

from browser.conftest import OpenPage
from browser.uploads_page import UploadsPage
from fix_server import RunningServer, start_server

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Keys are the clients' paths: names can be taken. Each test has a folder of its own."""
    server = start_server(tmp_path_factory.mktemp("list") / "root", "--key-template", "{path}")
    yield server
    server.stop()


def put(server: RunningServer, path: str, data: bytes = b"x", kind: str = "text/plain") -> None:
    answer = requests.put(
        f"{server.url}/files/{path}", data=data, headers={"Content-Type": kind}, timeout=20
    )
    assert answer.status_code in (200, 201)


def payload(name: str, data: bytes = b"new") -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": data}


def names(rows: Locator) -> list[str]:
    return [text.strip() for text in rows.locator(".name").all_text_contents()]


def look_into(page: UploadsPage, folder: str) -> UploadsPage:
    page.page.evaluate("(folder) => { location.hash = new URLSearchParams({ folder }) }", folder)
    expect(page.page.locator("[aria-current=page]")).to_have_text(folder.rstrip("/"))
    return page


def test_a_person_walks_through_folders(server: RunningServer, visit: OpenPage) -> None:
    """A folder opens by its link; the way back is above, and in the browser's history."""
    put(server, "walk/one.txt")
    put(server, "walk/deep/two.txt")
    page = visit(server.url)
    folders = page.page.locator(".stored-row-folder")
    folders.get_by_role("link", name="Open folder walk/").click()
    expect(page.stored.locator(".name")).to_have_text(["one.txt"])
    folders.get_by_role("link", name="Open folder walk/deep/").click()
    expect(page.stored.locator(".name")).to_have_text(["two.txt"])
    crumbs = page.page.get_by_role("navigation", name="Folders above")
    expect(crumbs.get_by_role("link")).to_have_text(["All files", "walk", "deep"])
    expect(crumbs.get_by_role("link").last).to_have_attribute("aria-current", "page")

    crumbs.get_by_role("link", name="walk").click()
    expect(page.stored.locator(".name")).to_have_text(["one.txt"])
    page.page.go_back()
    expect(page.stored.locator(".name")).to_have_text(["two.txt"])
    page.page.reload()
    expect(page.stored.locator(".name")).to_have_text(["two.txt"])


def test_files_are_searched_and_sorted(server: RunningServer, visit: OpenPage) -> None:
    """Newest first at the beginning; every order; words that match in any folder below."""
    for name, size in (("b 10.txt", 3), ("a.txt", 9), ("b 9.txt", 1), ("sub/c b.txt", 5)):
        put(server, f"order/{name}", b"x" * size)
    page = look_into(visit(server.url), "order/")
    order = page.page.get_by_role("combobox", name="Order")
    expect(order).to_have_value("-modified")
    for value, expected in (
        ("-modified", ["b 9.txt", "a.txt", "b 10.txt"]),
        ("name", ["a.txt", "b 9.txt", "b 10.txt"]),
        ("-size", ["a.txt", "b 10.txt", "b 9.txt"]),
        ("modified", ["b 10.txt", "a.txt", "b 9.txt"]),
    ):
        order.select_option(value)
        expect(page.stored.locator(".name")).to_have_text(expected)

    page.page.get_by_role("searchbox", name="Search").fill("B txt")
    expect(page.stored).to_have_count(3)
    expect(page.stored.filter(has_text="c b.txt").locator(".folder")).to_have_text("sub/")
    page.page.get_by_role("searchbox", name="Search").fill("nothing like it")
    expect(page.page.locator("#stored-note")).to_have_text("No file matches.")


def test_a_new_upload_is_shown_whatever_is_looked_at(
    server: RunningServer, visit: OpenPage
) -> None:
    """Sixty files by name, and in another folder: the new one is on top, and marked."""
    for number in range(60):
        put(server, f"many/{number:02}.txt")
    page = look_into(visit(server.url), "many/")
    page.page.get_by_role("combobox", name="Order").select_option("name")
    expect(page.stored).to_have_count(50)
    page.page.locator("#files").set_input_files([payload("zz-new.txt")])

    expect(page.stored).to_have_count(51)
    expect(page.stored.first.locator(".name")).to_have_text("zz-new.txt")
    expect(page.stored.first.locator(".new")).to_be_visible()


def test_selected_files_are_downloaded_and_deleted_together(
    server: RunningServer, visit: OpenPage, tmp_path: Path
) -> None:
    """Two of three as a zip; deleting asks, with the number of files; the third one stays."""
    for name in ("a.txt", "b.txt", "keep.txt"):
        put(server, f"pick/{name}", name.encode())
    page = look_into(visit(server.url), "pick/")
    buttons = page.page.locator("#selection-buttons")
    expect(page.stored).to_have_count(3)
    expect(buttons).to_be_hidden()
    for name in ("a.txt", "b.txt"):
        page.page.get_by_role("checkbox", name=f"Select pick/{name}").check()
    expect(page.page.locator("#selection-count")).to_have_text("2 files selected")
    with page.page.expect_download() as coming:
        buttons.get_by_role("button", name="Download as .zip").click()
    coming.value.save_as(tmp_path / "two.zip")
    with zipfile.ZipFile(tmp_path / "two.zip") as archive:
        assert sorted(archive.namelist()) == ["a.txt", "b.txt"]

    buttons.get_by_role("button", name="Delete").click()
    dialog = page.page.get_by_role("dialog", name="Delete 2 files?")
    page.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.stored).to_have_count(3)
    buttons.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.stored.locator(".name")).to_have_text(["keep.txt"])
    expect(page.announcer).to_contain_text("2 files deleted")
    assert [path.name for path in (server.root / "pick").iterdir()] == ["keep.txt"]


def test_all_that_is_shown_is_selected_at_once(server: RunningServer, visit: OpenPage) -> None:
    """One box selects all, shows that some are selected, and selects none again."""
    for name in ("a.txt", "b.txt"):
        put(server, f"all/{name}")
    page = look_into(visit(server.url), "all/")
    box = page.page.get_by_role("checkbox", name="Select all that are shown")
    box.check()
    everything = page.page.locator("#select-all")
    expect(page.page.locator("#selection-count")).to_have_text("2 files selected")
    page.page.get_by_role("checkbox", name="Select all/a.txt").uncheck()
    assert everything.evaluate("(box) => box.indeterminate")
    page.page.get_by_role("button", name="Clear selection").click()
    expect(everything).not_to_be_checked()


def test_a_file_gets_a_new_name(server: RunningServer, visit: OpenPage) -> None:
    """The name is selected without its extension; a taken or impossible name is said in words."""
    put(server, "names/old.txt", b"words")
    put(server, "names/taken.txt")
    page = look_into(visit(server.url), "names/")
    page.page.get_by_role("button", name="Rename names/old.txt").click()
    dialog = page.page.get_by_role("dialog", name="Rename")
    field = dialog.get_by_role("textbox")
    expect(field).to_have_value("names/old.txt")
    expect(field).to_be_focused()
    for name, words in (
        ("names/taken.txt", "This name is taken"),
        ("names/../x", "cannot be used"),
    ):
        field.fill(name)
        field.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text(words)
    field.fill("names/Grüße 1.txt")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_be_hidden()
    expect(page.stored.locator(".name")).to_have_text(["taken.txt", "Grüße 1.txt"])
    expect(page.page.get_by_role("button", name="Rename names/Grüße 1.txt")).to_be_focused()
    assert (server.root / "names/Grüße 1.txt").read_bytes() == b"words"


def test_a_link_is_copied(server: RunningServer, visit: OpenPage, context: BrowserContext) -> None:
    """The whole address, which opens the file."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    put(server, "link/a b.txt", b"words")
    page = look_into(visit(server.url), "link/")
    page.page.get_by_role("button", name="Copy link to link/a b.txt").click()
    expect(page.announcer).to_contain_text("Link copied")
    address = page.page.evaluate("() => navigator.clipboard.readText()")

    assert address == f"{server.url}/files/link/a%20b.txt?view=1"
    assert requests.get(address, timeout=20).content == b"words"


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("table.csv", "text/csv", b"a,b\n1,2\n"),
        ("data.json", "application/json", b'{"a": 1}'),
    ],
)
def test_what_a_browser_can_show_opens_in_a_tab(
    server: RunningServer, visit: OpenPage, name: str, kind: str, data: bytes
) -> None:
    """Text of all kinds as plain text, under the sandbox, without a download."""
    put(server, f"tab-{name}/{name}", data, kind)
    page = look_into(visit(server.url), f"tab-{name}/")
    with page.page.context.expect_page() as coming:
        page.stored.get_by_role("link", name=re.compile(f"^{re.escape(name)}")).click()
    tab = coming.value
    expect(tab.locator("body")).to_contain_text(data.decode().split("\n")[0])
    assert tab.evaluate("() => document.contentType") == "text/plain"


def test_a_page_or_drawing_never_runs(server: RunningServer, visit: OpenPage) -> None:
    """HTML and SVG are downloaded by their links; opened on purpose they run nothing."""
    script = b"<script>document.title='run'</script>"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg">' + script + b"</svg>"
    put(server, "active/a.html", script, "text/html")
    put(server, "active/a.svg", svg, "image/svg+xml")
    page = look_into(visit(server.url), "active/")
    for name in ("a.html", "a.svg"):
        with page.page.expect_download() as coming:
            page.stored.get_by_role("link", name=re.compile(f"^{re.escape(name)}")).click()
        assert coming.value.suggested_filename == name
        with page.page.expect_download():
            page.page.evaluate("(url) => open(url)", f"{server.url}/files/active/{name}?view=1")


def conflict(page: UploadsPage) -> Locator:
    return page.page.get_by_role("dialog", name="The name is taken")


def test_taken_names_are_asked_about_once(server: RunningServer, visit: OpenPage) -> None:
    """Four names are taken, one is not: one question, and all four are kept beside the old ones."""
    for number in range(4):
        put(server, f"once{number}.txt", b"old")
    page = visit(server.url)
    questions = []
    page.page.on("request", lambda request: questions.append(request.url))
    files = [payload(f"once{number}.txt") for number in range(4)]
    page.page.locator("#files").set_input_files([*files, payload("once-free.txt")])
    expect(conflict(page)).to_contain_text("There is already a file once")
    page.page.keyboard.press("Enter")

    expect(page.summary).to_have_text("5 files stored")
    expect(conflict(page)).to_be_hidden()
    for number in range(4):
        assert (server.root / f"once{number}.txt").read_bytes() == b"old"
        assert (server.root / f"once{number} (2).txt").read_bytes() == b"new"
    expect(page.row("once0 (2).txt")).to_be_visible()


# Answers the question; before the browser says that the dialog is closed, one more file comes.
ANSWER_AND_CHOOSE = """() => {
  const chosen = new DataTransfer();
  chosen.items.add(new File(["new"], "held-late.txt"));
  document.querySelector("#conflict-dialog [value=rename]").click();
  const input = document.querySelector("#files");
  input.files = chosen.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}"""


def test_an_answer_holds_although_the_queue_changes_as_it_is_given(
    server: RunningServer, visit: OpenPage
) -> None:
    """Both files are kept beside the old ones: none is skipped."""
    for name in ("held-a.txt", "held-b.txt"):
        put(server, name, b"old")
    page = visit(server.url)
    page.page.locator("#files").set_input_files([payload("held-a.txt"), payload("held-b.txt")])
    expect(page.page.locator(".row[data-state=asking]")).to_have_count(2)
    page.page.evaluate(ANSWER_AND_CHOOSE)

    expect(page.summary).to_have_text("3 files stored")
    expect(conflict(page)).to_be_hidden()
    for name in ("held-a", "held-b"):
        assert (server.root / f"{name} (2).txt").read_bytes() == b"new"


def test_each_name_is_asked_about_where_a_person_wants_it(
    server: RunningServer, visit: OpenPage
) -> None:
    """Without "the same for all": one is replaced, one is skipped with Escape."""
    for name in ("each-a.txt", "each-b.txt"):
        put(server, name, b"old")
    page = visit(server.url)
    page.page.locator("#files").set_input_files([payload("each-a.txt"), payload("each-b.txt")])
    expect(page.page.locator(".row[data-state=asking]")).to_have_count(2)
    conflict(page).get_by_role("checkbox").uncheck()
    conflict(page).get_by_role("button", name="Replace it").click()
    expect(conflict(page)).to_contain_text("each-b.txt")
    page.page.keyboard.press("Escape")

    page.wait_for("each-a.txt", "done")
    expect(page.status("each-b.txt")).to_contain_text("skipped: the stored file stays as it is")
    assert (server.root / "each-a.txt").read_bytes() == b"new"
    assert (server.root / "each-b.txt").read_bytes() == b"old"


def test_finished_rows_fold_together(server: RunningServer, visit: OpenPage) -> None:
    """Seven files: one line that unfolds; what failed stays outside of it."""
    put(server, "in-the-way/x.txt")
    page = visit(server.url)
    files = [payload(f"fold{number}.txt") for number in range(7)]
    page.page.locator("#files").set_input_files([*files, payload("in-the-way")])
    expect(page.page.locator("#finished-title")).to_have_text("7 finished")
    conflict(page).get_by_role("button", name="Replace it").click()
    page.wait_for("in-the-way", "failed")
    expect(page.row("in-the-way")).to_be_visible()
    expect(page.row("fold0.txt")).to_be_hidden()
    page.page.locator("#finished-title").click()
    expect(page.row("fold0.txt")).to_be_visible()


def test_a_dropped_folder_keeps_its_tree(
    server: RunningServer, visit: OpenPage, tmp_path: Path
) -> None:
    """Rows and list show the folders; two files of one name are told apart."""
    for folder in ("a", "b"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
        (tmp_path / "tree" / folder / "same.txt").write_text(folder)
    page = visit(server.url)
    page.drop(tmp_path / "tree")
    expect(page.summary).to_have_text("2 files stored")
    for shown in (page.page.locator(".row .folder"), page.stored.locator(".folder")):
        expect(shown.filter(has_text="tree/")).to_have_count(2)
        assert sorted(filter(None, shown.all_text_contents())) == ["tree/a/", "tree/b/"]
    look_into(page, "tree/")
    expect(page.page.locator(".stored-row-folder .name")).to_have_text(["a", "b"])
    assert (server.root / "tree/b/same.txt").read_text() == "b"


def test_too_many_files_to_sort_are_listed_by_name(server: RunningServer, visit: OpenPage) -> None:
    """The page says so, and the list still has pages; the server's answer stands in for 100,001."""
    for number in range(3):
        put(server, f"toomany/{number}.txt")
    page = visit(server.url)
    page.page.route(
        re.compile(r"[?&]folder="),
        lambda route: route.fulfill(status=413, json={"code": "too-large", "status": 413}),
    )
    look_into(page, "toomany/")

    expect(page.stored.locator(".name")).to_have_text(["0.txt", "1.txt", "2.txt"])
    expect(page.page.locator("#stored-note")).to_contain_text("too many files to sort")
    expect(page.page.get_by_role("combobox", name="Order")).to_be_disabled()
