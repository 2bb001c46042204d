"""The restore proof: a thousand objects to a REST API that fails, by a copier that is killed.

One request in five fails. Nothing is lost, stored twice or incomplete; the last report is right.
The usual run has fewer and smaller objects.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import sluiceway
from fix_postgres import Database
from fix_taking import TORTURE, noise
from rest_target import RestTarget

# objects, kill -9 of the copier, bytes
COUNT, KILLS, LARGEST = (1000, 20, 8 << 20) if TORTURE else (80, 3, 256 << 10)
AHEAD = 5  # objects that it may store until it is killed
SMALLEST = 1 << 10
SHARE = 0.2  # of requests that fail
LIMIT = 3600 if TORTURE else 240  # seconds
QUICK_COPY = Path(__file__).parents[1] / "quick_copy.py"
# A kind of store, and how the target recognises a request that is sent again.
PAIRS = [
    (kind, knows) for kind in ("folder", "postgresql", "s3") for knows in ("once", "conditions")
]
QUICK_PAIRS = [("folder", "conditions"), ("postgresql", "once")]


@dataclass
class Stocked:
    """A place with objects: its URL, the environment to reach it, and the digest of each object."""

    url: str
    sums: dict[str, str]
    sizes: dict[str, int]
    env: dict[str, str] = field(default_factory=dict)


def made(folder: Path) -> dict[str, str]:
    """Write the objects as files. Sizes spread evenly over the powers of two: most are small."""
    chance, sums = random.Random(4), {}
    for number in range(COUNT):
        size = round(SMALLEST * (LARGEST / SMALLEST) ** chance.random())
        data, key = noise(size, number), f"{number % 17:02}/object {number:04}.bin"
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
        sums[key] = hashlib.sha256(data).hexdigest()
    return sums


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("objects")
    return folder, made(folder)


@pytest.fixture
def stocked(
    request: pytest.FixtureRequest, files: tuple[Path, dict[str, str]], kind: str
) -> Iterator[Stocked]:
    """The objects in a kind of store, copied there by this program."""
    folder, sums = files
    sizes = {key: (folder / key).stat().st_size for key in sums}
    if kind == "folder":
        yield Stocked(str(folder), sums, sizes)
    elif kind == "postgresql":
        database: Database = request.getfixturevalue("database")
        table = database.fresh()
        place, mark, query = database.url.partition("?")
        subprocess.run(
            [sys.executable, "-m", "sluiceway", "init", f"{database.url}&table={table}"],
            check=True,
            capture_output=True,
        )
        there = Stocked(f"{place}/backup/{mark}{query}&table={table}", sums, sizes)
        assert sluiceway.copy_all(folder, there.url).ok
        yield there
        database.drop(table)
    else:
        s3 = request.getfixturevalue("s3")
        there = Stocked(s3.url(s3.fresh(), "backup/"), sums, sizes, s3.env)
        line = [sys.executable, "-m", "sluiceway", "copy", "-r", "--quiet", str(folder), there.url]
        subprocess.run(line, check=True, env={**os.environ, **there.env})
        yield there


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize(("kind", "knows"), PAIRS if TORTURE else QUICK_PAIRS)
def test_a_restore_survives_failures_and_kills(
    stocked: Stocked, tmp_path: Path, kind: str, knows: str
) -> None:
    """Each object is stored exactly once with its own bytes, whatever failed and was killed."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    target = RestTarget(share=SHARE, seed=seed, knows=frozenset({knows, "digests", "head"}))
    with target.listening():
        for number in range(KILLS):
            copier = started(stocked, target, tmp_path / "journal", tmp_path / "out")
            # Killed at a random moment, after a random number of objects.
            count = len(target.objects) + chance.randint(0, COUNT // (KILLS + KILLS // 2))
            target.most = count + AHEAD  # else a machine that stops us lets it end before
            end = time.monotonic() + 60
            while copier.poll() is None and len(target.objects) < count and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.05))
            assert copier.poll() is None, f"it ended before kill {number}"
            copier.kill()
            copier.communicate()
        target.most = None
        last = started(stocked, target, tmp_path / "journal", tmp_path / "out")
        _, errors = last.communicate()

    assert last.returncode == 0, errors
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    report = lines[-1]["report"]
    lost = [key for key in stocked.sums if key not in target.objects]
    wrong = [key for key, one in target.objects.items() if one.sha256 != stocked.sums[key]]
    twice = [key for key, one in target.objects.items() if one.times != 1]
    assert (lost, wrong, twice) == ([], [], [])
    assert (report["ok"], report["complete"], report["failed"], report["left_out"]) == (
        True,
        True,
        0,
        0,
    )
    assert report["copied"] + report["skipped"] == COUNT == len(target.objects)
    copied = [line for line in lines[:-1] if line["state"] == "copied"]
    assert len(copied) == report["copied"]
    assert report["bytes"] == sum(stocked.sizes[line["key"]] for line in copied)
    assert sum(target.failed.values()) > COUNT * SHARE / 2
    with closing(sqlite3.connect(tmp_path / "journal")) as db:
        rows = db.execute("SELECT key, digest FROM objects").fetchall()
    assert dict(rows) == {key: f"sha-256:{one}" for key, one in stocked.sums.items()}
    assert len(rows) == COUNT


def started(
    stocked: Stocked, target: RestTarget, journal: Path, out: Path
) -> subprocess.Popen[str]:
    words = [
        "copy",
        "-r",
        "--json",
        "--journal",
        str(journal),
        "--retries",
        "20",
        stocked.url,
        target.url,
    ]
    with out.open("w") as stdout:
        return subprocess.Popen(
            [sys.executable, str(QUICK_COPY), *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **stocked.env},
        )
