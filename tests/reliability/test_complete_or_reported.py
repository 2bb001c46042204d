"""Random objects between any two sides: the report matches the target, byte for byte.

50 cases usually, 10,000 with SLUICEWAY_TORTURE=1. Each case follows from its number, which a
failure names.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import unicodedata
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import requests
from click.testing import CliRunner

import sluiceway
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer
from fix_sftp import SftpServer
from fix_taking import TORTURE
from ordinary_rights import ordinary_rights
from sluiceway.cli.main import main
from sluiceway.pipe.budget import Budget
from sluiceway.stores.contract import Metadata, Store
from sluiceway.stores.registry import open_place
from sluiceway.uploads.keys import new_id

T = TypeVar("T")
CASES = 10_000 if TORTURE else 50
BLOCK = 50  # cases of one test
NAMES = [
    "a", "b.txt", "two words", "ü", "cafe\u0301", "café", "Ångström", "日本語",
    "😀", "a+b", "100%", "%41", "a&b=c", "#x", "?q", "~x",
    "-rf", "x;y", "'q'", '"d"', "a,b", ".hidden", ".x.part", "x.part",
    "aux.c", "CON", "back\\slash", "tab\there", "line\nend", "\x1b[31m", "a\u202eb", "end.",
    "end ", " begin", "...", ".sluiceway-note", "a:b", "a|b", "<a>", "*",
    "é" * 60, "n" * 200, "\x7f", "\u2028", "%2e%2e", "x\\..\\y",
]  # fmt: skip
SIZES = [0, 1, 7, 4095, 4096, 4097, 65_536, 70_001]


@dataclass
class Side:
    """A kind of place: makes a new one, fills it and lists it, without a copy."""

    fresh: Callable[[], str]
    fill: Callable[[str, dict[str, bytes]], dict[str, bytes]]  # returns the objects it accepted
    look: Callable[[str], dict[str, bytes]]


def fill_folder(place: str, objects: dict[str, bytes]) -> dict[str, bytes]:
    taken = {}
    Path(place).mkdir(exist_ok=True)
    for key, data in objects.items():
        path = Path(place, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # a file where a folder is needed: left out
            continue
        taken[key] = data
    return taken


def look_folder(place: str) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in Path(place).rglob("*")
        if path.is_file()
    }


def in_store(place: str, work: Callable[[Store, str], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        opened = open_place(place, Budget(64 << 20))
        try:
            return await work(opened.store, opened.key)
        finally:
            await opened.store.aclose()

    return asyncio.run(run())


def fill_store(place: str, objects: dict[str, bytes]) -> dict[str, bytes]:
    async def fill(store: Store, prefix: str) -> dict[str, bytes]:
        taken = {}
        for key, data in objects.items():
            draft = await store.draft(new_id(), len(data))
            try:
                await draft.write(data)
                await draft.publish(prefix + key, Metadata(""))
            except sluiceway.SluiceError:  # not a key for this store: left out
                continue
            finally:
                await draft.discard()
            taken[key] = data
        return taken

    return in_store(place, fill)


def look_store(place: str) -> dict[str, bytes]:
    async def look(store: Store, prefix: str) -> dict[str, bytes]:
        page = await store.list(prefix)
        assert page.complete
        found = {}
        for entry in page.entries:
            opened = await store.open(entry.key)
            found[entry.key.removeprefix(prefix)] = b"".join(
                [bytes(piece) async for piece in opened.open()]
            )
            await opened.aclose()
        return found

    return in_store(place, look)


def fill_server(place: str, objects: dict[str, bytes]) -> dict[str, bytes]:
    taken = {}
    with requests.Session() as session:
        for key, data in objects.items():
            response = session.put(
                place + quote(key, safe="/"), data=data, headers={"If-None-Match": "*"}, timeout=60
            )
            if response.status_code == 201:
                taken[unicodedata.normalize("NFC", key)] = data
    return taken


def look_server(place: str) -> dict[str, bytes]:
    base, _, prefix = place.partition("/files/")
    with requests.Session() as session:
        listed = session.get(
            f"{base}/files", params={"prefix": prefix, "limit": "1000"}, timeout=60
        ).json()
        assert listed["next"] is None
        found = {
            one["key"]: session.get(f"{base}/files/{quote(one['key'])}", timeout=60).content
            for one in listed["files"]
        }
    return {key.removeprefix(prefix): data for key, data in found.items()}


@pytest.fixture(scope="module")
def sides(
    taker: RunningServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Side]]:
    numbers, root = itertools.count(), tmp_path_factory.mktemp("sides")
    kinds = {
        "folder": Side(lambda: str(root / f"f{next(numbers)}"), fill_folder, look_folder),
        "server": Side(lambda: f"{taker.url}/files/s{next(numbers)}/", fill_server, look_server),
        "fsspec": Side(lambda: f"fsspec+file://{root}/x{next(numbers)}/", fill_store, look_store),
        "memory": Side(
            lambda: f"fsspec+memory://{root.name}/m{next(numbers)}/", fill_store, look_store
        ),
    }
    kept = dict(os.environ)
    if TORTURE:
        database: Database = request.getfixturevalue("database")
        s3: Objects = request.getfixturevalue("s3")
        sftp: SftpServer = request.getfixturevalue("sftp")
        table, bucket = database.fresh(), s3.fresh()
        os.environ.update(s3.env)
        place, mark, query = database.url.partition("?")
        in_store(f"{place}{mark}{query}&table={table}", lambda store, _: store.init())  # type: ignore[attr-defined]
        kinds["postgres"] = Side(
            lambda: f"{place}/p{next(numbers)}/{mark}{query}&table={table}", fill_store, look_store
        )
        kinds["s3"] = Side(lambda: s3.url(bucket, f"b{next(numbers)}/"), fill_store, look_store)
        kinds["sftp"] = Side(lambda: sftp.url(f"d{next(numbers)}/"), fill_store, look_store)
    yield kinds
    os.environ.clear()
    os.environ.update(kept)


def random_objects(chance: random.Random) -> dict[str, bytes]:
    """A few objects with odd names, in folders with odd names."""
    objects = {}
    for _ in range(chance.randrange(1, 9)):
        key = "/".join(chance.choice(NAMES) for _ in range(chance.choice([1, 1, 1, 2, 3])))
        objects[key] = (
            chance.randbytes(chance.choice(SIZES))
            if chance.random() < 0.9
            else bytes(chance.choice(SIZES))
        )
    return objects


class Changer:
    """Changes the source while the copy runs."""

    def __init__(self, chance: random.Random, source: str, objects: dict[str, bytes]) -> None:
        self.chance, self.source, self.objects = chance, source, objects
        self.results: dict[str, sluiceway.ObjectResult] = {}
        self.versions = {key: {data} for key, data in objects.items()}
        self.active = os.path.isdir(source) and chance.random() < 0.4

    def __call__(self, now: sluiceway.Overall) -> None:
        if now.result is not None:
            assert now.result.key not in self.results, "ended twice"
            self.results[now.result.key] = now.result
        if self.active and now.result is not None:
            key = self.chance.choice(sorted(self.objects))
            path = Path(self.source, key)
            if self.chance.random() < 0.5:
                path.unlink(missing_ok=True)
            elif path.exists():
                data = self.chance.randbytes(self.chance.choice(SIZES))
                self.versions[key].add(data)
                path.write_bytes(data)


def one_case(number: int, sides: dict[str, Side]) -> None:
    chance = random.Random(number)
    one, other = chance.choice(sorted(sides)), chance.choice(sorted(sides))
    source, destination = sides[one].fresh(), sides[other].fresh()
    objects = sides[one].fill(source, random_objects(chance))
    before: dict[str, bytes] = {}
    if objects and chance.random() < 0.4:  # an object exists already: an equal or a different one
        key = chance.choice(sorted(objects))
        before = sides[other].fill(
            destination, {key: objects[key] if chance.random() < 0.5 else b"another"}
        )
    special = 0
    if one == "folder" and chance.random() < 0.3:
        Path(source).mkdir(exist_ok=True)
        os.symlink("nowhere", Path(source, "a link"))
        os.mkfifo(Path(source, "a pipe"))
        special = 2
    if not objects and not special:
        return
    closed = closed_in(source, chance) if one == "folder" else None
    force, changer = chance.random() < 0.3, Changer(chance, source, objects)
    changer.active = changer.active and closed is None
    asked: dict[str, Any] = {
        "force": force,
        "retries": 1,
        "jobs": chance.choice([1, 4]),
        "preserve": chance.random() < 0.3,
    }
    with ordinary_rights():
        report = sluiceway.copy_all(source, destination, on_progress=changer, **asked)
    if closed is not None:
        closed.chmod(0o755)
    there, ended = sides[other].look(destination), changer.results
    form = (
        (lambda key: unicodedata.normalize("NFC", key)) if other == "server" else (lambda key: key)
    )

    assert (
        report.copied + report.skipped + report.left_out + report.failed
        == report.listed
        == len(ended)
    )
    hidden = (
        []
        if closed is None
        else [key for key in objects if Path(source, key).is_relative_to(closed)]
    )
    # A folder whose name no key may have is one failure, with all that is in it.
    inside = {key for key in objects if any(failed_folder(key, ended))}
    assert set(objects) - set(hidden) - inside <= set(ended) or changer.active, (
        "a listed object was not reported"
    )
    assert closed is None or ended[closed.relative_to(source).as_posix()].state == "failed", (
        "unreadable and not reported"
    )
    arrived = {key for key, end in ended.items() if end.state in ("copied", "skipped")}
    assert (len(arrived), report.left_out) == (report.copied + report.skipped, special)
    for key in arrived:
        assert there[form(key)] in changer.versions[key], f"{key!r} is not what was sent"
    assert {form(key) for key in arrived} | set(before) == set(there), (
        "the target has something else than reported"
    )
    assert len({form(key) for key in arrived}) == len(arrived), (
        "two objects were reported, and one is stored"
    )
    for key, data in before.items():
        replaced = force and any(form(one) == key for one in arrived)
        assert replaced or there[key] == data, f"{key!r} was replaced unasked"
    assert not arrived & set(hidden)
    failed = [end for end in ended.values() if end.state == "failed"]
    assert report.ok == (not failed)
    assert all(end.code and end.code != "error" and end.detail for end in failed)
    if number % 20 == 0 and not changer.active:
        the_command_agrees(source, destination, closed)


def failed_folder(key: str, ended: dict[str, sluiceway.ObjectResult]) -> Iterator[bool]:
    """For each folder of the key, whether it was reported as failed."""
    for folder in PurePosixPath(key).parents:
        end = ended.get(str(folder))
        yield end is not None and end.state == "failed"


def closed_in(source: str, chance: random.Random) -> Path | None:
    """A file or folder that its owner may not read."""
    found = sorted(
        path
        for path in Path(source).rglob("*")
        if not path.is_symlink() and (path.is_file() or path.is_dir())
    )
    if not found or chance.random() < 0.7:
        return None
    closed = chance.choice(found)
    closed.chmod(0)
    return closed


def the_command_agrees(source: str, destination: str, closed: Path | None) -> None:
    """Run the command on the same sides: its exit code and report agree."""
    if closed is not None:
        closed.chmod(0)
    with ordinary_rights():
        ran = CliRunner().invoke(
            main, ["copy", "-r", "--json", "--retries", "1", source, destination]
        )
    if closed is not None:
        closed.chmod(0o755)
    last = json.loads(ran.stdout.splitlines()[-1])
    report = last.get("report", last)
    assert (
        report["copied"] + report["skipped"] + report["left_out"] + report["failed"]
        == report["listed"]
    )
    assert ran.exit_code == (6 if report["failed"] else 0), ran.output


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(0, CASES, BLOCK))
def test_the_report_matches_the_target(sides: dict[str, Side], first: int) -> None:
    for number in range(first, first + BLOCK):
        try:
            one_case(number, sides)
        except Exception as error:
            raise AssertionError(f"case {number}: {error!r}") from error
