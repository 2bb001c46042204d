"""POST /files with a form: any number of files and fields in any order, as browsers and libraries
send.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping
from itertools import permutations

import pytest

from fix_server import RunningServer, Serve
from fix_taking import noise
from fix_ways import NAMES, Way
from raw_http import BOUNDARY, Answer, chunked, form_body, form_head, head, talk

Parts = tuple[tuple[str, str | None, bytes], ...]


def send(server: RunningServer, body: bytes, *, length: bool = True) -> Answer:
    """Send the form at once, with its length or chunked."""
    return talk(
        server.port,
        form_head(len(body) if length else None) + (body if length else chunked(body, 1000)),
    )


def part(lines: str, data: bytes) -> bytes:
    """A form of one part with a given head."""
    return f"--{BOUNDARY}\r\n{lines}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_files_and_fields_come_in_any_order(
    taker: RunningServer, order: tuple[int, ...], length: bool
) -> None:
    """Two files and two fields, in all 24 orders.

    Entries follow the order of the files, and fields have their values.
    """
    parts: Parts = (
        ("f", "one.txt", b"first"),
        ("g", "two.bin", noise(5000)),
        ("title", None, b"T"),
        ("note", None, b"N"),
    )
    response = send(taker, form_body(*(parts[index] for index in order)), length=length)
    content = response.json()
    expected = [parts[index] for index in order if parts[index][1]]

    assert response.status == 201
    assert [entry["filename"] for entry in content["files"]] == [
        filename for _, filename, _ in expected
    ]
    assert [entry["sha-256"] for entry in content["files"]] == [
        hashlib.sha256(data).hexdigest() for _, _, data in expected
    ]
    assert content["fields"] == {"title": ["T"], "note": ["N"]}


@pytest.mark.parametrize("size", [0, 1, 4096, 65537, (2 << 20) - 1, (2 << 20) + 1])
def test_a_file_of_any_size_is_kept_byte_for_byte(taker: RunningServer, size: int) -> None:
    """The stored file equals the part, also at the edges of blocks."""
    data = noise(size)
    response = send(taker, form_body(("f", "x.bin", data)))

    assert response.status == 201
    assert (taker.root / response.json()["files"][0]["key"]).read_bytes() == data


def test_one_file_has_a_location_and_several_have_none(taker: RunningServer) -> None:
    """201 in both cases; Location only if there is one URL."""
    one, two = (
        send(taker, form_body(("f", "a", b"1"))),
        send(taker, form_body(("f", "a", b"1"), ("f", "b", b"2"))),
    )

    assert (one.status, one.headers["location"]) == (201, one.json()["files"][0]["url"])
    assert (two.status, "location" in two.headers, len(two.json()["files"])) == (201, False, 2)


def test_files_of_the_same_name_are_all_kept(taker: RunningServer) -> None:
    """<input multiple> repeats one field name; the files may have the same name too."""
    files = [("files", "same.txt", str(number).encode()) for number in range(20)]
    entries = send(taker, form_body(*files)).json()["files"]

    assert [(taker.root / entry["key"]).read_bytes() for entry in entries] == [
        data for _, _, data in files
    ]


def test_values_of_a_field_sent_twice_are_a_list(taker: RunningServer) -> None:
    """Check boxes of one name: every value, in order."""
    response = send(
        taker,
        form_body(
            ("tag", None, b"a"), ("f", "x", b""), ("tag", None, "ü".encode()), ("tag", None, b"")
        ),
    )

    assert response.json()["fields"] == {"tag": ["a", "ü", ""]}


def test_an_empty_file_input_is_ignored(taker: RunningServer) -> None:
    """A browser sends an unused input as an empty part with an empty filename."""
    response = send(
        taker, form_body(("unused", "", b""), ("title", None, b"x"), ("used", "a.txt", b"1"))
    )

    assert response.status == 201
    assert [entry["filename"] for entry in response.json()["files"]] == ["a.txt"]


def test_an_empty_file_is_a_file(taker: RunningServer) -> None:
    """It has a name, so a user chose it."""
    (entry,) = send(taker, form_body(("f", "empty.txt", b""))).json()["files"]

    assert (entry["filename"], entry["size"], (taker.root / entry["key"]).read_bytes()) == (
        "empty.txt",
        0,
        b"",
    )


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [
        ("base64", base64.encodebytes(noise(10_000))),
        ("BASE64", base64.b64encode(noise(10_000))),
        (
            "quoted-printable",
            b"=\r\n".join(
                b"".join(b"=%02X" % byte for byte in noise(10_000)[at : at + 25])
                for at in range(0, 10_000, 25)
            ),
        ),
        ("binary", noise(10_000)),
        ("8bit", noise(10_000)),
    ],
)
def test_coded_parts_are_decoded_on_the_way_in(
    taker: RunningServer, coding: str, encoded: bytes
) -> None:
    """curl's encoder= and old clients: the server stores the file's own bytes."""
    data = part(
        'Content-Disposition: form-data; name="f"; filename="x"\r\n'
        f"Content-Transfer-Encoding: {coding}",
        encoded,
    )
    response = send(taker, data)

    assert response.status == 201, response.body
    assert response.json()["files"][0]["sha-256"] == hashlib.sha256(noise(10_000)).hexdigest()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Übung – 表.txt", "Übung – 表.txt"),
        ("😀.png", "😀.png"),
        ("e\u0301.txt", "é.txt"),  # NFD as macOS sends it
        (
            "a%22b.txt",
            "a_b.txt",
        ),  # a quote, as browsers escape it, and no file system shall have it
        ("C:\\fakepath\\x.txt", "x.txt"),
        ("../../../etc/passwd", "passwd"),
        ("a;b=c,d.txt", "a;b=c,d.txt"),
    ],
)
def test_names_arrive_as_browsers_send_them(taker: RunningServer, sent: str, kept: str) -> None:
    """Raw UTF-8 with only the quote and line ends escaped; folders are dropped."""
    (entry,) = send(taker, form_body(("f", sent, b"x"))).json()["files"]

    assert entry["filename"] == kept
    assert (taker.root / entry["key"]).read_bytes() == b"x"


@pytest.mark.parametrize(
    "order", ['filename="safe.txt"; filename*={}', 'filename*={}; filename="safe.txt"']
)
@pytest.mark.parametrize(
    "extended", ["utf-8''..%2Fevil", "utf-8''%E0%A4%A", "bogus", "utf-8''other.exe"]
)
def test_an_extended_filename_never_wins(taker: RunningServer, order: str, extended: str) -> None:
    """RFC 7578 4.2 forbids filename* in forms.

    The plain name counts, even if filename* differs.
    """
    body = part(f'Content-Disposition: form-data; name="f"; {order.format(extended)}', b"x")
    response = send(taker, body)

    assert response.status in (201, 400)
    if response.status == 201:
        assert [entry["filename"] for entry in response.json()["files"]] == ["safe.txt"]


def test_a_nested_form_is_refused_in_words(taker: RunningServer) -> None:
    """multipart/mixed inside a part: a 4xx that names it, and nothing is stored."""
    inner = b'--in\r\nContent-Disposition: file; filename="a"\r\n\r\nx\r\n--in--\r\n'
    before = taker.stored()
    body = part(
        'Content-Disposition: form-data; name="f"\r\nContent-Type: multipart/mixed; boundary=in',
        inner,
    )
    response = send(taker, body)

    assert (response.status, response.code) == (415, "unsupported")
    assert "form inside" in response.json()["detail"]
    assert taker.stored() == before


@pytest.mark.parametrize("kind", ["", '; filename="a.gz"'])
@pytest.mark.parametrize("name", NAMES)
def test_a_coded_part_is_refused(ways: Mapping[str, Way], name: str, kind: str) -> None:
    """As a raw body is: without the word gzip, the stored bytes would not be the file."""
    way = ways[name]
    before, lines = way.stored(), f'Content-Disposition: form-data; name="f"{kind}'
    body = part(f"{lines}\r\nCONTENT-encoding:GZIP", gzip.compress(b"12345"))
    response = talk(way.port, form_head(len(body), target=f"{way.prefix}/files") + body)

    assert (response.status, response.code) == (415, "unsupported")
    assert "'gzip'" in response.json()["detail"]
    assert way.stored() == before
    body = part(f"{lines}\r\nContent-Encoding: identity", b"12345")
    response = talk(way.port, form_head(len(body), target=f"{way.prefix}/files") + body)
    assert response.status == (201 if kind else 422)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=" + "b" * 300,
    ],
)
def test_an_unreadable_form_is_refused_before_its_body(
    taker: RunningServer, content_type: str
) -> None:
    """No boundary, or no form-data: the response arrives before one byte of the body is sent."""
    response = talk(
        taker.port,
        f"POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        "Content-Length: 1000\r\n\r\n".encode(),
    )

    assert response.status in (400, 415)
    assert response.json()["detail"]


def test_a_form_that_turns_bad_stores_nothing_of_it(taker: RunningServer) -> None:
    """Two good files, then a part without a name.

    400, and the good files are not stored either.
    """
    before = taker.stored()
    good = form_body(("f", "a.bin", noise(100_000)), ("f", "b.bin", noise(3 << 20)))
    bad = (
        good.removesuffix(b"--\r\n")
        + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n"
        + f"--{BOUNDARY}--\r\n".encode()
    )
    response = send(taker, bad)

    assert (response.status, response.code) == (400, "bad-form")
    assert taker.stored() == before
    assert taker.drafts() == []


@pytest.mark.parametrize("name", NAMES)
def test_folders_from_a_browser_are_kept_in_the_key(ways: Mapping[str, Way], name: str) -> None:
    """From a form and from ?name=, alone, through a gateway and mounted.

    Two files of one name are stored in two folders.
    """
    way = ways[name]
    before = way.stored()
    body = form_body(("f", "album/a/README", b"1")), form_body(("f", "album/b/README", b"22"))
    for one in body:
        assert talk(way.port, form_head(len(one), target=f"{way.prefix}/files") + one).status == 201
    new = way.stored() - before

    assert sorted(key.partition("/")[2] for key in new) == ["album/a/README", "album/b/README"]
    assert {way.read(key) for key in new} == {b"1", b"22"}


def test_a_name_in_the_query_keeps_its_folders(taker: RunningServer) -> None:
    response = talk(
        taker.port, head("POST", "/files?name=album/%C3%BC/x.txt", "Content-Length: 1") + b"1"
    )

    (entry,) = response.json()["files"]
    assert (entry["key"].partition("/")[2], entry["filename"]) == ("album/ü/x.txt", "x.txt")


def test_a_template_puts_folders_where_it_has_the_name(serve: Serve) -> None:
    """Without an id, each file of a folder still has its own key.

    A key that is too deep or too long is refused.
    """
    server = serve("--key-template", "in/{path}")
    both = form_body(("f", "a/README", b"1"), ("f", "b/README", b"2"))
    assert talk(server.port, form_head(len(both)) + both).status == 201
    assert sorted(server.stored()) == ["in/a/README", "in/b/README"]
    long = form_body(("f", "/".join(["x" * 200] * 6) + "/README", b"1"))
    assert talk(server.port, form_head(len(long)) + long).code == "bad-name"


def test_folders_are_dropped_where_the_operator_says_so(serve: Serve) -> None:
    server = serve("--flatten", "--key-template", "{path}")
    one = form_body(("f", "album/a/README", b"1"))
    assert talk(server.port, form_head(len(one)) + one).status == 201
    assert list(server.stored()) == ["README"]
