"""`request.files` and `request.form` of a live form are Werkzeug's, whatever a view does."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage, ImmutableMultiDict

import sluiceway
from fix_gateway import takes
from fix_taking import noise
from rude_peer import Peer
from sluiceway.flask import Sluiceway
from sluiceway.pipe.budget import Budget
from sluiceway.testing import form
from sluiceway.wsgi import replay_window
from sluiceway.wsgi.replay_window import WINDOW

request: Any = flask.request
LONG = noise(WINDOW + 70_001)
SHORT = b"one\ntwo\n\nfour" * 50
View = Callable[[], Any]


def served(view: View, parts: Any, order: Any = (), live: bool = True, **options: Any) -> Any:
    """What the view returned for the form, or the error it raised."""
    app = flask.Flask("served")
    app.testing = True  # errors reach the test
    if live:
        Sluiceway(app, **options)
    results: list[Any] = []

    @app.post("/")
    def run() -> str:
        results.append(view())
        return "done"

    with app.test_client() as client:
        client.post("/", **form(parts, order))
    return results[0]


def same(view: View, parts: Any, order: Any = ()) -> Any:
    """The view's result, which is the same without Sluiceway."""
    plain, live = served(view, parts, order, live=False), served(view, parts, order)
    assert live == plain
    return live


@pytest.mark.parametrize("data", [SHORT, LONG, b""], ids=["short", "long", "empty"])
def test_a_file_is_a_file_storage(data: bytes) -> None:
    def view() -> Any:
        file = request.files["file"]
        known = [file.name, file.filename, file.mimetype, file.mimetype_params, bool(file)]
        can = [file.readable(), file.writable(), file.seekable(), file.closed, file.tell()]
        is_file = [isinstance(file, FileStorage), isinstance(file.stream, io.IOBase)]
        missing = [hasattr(file, name) for name in ("nothing", "getvalue", "__len__")]
        lines = [
            file.readline(),
            file.stream.readline(3),
            file.stream.readline(),
            next(iter(file), b""),
        ]
        rest = (
            file.read(7),
            file.stream.read1(1)[:1],
            file.readlines(),
            file.read(),
            file.read(1 << 20),
        )
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.read()
        return known, can, is_file, missing, lines, rest, file.closed, repr(file), str(file.headers)

    parts = {"file": (data, "ü b.txt", "text/plain; charset=utf-8")}
    assert same(view, parts)[0][3] == {"charset": "utf-8"}


OPS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 1 << 20)),
    st.tuples(st.just("readline"), st.integers(-1, 4000)),
    st.tuples(st.just("seek"), st.integers(0, len(LONG) + 10), st.just(0)),
    st.tuples(st.just("seek"), st.integers(0, 5), st.just(1)),
    st.tuples(st.just("seek"), st.integers(-4000, 10), st.just(2)),
    st.tuples(st.just("tell")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, max_size=12), st.sampled_from([SHORT, LONG]))
def test_any_way_through_a_file_is_that_of_a_spooled_file(ops: Any, data: bytes) -> None:
    """Only bytes that went by, more than 1 MiB of them, cannot be read again."""

    def view() -> Any:
        file, seen = request.files["file"], []
        for name, *arguments in ops:
            try:
                seen.append(getattr(file, name)(*arguments))
            except io.UnsupportedOperation as error:
                return [*seen, "passed" if "@spooled" in str(error) else str(error)]
        return [*seen, "end"]

    plain = served(view, {"file": (data, "a")}, live=False)
    live = served(view, {"file": (data, "a")})
    if live[-1] == "passed":
        assert len(data) > WINDOW
        plain = [*plain[: len(live) - 1], "passed"]
    assert live == plain


def test_the_dicts_are_werkzeugs() -> None:
    """Also for code that takes them for a dict: JSON, `**`, copies, pickles."""

    def view() -> Any:
        fields = request.form
        whole = [dict(fields), {**fields}, json.dumps(fields), fields.to_dict(flat=False)]
        read = [list(fields), len(fields), list(fields.keys()), list(fields.values()), str(fields)]
        more = [sorted(fields.items(multi=True)), list(fields.lists()), "n" in fields, bool(fields)]
        equal = [
            fields == {"n": ["1", "2"]},
            fields == ImmutableMultiDict([("n", "1"), ("n", "2")]),
        ]
        copies = [copy.copy(fields), copy.deepcopy(fields), pickle.loads(pickle.dumps(fields))]
        typed = [fields.get("n", type=int), fields.getlist("n", int), fields.get("no", "none")]
        with pytest.raises(TypeError):
            fields["n"] = "3"
        files = [request.files.getlist("f")[1].filename, len(request.files), list(request.files)]
        joined = [
            one.filename for one in [*request.files.getlist("f"), *request.files.getlist("g")]
        ]
        none: list[Any] = []
        added = [one.filename for one in none + request.files.getlist("f")]
        values = [request.values.getlist("n"), isinstance(fields, ImmutableMultiDict)]
        return whole, read, more, equal, copies, typed, files, joined, added, values

    parts = [("n", "1"), ("f", (LONG, "a")), ("n", "2"), ("f", (b"2", "b")), ("g", (b"3", "c"))]
    same(view, parts)


