"""Bytes that are not UTF-8 and control characters never address another object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fix_server import RunningServer, start_server
from journeys.test_door import ask
from raw_http import form_body, form_head, talk


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("plain") / "root")
    yield server
    server.stop()


@pytest.mark.parametrize(
    "name",
    ["caf%E9.txt", "caf%E8.txt", "%ff", "a/%c0%ae%c0%ae/b", "%ed%a0%80", "%f5%80%80%80", "x%80/y"],
)
def test_a_key_that_is_not_utf_8_is_refused_for_every_method(
    plain: RunningServer, name: str
) -> None:
    """Two names that differ in such bytes must not become one object."""
    for method in ("PUT", "GET", "DELETE", "POST", "PATCH"):
        response = ask(plain, method, f"/files/{name}", body=b"1" if method == "PUT" else b"")
        assert (response.status, response.code) == (400, "bad-name"), method
    assert [key for key in plain.stored() if "\ufffd" in key] == []


@pytest.mark.parametrize(
    "target", ["/caf%E9", "/page/%E9.js", "/uploads/%E9", "/%E9/files", "/healthz%ff"]
)
def test_a_path_that_is_not_utf_8_is_refused_everywhere(plain: RunningServer, target: str) -> None:
    assert ask(plain, "GET", target).code == "bad-name"


QUERIES = [
    "/files?prefix=%E9",
    "/files?after=%E9",
    "/files?as=zip&prefix=%E9",
    "/files?limit=1&%E9=1",
]


QUERIES += ["/fetch?url=http://x/%25E9%E9"]


@pytest.mark.parametrize("target", QUERIES)
def test_a_query_that_is_not_utf_8_is_refused(plain: RunningServer, target: str) -> None:
    assert ask(plain, "GET", target).code == "bad-name"


def test_a_name_or_upload_id_that_is_not_utf_8_is_refused(plain: RunningServer) -> None:
    """Raw bodies and forms; also names that a gateway would put into its backend's URL."""
    body = form_body(("f", "x", b"x"))
    for query in (
        "name=caf%E9.txt",
        "upload=%E9" + "x" * 22,
        "book=%E9",
        "%E9=1",
        "name=a&name=%ff",
    ):
        assert ask(plain, "POST", f"/files?{query}", body=b"x").code == "bad-name", query
        assert ask(plain, "PUT", f"/files/queried?{query}", body=b"x").code == "bad-name", query
        assert (
            talk(plain.port, form_head(len(body), target=f"/files?{query}") + body).code
            == "bad-name"
        ), query
    assert "queried" not in plain.stored()


def test_a_sent_u_fffd_is_an_ordinary_character(plain: RunningServer) -> None:
    assert ask(plain, "PUT", "/files/fffd%EF%BF%BD", body=b"1").status == 201
    assert ask(plain, "GET", "/files/fffd%EF%BF%BD").body == b"1"


@pytest.mark.parametrize(
    "control", ["%0A", "%0D", "%00", "%09", "%1F", "%7F", "%C2%85", "%C2%9F", "%0D%0A"]
)
def test_a_control_character_in_a_key_never_means_another_object(
    plain: RunningServer, control: str
) -> None:
    """At its end, in its middle, at its beginning.

    400 for every method, and the key without it stays unchanged.
    """
    assert ask(plain, "PUT", "/files/r", body=b"first").status in (200, 201)
    for key in (f"r{control}", f"{control}r", f"a{control}b", f"r/{control}"):
        for method in ("PUT", "GET", "DELETE"):
            response = ask(
                plain, method, f"/files/{key}", body=b"other" if method == "PUT" else b""
            )
            assert (response.status, response.code) == (400, "bad-name"), (method, key)
    assert ask(plain, "GET", "/files/r").body == b"first"


@pytest.mark.parametrize(
    "path",
    ["/", "/page/sluice.js", "/files", "/fetch", "/healthz", "/readyz", "/uploads/" + "x" * 22],
)
def test_a_control_character_ends_no_path(plain: RunningServer, path: str) -> None:
    """`/healthz%0A` is not `/healthz`."""
    for control in ("%0A", "%0D", "%00", "%C2%85"):
        assert ask(plain, "GET", path + control).code == "bad-name"


def test_a_nul_in_prefix_or_cursor_is_refused(plain: RunningServer) -> None:
    for query in ("prefix=%00", "after=a%00", "prefix=a%00b&as=zip"):
        assert ask(plain, "GET", f"/files?{query}").code == "bad-name"
