"""What people do with a Django site that takes files: one function for each kind of code.

Each gets a running site and returns what a user and the site saw of it. The suite runs it with
Django's own storage and with ours, and compares.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import requests
from PIL import Image

from fix_django_shop import Shop
from fix_taking import noise
from raw_http import Wire, form_begun, form_head

__all__ = ["LARGE", "SMALL", "STORIES", "Story"]

Story = Callable[[Shop], object]

# The site keeps forms of up to 50,000 bytes in memory.
LARGE = b"magic, line\r\nby line\n" + noise(200_000)
SMALL = b"magic\n" + noise(2_000)
TITLE = {"title": "A book"}


@cache
def picture(kind: str, side: int) -> bytes:
    """An image of random points, which no format makes small."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise(side * side * 3)).save(file, kind)
    return file.getvalue()


def a_model_form(shop: Shop) -> object:
    """Large and small files, and an empty one."""
    return [
        shop.outcome(shop.post("form/book", TITLE, {"file": (name, data)}))
        for name, data in [("a.bin", LARGE), ("b c.txt", SMALL), ("c.bin", b"")]
    ]


def a_form_that_is_not_valid(shop: Shop) -> object:
    """A field that is missing, a name that an extension validator refuses."""
    return [
        shop.outcome(shop.post("form/book", {"title": ""}, {"file": ("a.bin", LARGE)})),
        shop.outcome(shop.post("form/book", TITLE, {"file": ("a.exe", LARGE)})),
        shop.outcome(shop.post("form/book", TITLE, {"file": ("a" * 300 + ".bin", LARGE)})),
    ]


def a_view_that_raises(shop: Shop) -> object:
    return shop.outcome(shop.post("form/book?raise", TITLE, {"file": ("a.bin", LARGE)}))


def a_transaction_that_is_rolled_back(shop: Shop) -> object:
    return shop.outcome(shop.post("rolled-back", TITLE, {"file": ("a.bin", LARGE)}))


def names_that_are_taken(shop: Shop) -> object:
    return [
        shop.outcome(shop.post("form/book", TITLE, {"file": (name, data)}))
        for name, data in [("a.bin", LARGE), ("a.bin", SMALL), ("a.bin", LARGE)]
    ]


def odd_names(shop: Shop) -> object:
    """Folders, dots, drives of Windows, letters of other languages, what HTML escapes."""
    names = ["../../up.bin", "..bin", "C:\\x\\y.bin", "ü é.bin", "a&amp;b.bin", ".bin"]
    return [shop.outcome(shop.post("form/book", TITLE, {"file": (name, LARGE)})) for name in names]


def a_name_made_by_a_function(shop: Shop) -> object:
    """`upload_to` looks at the instance."""
    return shop.outcome(shop.post("form/called", TITLE, {"called": ("a.bin", LARGE)}))


def an_image_field(shop: Shop) -> object:
    """PNG is read to its end, JPEG and GIF at their head; another file is refused."""
    png = picture("PNG", 260)
    return [
        shop.outcome(shop.post("form/picture", TITLE, {"image": (name, data, "image/png")}))
        for name, data in [
            ("large.png", png),
            ("small.png", picture("PNG", 20)),
            ("large.gif", picture("GIF", 400)),
            ("cut.png", png[:-100_000]),
            ("none.png", LARGE),
        ]
    ]


def a_validator_that_reads(shop: Shop) -> object:
    """The first bytes."""
    return [
        shop.outcome(shop.post("form/magic", TITLE, {"spell": ("a.bin", data)}))
        for data in (LARGE, SMALL, b"not" + LARGE)
    ]


def a_field_with_another_storage(shop: Shop) -> object:
    """django-storages, or a second folder: it reads the file as any other."""
    return [
        shop.outcome(shop.post("form/elsewhere", TITLE, {"elsewhere": ("a.bin", data)}))
        for data in (LARGE, SMALL)
    ]


