"""The functions of an app around its mounted service, in FastAPI, Flask and Django.

The same decisions (tests/mount_hooks.py) with the request of each framework, plain and `async`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urljoin

import pytest

from fix_gateway import fresh, takes
from fix_taking import NewLines, eventually, noise
from fix_uvicorn import uvicorn
from fix_wsgi import running
from hooked_app import Hooked
from raw_http import Wire, form_begun, form_head, head
from tus_by_hand import OFFSET_STREAM, Tus, coded, creation

SMALL = noise(20_011)
LONG = noise(300_000)
APPS = ("fastapi", "flask", "django")
WAYS = ("/drop", "/later")  # plain functions, coroutines


@pytest.fixture(scope="module", params=APPS)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hooked]:
    root = tmp_path_factory.mktemp("hooked")
    noted = NewLines(root / "facts")
    if request.param == "fastapi":
        with uvicorn("hooks_starlette:app", root) as running_app:
            yield Hooked(request.param, running_app.port, running_app.folder, noted)
    else:
        views = f"hooks_{request.param}:app"
        with running("gunicorn gthread", root, takes, views) as running_wsgi:
            yield Hooked(request.param, running_wsgi.port, running_wsgi.folder, noted)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, app: Hooked) -> str:
    app.facts()
    return str(request.param)


def test_each_user_has_a_place(app: Hooked, way: str) -> None:
    key = f"mine-{way[1:]}"
    put = app.ask("PUT", f"{way}/files/{key}", data=SMALL)
    assert (put.status_code, put.headers["Location"]) == (201, f"{way}/files/{key}")

    assert key in app.stored("ann")
    assert app.ask("GET", f"{way}/files/{key}").content == SMALL
    assert app.ask("GET", f"{way}/files/{key}", "bob").status_code == 404
    assert app.ask("DELETE", f"{way}/files/{key}", "bob").status_code == 404
    assert key not in app.ask("GET", f"{way}/files", "bob").text
    assert key in app.ask("GET", f"{way}/files").text


def test_a_put_without_its_length_is_refused(app: Hooked, way: str) -> None:
    """With a length of 0 it is an empty file."""
    empty = f"nothing-{way[1:]}"
    for name, fields, status in (("unframed", (), 411), (empty, ("Content-Length: 0",), 201)):
        with Wire(app.port) as wire:
            wire.send(head("PUT", f"{way}/files/{name}", "X-User: eve", *fields))
            assert wire.answer().status == status
    assert empty in app.stored("eve")
    assert "unframed" not in app.stored("eve")


def test_who_has_no_place_is_refused_in_the_apps_words(app: Hooked, way: str) -> None:
    for method in ("PUT", "GET"):
        answer = app.ask(method, f"{way}/files/x", "nobody", data=SMALL)
        assert answer.status_code == (403 if app.name == "django" else 401)
        assert answer.json()["detail"] == "Log in first"
    ends = [fact for fact in app.facts() if "outcome" in fact]
    assert [(end["outcome"], end["id"]) for end in ends] == [("refused", False)]


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_on_start_refuses_with_status_and_words(app: Hooked, way: str, kind: str) -> None:
    if kind == "raw":
        answer = app.ask("POST", f"{way}/files?name=refused.bin", data=SMALL)
    else:
        files = {"f": ("refused.bin", SMALL)}
        answer = app.ask("POST", f"{way}/files", files=files)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (402, "upload-refused")
    assert problem["detail"] == "Not with this plan"
    (end,) = app.facts()
    assert (end["outcome"], end["error"]) == ("refused", "upload-refused")
    assert (end["names"], end["user"], end["id"]) == (["refused.bin"], "ann", True)
    assert not any("refused" in key for key in app.stored())


def test_on_start_knows_the_size_before_the_body_comes(app: Hooked, way: str) -> None:
    """The refusal is readable while the client still waits to send."""
    with Wire(app.port) as wire:
        wire.send(
            head("PUT", f"{way}/files/large", "Content-Length: 1000000", "X-User: ann") + b"1"
        )
        answer = wire.answer()
    assert (answer.status, answer.code) == (413, "upload-refused")
    assert app.ask("PUT", f"{way}/files/large", data=b"1").status_code in (200, 201)


def test_on_start_sets_key_and_metadata(app: Hooked, way: str) -> None:
    name = f"chosen-{way[1:]}.txt"
    answer = app.ask("POST", f"{way}/files", data={"title": "The book"}, files={"f": (name, SMALL)})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{way}/files/chosen/{name}"
    assert f"chosen/{name}" in app.stored()
    assert app.facts()[0]["metadata"] == {"owner": "ann", "title": "The book"}

    again = app.ask("PUT", f"{way}/files/{name}", data=b"2")
    assert (again.status_code, again.json()["code"]) == (409, "exists")


def test_on_start_may_let_a_file_replace_another(app: Hooked, way: str) -> None:
    for data in (b"one", b"two"):
        assert app.ask("POST", f"{way}/files?name=avatar.png", data=data).status_code == 201
    assert app.ask("GET", f"{way}/files/avatar").content == b"two"


def test_a_key_outside_is_refused(app: Hooked, way: str) -> None:
    answer = app.ask("POST", f"{way}/files?name=outside", data=SMALL)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-name")
    assert not (app.folder / "outside").exists()


def test_on_published_runs_for_each_file_before_the_answer(app: Hooked, way: str) -> None:
    files = [("f", ("one", SMALL)), ("f", ("two", b"2")), ("f", ("three", b""))]
    answer = app.ask("POST", f"{way}/files", files=files)

    assert answer.status_code == 201
    keys = [one["key"] for one in answer.json()["files"]]
    *told, end = app.facts()
    assert [(fact["published"], fact["user"]) for fact in told] == [(key, "ann") for key in keys]
    assert (end["outcome"], end["keys"], end["error"]) == ("kept", keys, None)
    assert end["names"] == ["one", "two", "three"]
    assert end["received"] > len(SMALL)


@pytest.mark.parametrize(("name", "status"), [("infected", 422), ("virus", 422), ("tardy", 455)])
def test_an_error_of_on_kept_and_on_published_leaves_no_file_and_is_the_answer(
    app: Hooked, way: str, name: str, status: int
) -> None:
    before = app.stored()
    upload = fresh()
    files = [("f", ("good", SMALL)), ("f", (name, b"2"))]
    answer = app.ask("POST", f"{way}/files?upload={upload}", files=files)

    assert answer.status_code == status
    assert "A virus" in answer.text or answer.text == "own"
    assert app.stored() == before
    if app.name == "fastapi" or app.ask("GET", f"{way}/uploads/{upload}").status_code == 200:
        assert app.ask("GET", f"{way}/uploads/{upload}").json()["state"] == "failed"


def test_an_error_of_the_apps_own_is_answered_by_its_handler(app: Hooked, way: str) -> None:
    answer = app.ask("POST", f"{way}/files?name=own", data=SMALL)
    assert (answer.status_code, answer.text) == (455, "own")
    (end,) = app.facts()
    assert (end["outcome"], end["error"]) == ("failed", "OwnError")


def test_a_fault_of_the_app_is_a_500_without_its_text(app: Hooked, way: str) -> None:
    answer = app.ask("POST", f"{way}/files?name=fault", data=SMALL)
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert app.ask("GET", f"{way}/files").status_code == 200


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_a_cut_upload_ends_as_cut(app: Hooked, way: str, kind: str) -> None:
    begun = b"" if kind == "raw" else form_begun(("f", "cut.bin", b""))
    length = len(begun) + 2 * len(SMALL)
    start = (
        head("PUT", f"{way}/files/cut.bin", f"Content-Length: {length}", "X-User: ann")
        if kind == "raw"
        else form_head(length, "X-User: ann", target=f"{way}/files")
    )
    with Wire(app.port) as wire:
        wire.send(start + begun + SMALL)
    (end,) = app.next_facts()
    assert (end["outcome"], end["error"]) == ("cut", "body-cut")
    assert end["names"] in ([], ["cut.bin"])  # none if the server saw the cut before its bytes
    assert not any(key.endswith("cut.bin") for key in app.stored())


def test_a_cancelled_upload_ends_as_cancelled(app: Hooked, way: str) -> None:
    upload = fresh()
    with Wire(app.port) as wire:
        path = f"{way}/files/cancelled?upload={upload}"
        wire.send(head("PUT", path, "Content-Length: 900000", "X-User: ann") + LONG)
        status = f"{way}/uploads/{upload}"
        eventually(lambda: app.ask("GET", status).json().get("received"), "it runs")
        assert app.ask("DELETE", status).status_code == 204
        if app.name != "fastapi":
            with suppress(ConnectionError):  # the server was faster
                wire.send(LONG)  # a WSGI server's thread waits for the next bytes
        (end,) = app.next_facts()
    assert (end["outcome"], end["error"]) == ("cancelled", "cancelled")


def test_what_the_server_refuses_ends_as_refused(app: Hooked) -> None:
    app.facts()
    answer = app.ask("PUT", "/drop/files/too-long", data=noise(1_100_000))
    assert answer.status_code == 413
    (end,) = app.facts()
    assert (end["outcome"], end["error"]) == ("refused", "too-large")


PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-user"}


@pytest.mark.parametrize("path", WAYS)
def test_the_cors_rules_of_the_app_count_for_the_service(app: Hooked, path: str) -> None:
    """One set of headers; what the app allows, the service takes."""
    origin = {"Origin": "https://app.example"}
    preflight = app.ask("OPTIONS", f"{path}/files/cors", headers={**origin, **PREFLIGHT})
    assert preflight.status_code in (200, 204)
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]

    put = app.ask("PUT", f"{path}/files/cors", data=SMALL, headers=origin)
    assert put.status_code in (200, 201)
    assert put.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Upload-Id" in put.headers["Access-Control-Expose-Headers"]

    refused = app.ask("PUT", f"{path}/files/refused", data=SMALL, headers=origin)
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"


def test_an_origin_that_the_service_alone_allows_gets_one_set_of_headers(app: Hooked) -> None:
    origin = {"Origin": "https://other.example"}
    put = app.ask("PUT", "/later/files/cors", data=SMALL, headers=origin)
    assert put.status_code in (200, 201)
    assert put.headers["Access-Control-Allow-Origin"] == "https://other.example"

    foreign = app.ask("PUT", "/drop/files/cors", data=SMALL, headers=origin)
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_the_page_is_served(app: Hooked, way: str) -> None:
    page = app.ask("GET", f"{way}/")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert app.ask("HEAD", f"{way}/").status_code == 200


def begun(app: Hooked, way: str, name: str, length: int, **more: str) -> tuple[Tus, str]:
    """A client of tus and the URL of its new upload."""
    tus = Tus(app.url, f"{way}/files")
    tus.session.headers["X-User"] = "ann"
    response = tus.post(creation(length, filename=name) | more)
    assert response.status_code == 201, response.text
    upload = urljoin(app.url + tus.path, response.headers["Location"])
    assert upload.startswith(f"{app.url}{way}/uploads/")
    return tus, upload


def test_an_upload_of_several_requests_is_one_to_the_app(app: Hooked, way: str) -> None:
    """Each function is called once; what on_start set is kept. Other users do not find it."""
    name = f"chosen-{way[1:]}-tus.bin"
    tus, upload = begun(app, way, name, len(SMALL))
    assert tus.patch(upload, 0, SMALL[:7000]).status_code == 204
    assert tus.offset(upload) == 7000
    assert (tus.progress(upload)["state"], tus.progress(upload)["kept"]) == ("waiting", 7000)
    assert tus.send("HEAD", upload, X_User="bob").status_code == 404
    assert app.facts() == []
    last = tus.send(
        "POST",
        upload,
        SMALL[7000:],
        X_HTTP_Method_Override="PATCH",
        Content_Type=OFFSET_STREAM,
        Upload_Offset="7000",
    )
    assert last.status_code == 204
    assert last.headers["Content-Location"] == f"{way}/files/chosen/{name}"
    assert tus.offset(upload) == len(SMALL)
    told, end = app.facts()
    assert (told["published"], told["metadata"]["owner"]) == (f"chosen/{name}", "ann")
    assert (end["outcome"], end["keys"], end["names"]) == ("kept", [f"chosen/{name}"], [name])
    assert (end["received"], end["id"]) == (len(SMALL), True)
    assert tus.session.get(app.url + last.headers["Content-Location"]).content == SMALL
    assert tus.progress(upload)["state"] == "complete"


def test_an_upload_is_refused_before_its_first_byte(app: Hooked, way: str) -> None:
    tus = Tus(app.url, f"{way}/files")
    tus.session.headers["X-User"] = "ann"
    refused = tus.post(creation(5, filename="refused.bin"))
    assert (refused.status_code, refused.json()["detail"]) == (402, "Not with this plan")
    assert refused.headers["Tus-Resumable"] == "1.0.0"
    part = tus.post(creation(5, filename="refused.bin") | {"Upload-Concat": "partial"})
    assert part.status_code == 402
    own = tus.post(creation(5, filename="own.bin"))
    assert (own.status_code, own.text) == (455, "own")
    ends = app.facts()
    assert [(end["outcome"], end["error"]) for end in ends] == [
        ("refused", "upload-refused"),
        ("refused", "upload-refused"),
        ("failed", "OwnError"),
    ]


def test_an_upload_is_refused_when_it_is_kept_or_published(app: Hooked, way: str) -> None:
    """Once; a repeated request gets the same words. Nothing is left of the file."""
    for name, words in (("infected", "A virus, seen in time"), ("virus", "A virus")):
        tus, upload = begun(app, way, f"{name}.bin", 5)
        for offset, data in ((0, b"12345"), (5, b"")):
            refused = tus.patch(upload, offset, data)
            assert (refused.status_code, refused.json()["detail"]) == (422, words)
        assert tus.head(upload).status_code == 422
        fact, end = app.facts()
        assert name in (fact.get("kept") or fact["published"])
        assert not fact.get("seen")
        assert (end["outcome"], end["error"], end["keys"]) == ("refused", "upload-refused", [])
        assert not any(name in key for key in app.stored())


def test_an_upload_goes_on_when_on_kept_could_not_decide(app: Hooked, way: str) -> None:
    tus, upload = begun(app, way, f"undecided-{way[1:]}", 5)
    decides = app.folder.parent / "decides"
    decides.unlink(missing_ok=True)
    failed = tus.patch(upload, 0, b"12345")
    assert (failed.status_code, failed.text, app.facts()) == (455, "own", [])
    decides.touch()
    assert tus.patch(upload, 5, b"").status_code == 204
    assert [fact.get("outcome") for fact in app.facts()] == [None, "kept"]


def test_an_upload_that_is_cancelled_ends_once(app: Hooked, way: str) -> None:
    """Parts of another upload end without a word: that one has it."""
    tus, upload = begun(app, way, "left.bin", 5)
    tus.patch(upload, 0, b"ab")
    assert tus.delete(upload).status_code == 204
    assert tus.delete(upload).status_code == 410
    (end,) = app.facts()
    assert (end["outcome"], end["received"]) == ("cancelled", 2)
    parts = [begun(app, way, "part.bin", 2, **{"Upload-Concat": "partial"}) for _ in range(2)]
    for client, part in parts:
        client.patch(part, 0, b"xy")
    final = tus.post(
        {"Upload-Concat": f"final;{parts[0][1]} {parts[1][1]}", "Upload-Metadata": coded(name="j")}
    )
    assert final.status_code == 201
    assert [fact.get("outcome") for fact in app.facts()] == [None, "kept"]


def test_what_a_mounted_service_offers_is_what_it_can(app: Hooked, way: str) -> None:
    """Only our own server reads what stands behind a body."""
    tus = Tus(app.url, f"{way}/files")
    tus.session.headers["X-User"] = "ann"
    offered = tus.send("OPTIONS", app.url + tus.path).headers["Tus-Extension"].split(",")
    assert "checksum-trailer" not in offered
    assert "concatenation" in offered
    upload = begun(app, way, "trailer.bin", 3)[1]
    assert tus.patch(upload, 0, b"abc", Trailer="Upload-Checksum").status_code == 400


def test_an_upload_in_pieces_of_the_ietf_is_one_to_the_app(app: Hooked, way: str) -> None:
    name = f"chosen-{way[1:]}-ietf.bin"
    begun = app.ask(
        "POST", f"{way}/files?name={name}", data=b"ab", headers={"Upload-Complete": "?0"}
    )
    assert (begun.status_code, app.facts()) == (201, [])
    more = {
        "Upload-Offset": "2",
        "Upload-Complete": "?1",
        "Content-Type": "application/partial-upload",
    }
    done = app.ask("PATCH", begun.headers["Location"], data=b"c", headers=more)
    assert done.status_code in (200, 201), done.text
    told, end = app.facts()
    assert (told["published"], end["outcome"], end["received"]) == (
        f"chosen/{name}",
        "kept",
        3,
    )
