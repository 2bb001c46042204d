"""CopyOptions: one place checks the arguments of `copy` and `copy_all`, and repeats no secret."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

import sluiceway
from sluiceway.copying.arguments.keywords import CopyAllKeywords, CopyKeywords
from sluiceway.copying.cluster.cluster_job import ClusterJob, worker_keywords
from sluiceway.copying.options import (
    RETRIES,
    CopyOptions,
)
from sluiceway.errors import BadRequest

URL = "https://host/files/"


def test_one_and_many_have_the_same_defaults() -> None:
    one, many = CopyOptions.for_one("a", URL), CopyOptions.for_many("a", URL)

    assert one.retry_policy.attempts == RETRIES + 1
    assert many.retry_policy.attempts == RETRIES + 1
    assert (one.jobs, one.force, one.rate, many.jobs) == (None, False, None, None)


def test_amounts_are_numbers_or_texts() -> None:
    options = CopyOptions.for_one("-", URL, size="10GiB", limit_rate="1MiB")

    assert (options.size, options.rate) == (10 << 30, 1 << 20)


def test_options_are_frozen() -> None:
    options = CopyOptions.for_one("a", URL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.force = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("function", "keywords"),
    [(sluiceway.copy, CopyKeywords), (sluiceway.copy_all, CopyAllKeywords)],
    ids=["copy", "copy_all"],
)
def test_every_keyword_is_documented(function: object, keywords: type) -> None:
    """In the Args of the docstring, alone or in a list of several."""
    args = (inspect.getdoc(function) or "").partition("Args:")[2].partition("Returns:")[0]
    documented = set(re.findall(r"\w+(?=[,:]| \(seconds\),)", args))

    assert set(keywords.__annotations__) <= documented


@pytest.mark.parametrize(
    ("source", "target", "given"),
    [
        ("a", "b", {}),
        ("a", URL, {"token": "hush\n"}),
        ("a", URL, {"headers": {"Content-Length": "hush"}}),
        ("a", URL, {"headers": {"X:": "hush"}}),
        ("a", URL, {"from_headers": {"X": "hush"}}),
        ("a", URL, {"retries": 101}),
        ("a", URL, {"size": -1}),
        ("a", URL, {"timeout": 0}),
        ("a", URL, {"auth": "digest"}),
        ("a", URL, {"pack": "7z"}),
        ("a", "s3://bucket/a", {"headers": {"X": "hush"}}),
        (URL, "a", {"size": 1}),
        (URL, "a", {"type": "text/plain"}),
        (URL, "a", {"field": "hush"}),
    ],
)
def test_contradictions_are_refused_without_values(
    source: str, target: str, given: CopyKeywords
) -> None:
    with pytest.raises(BadRequest) as caught:
        CopyOptions.for_one(source, target, **given)
    assert "hush" not in caught.value.detail


@pytest.mark.parametrize(
    "given",
    [
        {"jobs": 0},
        {"jobs": 257},
        {"retries": -1},
        {"include": ["["]},
        {"unpack": "zip"},
        {"headers": {"X": "hush"}},
        {"engine": "spark"},
        {"engine": "dask"},
        {"scheduler": "tcp://host:1"},
        {"engine": "dask", "scheduler": "tcp://host:1"},  # into a folder
        {"journal": "s3://hush@bucket/journal"},
        {"journal": "https://hush@host/journal"},
    ],
)
def test_contradictions_of_many_are_refused(given: CopyAllKeywords) -> None:
    with pytest.raises(BadRequest) as caught:
        CopyOptions.for_many("a", "b", **given)
    assert "hush" not in caught.value.detail


@pytest.mark.parametrize(
    ("source", "target", "given"),
    [
        ("a", "https://host/files", {}),  # forms
        ("a", "sqlite:///b.db/", {}),
        ("sqlite:///a.db/", URL, {}),
        ("a", URL, {"limit_rate": 1}),
        ("a", URL, {"unpack": "tar"}),
        ("a", URL, {"scheduler": "hush:8786"}),
        ("", URL, {}),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(
    source: str, target: str, given: CopyAllKeywords
) -> None:
    cluster: CopyAllKeywords = {"engine": "dask", "scheduler": "tcp://host:8786"}
    both: CopyAllKeywords = {**cluster, **given}
    with pytest.raises(BadRequest) as caught:
        CopyOptions.for_many(source, target, **both)
    assert "hush" not in caught.value.detail
    assert CopyOptions.for_many("a", "https://host/files/", **cluster).scheduler


def test_what_workers_get_is_shown_without_secrets() -> None:
    """Dask logs the arguments of a task that fails."""
    keywords = worker_keywords({"token": "hush", "jobs": 3, "journal": "postgresql://u:hush@h/d"})
    job = ClusterJob("run", "job", True, "1.0", "https://u:hush@host/", "s3://hush", keywords)

    assert "hush" not in repr(job)
    assert keywords == {"token": "hush"}
