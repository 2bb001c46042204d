"""A Django site with our storage does what it does with Django's own, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from fix_django_shop import OURS, STOCK, UVICORN, Shop, shop
from fix_postgres import Database
from fix_s3 import Objects
from fix_taking import eventually, noise
from interop.django_stories import (
    STORIES,
    TITLE,
    Story,
    a_field_with_another_storage,
    a_form_that_is_not_valid,
    an_async_view,
    an_image_field,
    names_that_are_taken,
)
from raw_http import Wire, form_begun, form_body, form_head

Run = Callable[[Story], object]

MIB = 1 << 20
PARTS = b"magic" + noise(8 * MIB)  # of the site's bucket, whose parts have 5 MiB
SHA = hashlib.sha256(PARTS).hexdigest()


def seen(site: Shop, story: Story) -> object:
    site.empty()
    return [story(site), site.state()]


def modes(site: Shop) -> list[tuple[str, int]]:
    """Permissions of files and of their folders."""
    files = [path for path in site.media.rglob("*") if path.is_file()]
    files = [path for path in files if ".sluiceway" not in path.parts]
    folders = {path.parent for path in files} - {site.media}
    return sorted((path.name.partition("_")[0], path.stat().st_mode) for path in (*files, *folders))


def some(*quick: Story) -> list[Any]:
    """All stories; those that need most of a store run in `make test`, the others under torture."""
    return [
        pytest.param(story, marks=() if story in quick else pytest.mark.torture, id=story.__name__)
        for story in STORIES
    ]


def stored_in(place: str) -> dict[str, Any]:
    """Settings of a site that stores there; a bucket gets parts of 5 MiB."""
    options = {"to": place, "memory_budget": "20MiB", "base_url": "/media/"}
    storage = {"BACKEND": "sluiceway.django.Storage", "OPTIONS": options}
    return {**OURS, "STORAGES": {"default": storage}}


def other_in_s3(settings: dict[str, Any], s3: Objects, bucket: str) -> dict[str, Any]:
    """The same, and the field with another storage has one of django-storages."""
    options = {
        "bucket_name": bucket,
        "endpoint_url": s3.endpoint,
        "access_key": s3.env["AWS_ACCESS_KEY_ID"],
        "secret_key": s3.env["AWS_SECRET_ACCESS_KEY"],
        "region_name": "us-east-1",
        "addressing_style": "path",
        "file_overwrite": False,
    }
    other = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    return {**settings, "STORAGES": {**settings["STORAGES"], "other": other}}


def made_table(database: Database) -> str:
    name = database.fresh()
    place = f"{database.url}&table={name}"
    subprocess.run([sys.executable, "-m", "sluiceway", "init", place], check=True)
    return name


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """What Django itself does, with the permissions of its files; each story runs once."""
    known: dict[Story, object] = {}
    with shop(tmp_path_factory.mktemp("stock") / "site", STOCK) as site:

        def run(story: Story) -> object:
            if story not in known:
                known[story] = seen(site, story), modes(site)
            return known[story]

        yield run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("ours") / "site", OURS) as site:
        yield site


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, s3: Objects) -> Iterator[tuple[Shop, str]]:
    name, other = s3.fresh(), s3.fresh()
    settings = other_in_s3(stored_in(s3.url(name, "media")), s3, other)
    with shop(tmp_path_factory.mktemp("s3") / "site", settings, s3.env) as site:
        yield site, name


@pytest.fixture(scope="module")
def table(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> Iterator[tuple[Shop, str]]:
    name = made_table(database)
    settings = stored_in(f"{database.url}&table={name}")
    with shop(tmp_path_factory.mktemp("postgres") / "site", settings) as site:
        yield site, name


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_folder_with_drafts_is_as_djangos_own(stock: Run, folder: Shop, story: Story) -> None:
    """The same answers, rows, files and permissions; no draft and no temporary file is left."""
    assert (seen(folder, story), modes(folder)) == stock(story)
    eventually(lambda: folder.drafts() == [], "the request has ended")
    assert not list(folder.temporary.iterdir())


@pytest.mark.parametrize("story", some(a_field_with_another_storage, names_that_are_taken))
def test_a_bucket_is_as_a_folder_of_django(
    stock: Run, bucket: tuple[Shop, str], s3: Objects, story: Story
) -> None:
    site, name = bucket
    expected: Any = stock(story)
    assert seen(site, story) == expected[0]
    eventually(lambda: s3.unfinished(name) == [], "the request has ended")
    assert [key for key in s3.keys(name) if ".sluiceway" in key] == []
    assert not list(site.temporary.iterdir())


@pytest.mark.parametrize("story", some(an_image_field))
def test_a_database_is_as_a_folder_of_django(
    stock: Run, table: tuple[Shop, str], database: Database, story: Story
) -> None:
    site, name = table
    expected: Any = stock(story)
    assert seen(site, story) == expected[0]
    eventually(lambda: database.leftovers(name) == [], "the request has ended")
    assert not list(site.temporary.iterdir())


def test_under_asgi_too(stock: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Django stores the body first there; all else is the same."""
    with shop(tmp_path_factory.mktemp("asgi") / "site", OURS, command=UVICORN) as site:
        for story in (an_async_view, an_image_field, a_form_that_is_not_valid):
            assert (seen(site, story), modes(site)) == stock(story)
            eventually(lambda: site.drafts() == [], "the request has ended")