def a_formset(shop: Shop) -> object:
    """Valid, and with one form of two that is not."""
    fields = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "0", "form-0-title": "one"}
    files = {"form-0-file": ("a.bin", LARGE), "form-1-file": ("b.bin", SMALL)}
    return [
        shop.outcome(shop.post("formset", {**fields, "form-1-title": "two"}, files)),
        shop.outcome(shop.post("formset", fields, files)),
    ]


def an_inline_formset(shop: Shop) -> object:
    fields = {"chapter_set-TOTAL_FORMS": "2", "chapter_set-INITIAL_FORMS": "0"}
    files = {"chapter_set-0-text": ("1.bin", LARGE), "chapter_set-1-text": ("2.bin", LARGE)}
    return shop.outcome(shop.post("inline", fields, files))


def a_file_that_is_replaced_or_cleared(shop: Shop) -> object:
    return [
        shop.outcome(shop.post("form/book", TITLE, {"file": ("a.bin", LARGE)})),
        shop.outcome(shop.post("change", {"title": "Same file"}, {})),
        shop.outcome(shop.post("change", {"title": "Other file"}, {"file": ("b.bin", LARGE)})),
        shop.outcome(shop.post("change", {"title": "None", "file-clear": "on"}, {})),
        shop.outcome(
            shop.post("change", {"title": "Both", "file-clear": "on"}, {"file": ("c.bin", LARGE)})
        ),
    ]


def the_admin(shop: Shop) -> object:
    """Add with an inline, an error, change, delete."""
    login = {"username": "root", "password": "secret", "next": "/admin/"}
    shop.session.get(shop.url + "admin/login/", timeout=30)
    seen: list[Any] = [shop.post("admin/login/", login, {}).status_code]
    inline = {
        "chapter_set-TOTAL_FORMS": "1",
        "chapter_set-INITIAL_FORMS": "0",
        "chapter_set-MIN_NUM_FORMS": "0",
        "chapter_set-MAX_NUM_FORMS": "1000",
    }
    files = {"file": ("a.bin", LARGE), "chapter_set-0-text": ("1.bin", LARGE)}
    for title in ("", "Of the admin"):
        answer = shop.post("admin/django_shop/book/add/", {"title": title, **inline}, files)
        seen += [answer.status_code, "errorlist" in answer.text, answer.url.removeprefix(shop.url)]
    page = shop.session.get(shop.url + "admin/django_shop/book/", timeout=30).text
    place = next(
        part.partition('"')[0]
        for part in page.split('href="')
        if "/change/" in part.partition('"')[0]
    )
    changed = shop.post(
        place.lstrip("/"), {"title": "Changed", **inline}, {"file": ("b.bin", LARGE)}
    )
    seen += [changed.status_code, "errorlist" in changed.text]
    added = shop.post(
        "admin/django_shop/picture/add/", TITLE, {"image": ("p.png", picture("PNG", 260))}
    )
    return [*seen, added.status_code, "errorlist" in added.text]


def serializers_of_rest_framework(shop: Shop) -> object:
    """Create, refuse, change in part; a picture that is none."""
    answers = [
        shop.post("api/books/", TITLE, {"file": ("a.bin", LARGE)}, csrf=""),
        shop.post("api/books/", {}, {"file": ("a.bin", LARGE)}, csrf=""),
        shop.post("api/books/", TITLE, {"file": ("a.exe", LARGE)}, csrf=""),
        shop.post("api/pictures/", TITLE, {"image": ("a.png", picture("PNG", 260))}, csrf=""),
        shop.post("api/pictures/", TITLE, {"image": ("a.png", LARGE)}, csrf=""),
    ]
    return [shop.outcome(answer) for answer in answers]


def a_raw_body_of_rest_framework(shop: Shop) -> object:
    """FileUploadParser: saved, refused by the view, empty."""
    return [
        shop.outcome(
            shop.session.put(
                shop.url + "api/raw/" + path,
                data=data,
                headers={"Content-Disposition": "attachment; filename=raw.bin"},
                timeout=60,
            )
        )
        for path, data in [("a.bin", LARGE), ("b.bin", SMALL), ("c.bin?refuse", LARGE)]
    ]


def csrf_tokens(shop: Shop) -> object:
    """As a field, in the header, none at all."""
    return [
        shop.outcome(shop.post("form/book", TITLE, {"file": ("a.bin", LARGE)}, csrf=csrf))
        for csrf in ("field", "header", "")
    ]


