"""A Django site with our storage does what it does with Django's own, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fix_django_shop import OURS, STOCK, UVICORN, Shop, shop
from fix_postgres import Database
from fix_s3 import Objects
from interop.django_stories import (
    STORIES,
    Story,
    a_form_that_is_not_valid,
    a_view_that_only_looks,
    an_async_view,
    an_image_field,
    names_that_are_taken,
)

Run = Callable[[Story], object]


def seen(site: Shop, story: Story) -> object:
    site.empty()
    return [story(site), site.state()]


def modes(site: Shop) -> list[tuple[str, int]]:
    """Permissions of files and of their folders."""
    files = [path for path in site.media.rglob("*") if path.is_file()]
    files = [path for path in files if ".sluiceway" not in path.parts]
    folders = {path.parent for path in files} - {site.media}
    return sorted((path.name.partition("_")[0], path.stat().st_mode) for path in (*files, *folders))


# Those that need most of a store; all of them under torture.
FIRST = {an_image_field, names_that_are_taken, a_form_that_is_not_valid, a_view_that_only_looks}
SOME = [
    pytest.param(story, marks=() if story in FIRST else pytest.mark.torture, id=story.__name__)
    for story in STORIES
]


def stored_in(place: str) -> dict[str, Any]:
    """Settings of a site that stores there; a bucket gets parts of 5 MiB."""
    options = {"to": place, "memory_budget": "20MiB", "base_url": "/media/"}
    storage = {"BACKEND": "sluiceway.django.Storage", "OPTIONS": options}
    return {**OURS, "STORAGES": {"default": storage}}


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
    name = s3.fresh()
    settings = stored_in(s3.url(name, "media"))
    with shop(tmp_path_factory.mktemp("s3") / "site", settings, s3.env) as site:
        yield site, name


@pytest.fixture(scope="module")
def table(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> Iterator[tuple[Shop, str]]:
    name = database.fresh()
    place = f"{database.url}&table={name}"
    subprocess.run([sys.executable, "-m", "sluiceway", "init", place], check=True)
    with shop(tmp_path_factory.mktemp("postgres") / "site", stored_in(place)) as site:
        yield site, name


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_folder_with_drafts_is_as_djangos_own(stock: Run, folder: Shop, story: Story) -> None:
    """The same answers, rows, files and permissions; no draft and no temporary file is left."""
    assert (seen(folder, story), modes(folder)) == stock(story)
    assert folder.drafts() == []
    assert not list(folder.temporary.iterdir())


@pytest.mark.parametrize("story", SOME)
def test_a_bucket_is_as_a_folder_of_django(
    stock: Run, bucket: tuple[Shop, str], s3: Objects, story: Story
) -> None:
    site, name = bucket
    expected: Any = stock(story)
    assert seen(site, story) == expected[0]
    assert s3.unfinished(name) == []
    assert [key for key in s3.keys(name) if ".sluiceway" in key] == []
    assert not list(site.temporary.iterdir())


@pytest.mark.parametrize("story", SOME)
def test_a_database_is_as_a_folder_of_django(
    stock: Run, table: tuple[Shop, str], database: Database, story: Story
) -> None:
    site, name = table
    expected: Any = stock(story)
    assert seen(site, story) == expected[0]
    assert database.leftovers(name) == []
    assert not list(site.temporary.iterdir())


def test_under_asgi_too(stock: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Django stores the body first there; all else is the same."""
    with shop(tmp_path_factory.mktemp("asgi") / "site", OURS, command=UVICORN) as site:
        for story in (an_async_view, an_image_field, a_form_that_is_not_valid):
            assert (seen(site, story), modes(site)) == stock(story)
            assert site.drafts() == []