def test_an_empty_file_input_is_a_file_without_a_name() -> None:
    def view() -> Any:
        file = request.files["file"]
        return "file" in request.files, file.filename, bool(file), file.read()

    assert same(view, {"file": (b"", "")}) == (True, "", False, b"")


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/json"])
def test_a_part_without_a_filename_is_a_field_whatever_its_type(kind: str) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="x"\r\nContent-Type: {kind}\r\n\r\n1\r\n--b--'
    )
    app = flask.Flask("typed")
    Sluiceway(app)

    @app.post("/")
    def view() -> Any:
        return request.form["x"]

    sent = {"data": body.encode() + b"\r\n", "content_type": "multipart/form-data; boundary=b"}
    assert app.test_client().post("/", **sent).text == "1"


@pytest.mark.parametrize("sent", [b"", b"--x--"])
def test_a_form_without_a_boundary_or_a_body_is_empty(sent: bytes) -> None:
    app = flask.Flask("empty")
    Sluiceway(app)

    @app.post("/")
    def view() -> Any:
        return {"file": "file" in request.files, "form": request.form.to_dict()}

    kind = "multipart/form-data" if sent else "multipart/form-data; boundary=b"
    answer = app.test_client().post("/", data=sent, content_type=kind)
    assert answer.json == {"file": False, "form": {}}


@pytest.mark.parametrize("data", [SHORT, LONG], ids=["short", "long"])
def test_what_apps_took_from_the_spool_is_there(data: bytes) -> None:
    def view() -> Any:
        file = request.files["file"]
        inner = file.stream._file.read(4)
        file.seek(0)
        end = file.stream.rollover(), file.stream.tell(), file.seek(0, 2)
        return inner, end, file.fileno() > 2, file.stream.name is not None

    same(view, {"file": (data, "a")})


def test_what_is_spooled_is_logged_once_with_the_line_and_the_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    def view() -> Any:
        title = request.form["title"]
        request.files["file"].seek(0, 2)
        return title

    served(view, {"file": (LONG, "a"), "title": "T"})
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.DEBUG]
    assert line.startswith(f"{__file__}:{view.__code__.co_firstlineno + 1}: ")
    assert "the field 'title'" in line
    assert "have the client send fields before files" in line


def test_a_file_given_to_requests_as_files_is_logged_with_the_cure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with Peer(takes) as peer:

        def view() -> int:
            files = {"file": request.files["file"]}
            return requests.post(peer.url, files=files, timeout=30).status_code

        assert served(view, {"file": (LONG, "a")}) == 201
    assert "sluiceway.Form()" in caplog.text
    assert f"{__file__}:" in caplog.text


def test_a_client_that_builds_its_form_in_memory_is_logged_with_the_cure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As `requests.post(url, files=…)` sends it; `sluiceway.Form` is not meant."""
    caplog.set_level(logging.DEBUG)
    app = flask.Flask("advises")
    Sluiceway(app)
    app.post("/", endpoint="view")(lambda: request.files["file"].filename)
    theirs = requests.Request("POST", "http://a/", files={"file": ("a.bin", LONG)}).prepare()
    ours = sluiceway.Form().file("file", LONG, filename="a.bin")
    assert isinstance(theirs.body, bytes)
    for data, kind in (
        (theirs.body, theirs.headers["Content-Type"]),
        (b"".join(ours), ours.content_type),
    ):
        agent = {"User-Agent": requests.utils.default_user_agent()}
        answer = app.test_client().post("/", data=data, content_type=kind, headers=agent)
        assert answer.text == "a.bin"

    assert caplog.text.count("sluiceway.Form sends it in pieces") == 1


def test_code_that_only_streams_does_not_spool(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def view() -> Any:
        file = request.files["file"]
        head = file.read(2048)
        file.seek(0)
        return head == LONG[:2048], b"".join(file.chunks()) == LONG, request.form["title"]

    assert served(view, {"title": "T", "file": (LONG, "a")}) == (True, True, "T")
    assert not caplog.records


def test_windows_beyond_the_budget_are_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """And they are given back when the request ends."""
    budget = Budget(replay_window.WINDOWS)
    budget.acquire(budget.limit - 1000)
    monkeypatch.setattr(replay_window, "_budget", budget)

    def view() -> Any:
        file = request.files["file"]
        head = file.read(500_000)
        used = budget.used
        file.seek(0)
        return head == file.read(500_000), used <= budget.limit

    assert served(view, {"file": (LONG, "a")}) == (True, True)
    assert budget.used == budget.limit - 1000


@pytest.mark.parametrize("first", [b"", b"magic"])
def test_a_view_copies_a_file_into_a_database(tmp_path: Path, first: bytes) -> None:
    """`f.save` knows paths; `sluiceway.copy` knows every place, from where the view has read to."""
    place = f"sqlite:///{tmp_path}/files.db/2026/long.bin"

    def view() -> int:
        file = request.files["f"]
        assert file.read(len(first)) == first
        return sluiceway.copy(file, place).size

    data = first + LONG
    assert served(view, {"f": (io.BytesIO(data), "long.bin")}) == len(LONG)
    sluiceway.copy(place, tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == LONG
