"""A REST API as a side: failures are retried, a lost response causes no duplicate."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest

import sluiceway
from fix_server import RunningServer
from fix_taking import TORTURE, noise
from rest_target import WAYS, RestTarget
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying import options
from sluiceway.errors import BadRequest

KNOWN = ("once", "conditions", "neither")
PAIRS = [(way, knows) for way in WAYS for knows in KNOWN]
QUICK_PAIRS = [(way, KNOWN[at % len(KNOWN)]) for at, way in enumerate(WAYS)]  # each of both
COUNT = 24
FILES = {f"a/{n:02}" if n % 3 else f"{n:02} ü.bin": noise(n * 1_009, n) for n in range(COUNT)}


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts are real, and short: also the last of many."""
    monkeypatch.setattr(options, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(options, "RetryPolicy", partial(RetryPolicy, longest_wait=1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key, data in FILES.items():
        path = tmp_path / "from" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "from"


def right(target: RestTarget) -> bool:
    stored = {key: (one.sha256, one.times) for key, one in target.objects.items()}
    return stored == {key: (hashlib.sha256(data).hexdigest(), 1) for key, data in FILES.items()}


@pytest.mark.parametrize(("way", "knows"), PAIRS if TORTURE else QUICK_PAIRS)
async def test_each_kind_of_transient_failure_is_retried(
    folder: Path, way: str, knows: str
) -> None:
    """Two of five requests fail; each object is stored once, and counted once."""
    with RestTarget(
        share=0.4, ways=(way,), knows=frozenset({knows, "digests", "head"})
    ).listening() as target:
        report = await sluiceway.acopy_all(folder, target.url, retries=30)

    assert target.failed[way] > 5
    assert right(target)
    assert (report.copied, report.failed, report.skipped, report.ok) == (COUNT, 0, 0, True)
    assert report.bytes == sum(map(len, FILES.values()))


async def test_without_a_digest_the_object_is_read_back(folder: Path) -> None:
    """If HEAD gives no digest, the object of a lost response is compared byte for byte."""
    with RestTarget(
        share=0.4, ways=("reset after",), knows=frozenset({"conditions", "head"}), keep=True
    ).listening() as target:
        report = await sluiceway.acopy_all(folder, target.url, retries=30)

    assert right(target)
    assert report.copied == COUNT


async def test_equal_objects_are_skipped_and_different_ones_refused(folder: Path) -> None:
    """Same size and sha-256: skipped. Anything else needs force, which replaces it."""
    with RestTarget().listening() as target:
        await sluiceway.acopy_all(folder, target.url)
        again = await sluiceway.acopy_all(folder, target.url)
        (folder / "a/01").write_bytes(noise(1_009, 99))
        other = await sluiceway.acopy_all(folder, target.url)
        assert right(target)
        forced = await sluiceway.acopy_all(folder, target.url, force=True)

    assert (again.copied, again.skipped) == (0, COUNT)
    assert (other.copied, other.skipped, other.failed) == (0, COUNT - 1, 1)
    assert [(one.key, one.code) for one in other.failures] == [("a/01", "exists")]
    assert (forced.copied, forced.skipped) == (1, COUNT - 1)
    assert target.objects["a/01"].sha256 == hashlib.sha256(noise(1_009, 99)).hexdigest()


async def test_a_refusal_is_reported_and_the_copy_continues(folder: Path) -> None:
    """A 401 is not retried; each object is a failure with its code."""
    with RestTarget(share=1, ways=("500",)).listening() as target:
        report = await sluiceway.acopy_all(folder, target.url, retries=1)

    assert report.failed == COUNT
    assert not report.ok
    assert {(one.code, one.attempts) for one in report.failures} == {("peer-failed", 2)}


async def test_retry_after_is_respected(folder: Path) -> None:
    """The second request comes no earlier than requested."""
    with RestTarget(
        share=1, ways=("429",), retry_after="1", spared=frozenset({"HEAD"})
    ).listening() as target:
        await sluiceway.acopy_all(folder, target.url, retries=1, include=["00*"])

    puts = [one.at for one in target.asked if one.method == "PUT"]
    assert len(puts) == 2
    assert puts[1] - puts[0] >= 1


async def test_jobs_run_concurrently(folder: Path) -> None:
    """The server sees as many requests at once as there are jobs, and never more."""
    with RestTarget(wait=0.05).listening() as target:
        await sluiceway.acopy_all(folder, target.url, jobs=7)
    assert target.at_once == 7
    with RestTarget(wait=0.005).listening() as target:
        await sluiceway.acopy_all(folder, target.url, jobs=1)
    assert target.at_once == 1


async def test_each_attempt_sends_the_same_idempotency_key(folder: Path) -> None:
    """One key for each object of a run: the same when retried, another in another run."""
    with RestTarget(share=0.4, ways=("429",)).listening() as target:
        await sluiceway.acopy_all(folder, target.url, retries=30)
        first = {
            (one.key, one.headers["idempotency-key"]) for one in target.asked if one.method == "PUT"
        }
        target.objects.clear()
        target.share = 0
        await sluiceway.acopy_all(folder, target.url)
        both = {
            (one.key, one.headers["idempotency-key"]) for one in target.asked if one.method == "PUT"
        }

    assert len(first) == COUNT
    assert len(both) == 2 * COUNT
    assert all(len(once) == 32 for _, once in both)


async def test_forms_go_to_a_url_that_ends_in_files(folder: Path) -> None:
    """One POST each, the server picks the keys."""
    with RestTarget().listening() as target:
        report = await sluiceway.acopy_all(folder, f"{target.url}files")

    assert report.copied == COUNT == len(target.objects)
    assert {one.method for one in target.asked} == {"POST"}


async def test_a_form_whose_response_is_lost_is_not_sent_twice(folder: Path) -> None:
    """It cannot be looked for, so it is reported, not repeated."""
    with RestTarget(share=1, ways=("reset after",)).listening() as target:
        report = await sluiceway.acopy_all(folder, f"{target.url}files", include=["a/01"])

    assert (report.failed, len(target.objects)) == (1, 1)
    assert "may have stored it already" in report.failures[0].detail


async def test_objects_come_back_from_our_own_server(
    taker: RunningServer, folder: Path, tmp_path: Path
) -> None:
    """Folder -> server -> folder, below a prefix: the same files, listed in pages."""
    url = f"{taker.url}/files/backup/of%20ü/"
    there = await sluiceway.acopy_all(folder, url)
    back = await sluiceway.acopy_all(url.removesuffix("/"), tmp_path / "to")

    assert (there.copied, back.copied, back.failed) == (COUNT, COUNT, 0)
    assert {
        str(p.relative_to(tmp_path / "to")): p.read_bytes()
        for p in (tmp_path / "to").rglob("*")
        if p.is_file()
    } == FILES
    assert (await sluiceway.acopy_all(folder, url)).skipped == COUNT
    assert (await sluiceway.acopy_all(url, tmp_path / "to")).skipped == COUNT


async def test_a_server_without_a_listing_is_an_error(tmp_path: Path) -> None:
    """A URL without /files/, or one that answers with something else."""
    with RestTarget().listening() as target:
        with pytest.raises(BadRequest, match="no /files/"):
            await sluiceway.acopy_all(target.url, tmp_path / "to")
        with pytest.raises(BadRequest, match="has no listing"):
            await sluiceway.acopy_all(f"{target.url}files/", tmp_path / "to")
    assert not (tmp_path / "to").exists()