def a_view_that_only_looks(shop: Shop) -> object:
    """Read, seek, lines, chunks, the path, close: of large and small files, and of several."""
    files: list[tuple[str, Any]] = [
        ("file", ("a ü.bin", LARGE, "text/plain; charset=latin-1")),
        ("file", ("b.bin", LARGE)),
        ("other", ("c.txt", SMALL, "x/y")),
    ]
    return [
        shop.outcome(shop.post("look", {"t": ["1", "2"]}, files, csrf="")),
        shop.outcome(shop.post("look", {}, files[2:], csrf="")),
    ]


def an_async_view(shop: Shop) -> object:
    return shop.outcome(shop.post("looks", TITLE, {"file": ("a.bin", LARGE)}))


def no_forms_at_all(shop: Shop) -> object:
    """default_storage.save and a copy by hand; Django itself saves only a small file twice."""
    return [
        shop.outcome(shop.post(path, {}, {"file": ("a.bin", data)}, csrf=""))
        for path, data in [("plainly", LARGE), ("plainly?twice", SMALL)]
    ]


def a_view_that_ignores_the_file(shop: Shop) -> object:
    return shop.outcome(shop.post("ignored", TITLE, {"file": ("a.bin", LARGE)}, csrf=""))


def a_handler_of_the_view(shop: Shop) -> object:
    """It stops the upload inside of the second file."""
    files = {"a": ("a.bin", LARGE[:55_000]), "b": ("b.bin", LARGE), "c": ("c.bin", LARGE[:55_000])}
    return shop.outcome(shop.post("limited", {}, files))


def limits_of_forms(shop: Shop) -> object:
    """Too many files, too many fields, fields that are too long."""
    files = [(f"f{number}", ("a.bin", LARGE[:60_000])) for number in range(6)]
    return [
        shop.outcome(shop.post("look", {}, files, csrf="")),
        shop.outcome(shop.post("look", {f"n{n}": "" for n in range(60)}, files[:1], csrf="")),
        shop.outcome(shop.post("look", {"n": "x" * 110_000}, files[:1], csrf="")),
    ]


def a_client_that_hangs_up(shop: Shop) -> object:
    """In the middle of a file, behind a whole one."""
    form = form_begun(("title", None, b"x"), ("one", "a.bin", LARGE), ("two", "b.bin", LARGE))
    with Wire(shop.port) as wire:
        wire.send(form_head(len(form) + 9000, target="/look") + form)
        wire.half_close()
        return wire.answer().status


def a_form_that_is_broken(shop: Shop) -> object:
    """base64 that is none, behind a whole file."""
    boundary = "b" * 20
    part = (
        f"--{boundary}\r\nContent-Disposition: form-data; "
        'name="{0}"; filename="{0}.bin"\r\n{1}\r\n'
    )
    coded = "Content-Transfer-Encoding: base64\r\n"
    body = part.format("a", "").encode() + LARGE + b"\r\n"
    body += part.format("b", coded).encode() + b"=*=" * 30_000 + b"\r\n--" + boundary.encode()
    answer = requests.post(
        shop.url + "look",
        data=body + b"--\r\n",
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        timeout=60,
    )
    return shop.outcome(answer)


STORIES: list[Story] = [
    a_model_form,
    a_form_that_is_not_valid,
    a_view_that_raises,
    a_transaction_that_is_rolled_back,
    names_that_are_taken,
    odd_names,
    a_name_made_by_a_function,
    an_image_field,
    a_validator_that_reads,
    a_field_with_another_storage,
    a_formset,
    an_inline_formset,
    a_file_that_is_replaced_or_cleared,
    the_admin,
    serializers_of_rest_framework,
    a_raw_body_of_rest_framework,
    csrf_tokens,
    a_view_that_only_looks,
    an_async_view,
    no_forms_at_all,
    a_view_that_ignores_the_file,
    a_handler_of_the_view,
    limits_of_forms,
    a_client_that_hangs_up,
    a_form_that_is_broken,
]