# Files of several parts


def head(s3: Objects, bucket: str, key: str) -> tuple[int, str]:
    """The number of parts of an object, 1 for a copy, and the SHA-256 of its bytes."""
    found = s3.client.get_object(Bucket=bucket, Key=key)
    digest = hashlib.sha256(found["Body"].read()).hexdigest()
    return int(found["ETag"].strip('"').rpartition("-")[2]), digest


def test_parts_go_to_the_name_of_the_field_while_the_form_arrives(
    bucket: tuple[Shop, str], s3: Objects
) -> None:
    """No reader sees the object, no temporary file is made, and saving copies nothing."""
    site, name = bucket
    site.empty()
    token, key = site.token(), f"media/books/{datetime.now(UTC).year}/parts.bin"
    cookie = f"csrftoken={site.session.cookies['csrftoken']}"
    begun = form_begun(
        ("csrfmiddlewaretoken", None, token.encode()),
        ("title", None, b"parts"),
        ("file", "parts.bin", b""),
    )
    end = form_body(("x", "y", b"@@")).partition(b"@@")[2]
    length = len(begun) + len(PARTS) + len(end)
    with Wire(site.port) as wire:
        wire.send(
            form_head(length, f"Cookie: {cookie}", target="/form/book") + begun + PARTS[: 7 * MIB]
        )
        eventually(lambda: s3.unfinished(name) == [key], "parts are on their way")
        assert s3.keys(name) == []
        assert not list(site.temporary.iterdir())
        wire.send(PARTS[7 * MIB :] + end)
        answer = wire.answer()

    assert (answer.status, answer.json()["sha"]) == (201, SHA)
    assert s3.keys(name) == [key]
    assert head(s3, name, key) == (2, SHA)
    assert s3.unfinished(name) == []


@pytest.mark.parametrize(
    ("path", "field", "saved"),
    [
        pytest.param(
            *("form/called", "called", "media/called/A book/a.bin"), marks=pytest.mark.torture
        ),
        ("plainly", "file", "media/plain/a.bin"),
        pytest.param(*("form/magic", "spell", "media/magic/a.bin"), marks=pytest.mark.torture),
    ],
    ids=["a function names it", "the view names it and reads all of it", "a validator reads"],
)
def test_a_name_that_was_not_expected_costs_a_copy_inside_of_the_bucket(
    bucket: tuple[Shop, str], s3: Objects, path: str, field: str, saved: str
) -> None:
    """And leaves nothing elsewhere."""
    site, name = bucket
    site.empty()
    answer = site.post(path, TITLE, {field: ("a.bin", PARTS)})

    assert answer.ok
    assert head(s3, name, saved) == (1, SHA)
    copied = ["media/plain/copied.bin", "media/plain/made.txt"] if path == "plainly" else []
    assert s3.keys(name) == sorted([saved, *copied])
    assert s3.unfinished(name) == []


def test_a_large_file_that_is_read_and_not_saved_leaves_nothing(
    bucket: tuple[Shop, str], s3: Objects
) -> None:
    """Its parts become an object for the reader, which is deleted; so are unread parts."""
    site, name = bucket
    site.empty()
    looked = site.post("look", {}, {"file": ("a.bin", PARTS)}, csrf="").json()["file"][0]
    refused = site.post("form/book", {"title": ""}, {"file": ("a.bin", PARTS)})

    assert (looked["chunks"], looked["again"], looked["by path"]) == (SHA, SHA, SHA)
    assert looked["tail"] == PARTS[-5:].hex()
    assert refused.status_code == 422
    eventually(lambda: s3.unfinished(name) == s3.keys(name) == [], "the request has ended")
    assert not list(site.temporary.iterdir())


@pytest.mark.torture
def test_two_large_files_of_one_name_at_once_get_two_names(
    bucket: tuple[Shop, str], s3: Objects
) -> None:
    site, name = bucket
    site.empty()
    token, cookies = site.token(), dict(site.session.cookies)

    def send(data: bytes) -> Any:
        return requests.post(
            site.url + "form/book",
            data={**TITLE, "csrfmiddlewaretoken": token},
            files={"file": ("same.bin", data)},
            cookies=cookies,
            timeout=120,
        ).json()

    sent = [PARTS, PARTS[::-1]]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(send, sent))

    assert [one["sha"] for one in found] == [hashlib.sha256(one).hexdigest() for one in sent]
    assert len({one["name"] for one in found}) == 2
    assert sorted(s3.keys(name)) == sorted(f"media/{one['name']}" for one in found)
    assert s3.unfinished(name) == []


@pytest.mark.torture
def test_a_draft_in_a_database_is_read_back_before_it_is_saved(
    table: tuple[Shop, str], database: Database
) -> None:
    site, name = table
    site.empty()
    looked = site.post("look", {}, {"file": ("a.bin", PARTS)}, csrf="").json()["file"][0]
    saved = site.post("form/book", TITLE, {"file": ("a.bin", PARTS)})

    assert (looked["chunks"], looked["again"], looked["by path"]) == (SHA, SHA, SHA)
    assert (saved.status_code, saved.json()["sha"]) == (201, SHA)
    eventually(lambda: database.leftovers(name) == [], "the request has ended")
