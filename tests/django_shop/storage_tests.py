"""`sluiceway.django.Storage` by itself, run by Django's test runner: as a folder and as a store."""

from __future__ import annotations

import gc
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.db import models
from django.db.migrations.writer import MigrationWriter
from django.db.models.fields.files import FieldFile
from django.test import SimpleTestCase

from sluiceway.django import Storage
from sluiceway.errors import SluiceError

DATA = bytes(range(256)) * 5000


class Public(Storage):
    """As people change a storage."""

    def __init__(self) -> None:
        super().__init__(to="memory:", base_url="/public/")

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"x-{name}"


class StorageTests(SimpleTestCase):
    """What holds for each kind."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "media"
        sqlite = f"sqlite:///{folder.name}/files.db?table=files"
        behind = Path(folder.name) / "fsspec"
        behind.mkdir()
        self.storages = [
            Storage(self.folder),
            Storage("memory:"),
            Storage(sqlite),
            Storage(f"fsspec+file://{behind}"),
        ]
        for storage in self.storages:
            for name in all_files(storage):
                storage.delete(name)

    def test_files_are_saved_and_read(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                name = storage.save("a/b/one.bin", ContentFile(DATA))
                self.assertEqual(name, "a/b/one.bin")
                self.assertTrue(storage.exists(name))
                self.assertEqual(storage.size(name), len(DATA))
                other = storage.save("a/b/one.bin", ContentFile("text"))
                self.assertRegex(other, r"^a/b/one_\w{7}\.bin$")
                with storage.open(other) as file:
                    self.assertEqual(file.read(), b"text")

    def test_a_file_that_nobody_closed_stops_nothing(self) -> None:
        """The garbage collector closes it, in any thread: in that of the event loop as well."""

        async def collect() -> None:
            gc.collect()

        for storage in self.storages[1:]:
            with self.subTest(storage.opened.store.traits.name):
                storage.save("a.bin", ContentFile(DATA))
                gc.disable()
                self.addCleanup(gc.enable)
                file = storage.open("a.bin")
                file.read(10)
                cycle: list[Any] = [file]
                cycle.append(cycle)
                del file, cycle
                storage.opened.start(collect()).result(10)
                self.assertEqual(storage.size("a.bin"), len(DATA))

    def test_a_closed_file_opens_again(self) -> None:
        """As models do: `book.image.width` closes the file, and then a view opens it."""
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                name = storage.save("a.bin", ContentFile(DATA))
                owner: Any = None
                file = FieldFile(owner, models.FileField(storage=storage), name)
                for _ in range(2):
                    self.assertEqual(file.open().read(), DATA)
                    self.assertEqual(file.open().read(), DATA)
                    file.close()
                    self.assertTrue(file.closed)

    def test_a_file_is_read_from_any_place(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                storage.save("a.bin", ContentFile(DATA))
                with storage.open("a.bin") as file:
                    self.assertEqual(file.read(10), DATA[:10])
                    self.assertEqual(file.seek(-100, 2), len(DATA) - 100)
                    self.assertEqual(file.read(), DATA[-100:])
                    self.assertEqual((file.seek(300_000), file.read(5)), (300_000, DATA[224:229]))
                    self.assertEqual(file.seek(0), 0)
                    self.assertEqual(b"".join(file.chunks()), DATA)
                    self.assertEqual((file.size, len(file)), (len(DATA), len(DATA)))
                    file.seek(0)
                    self.assertEqual(file.readline(), DATA[:11])
                storage.save("t.txt", ContentFile("ü\nb\n"))
                with storage.open("t.txt", "r") as text:
                    self.assertEqual(list(text), ["ü\n", "b\n"])

    def test_a_file_is_written_where_it_is_opened(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                for data in (b"first", b"second"):
                    with storage.open("w.bin", "wb") as file:
                        file.write(data)
                    with storage.open("w.bin") as file:
                        self.assertEqual(file.read(), data)

    def test_folders_are_listed(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                for name in ("x/1.bin", "x/y/2.bin", "x/y/z/3.bin", "x/y!.bin", "w.bin"):
                    storage.save(name, ContentFile(b"1"))
                self.assertEqual(ordered(storage.listdir("")), (["x"], ["w.bin"]))
                self.assertEqual(ordered(storage.listdir("x")), (["y"], ["1.bin", "y!.bin"]))
                self.assertEqual(ordered(storage.listdir("x/y")), (["z"], ["2.bin"]))
                with self.assertRaises(FileNotFoundError):
                    storage.listdir("nowhere")

    def test_what_is_missing_is_missing(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                self.assertFalse(storage.exists("none"))
                storage.delete("none")
                for ask in (storage.size, storage.open, storage.get_modified_time):
                    with self.assertRaises(FileNotFoundError):
                        ask("none")

    def test_times_are_aware(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                name = storage.save("a.bin", ContentFile(b"1"))
                for when in (storage.get_modified_time(name), storage.get_created_time(name)):
                    self.assertLess(abs(when - datetime.now(UTC)), timedelta(minutes=10))

    def test_names_that_lead_out_are_refused(self) -> None:
        for storage in self.storages:
            with self.subTest(storage.opened.store.traits.name):
                for name in ("../out.bin", "/etc/out.bin", "a/../../out.bin"):
                    with self.assertRaises(SuspiciousFileOperation):
                        storage.save(name, ContentFile(b"1"))
        with self.assertRaises(SuspiciousFileOperation):
            self.storages[0].open(".sluiceway/drafts/x")
        self.assertEqual(self.storages[1].get_valid_name("aux.c"), "_aux.c")
        self.assertEqual(self.storages[0].save("aux.c", ContentFile(b"1")), "aux.c")

    def test_a_file_may_be_replaced(self) -> None:
        for to in (self.folder, "memory:"):
            storage = Storage(to, allow_overwrite=True)
            for data in (b"1", b"22"):
                self.assertEqual(storage.save("same.bin", ContentFile(data)), "same.bin")
            self.assertEqual(storage.size("same.bin"), 2)

    def test_urls(self) -> None:
        for storage in self.storages:
            self.assertEqual(storage.url("a b.bin"), "/media/a%20b.bin")
        own = Storage("memory:", base_url="https://cdn.example/x")
        self.assertEqual(own.url("a.bin"), "https://cdn.example/x/a.bin")

    def test_a_folder_is_djangos_own_for_other_code(self) -> None:
        storage = self.storages[0]
        self.assertEqual(storage.location, str(self.folder))
        self.assertEqual(storage.path("a.bin"), str(self.folder / "a.bin"))
        with self.assertRaises(NotImplementedError):
            self.storages[1].path("a.bin")
        (self.folder / "made").mkdir(parents=True)
        (self.folder / "made" / "elsewhere.txt").write_text("1")
        os.symlink("elsewhere.txt", self.folder / "made" / "link.txt")
        with storage.open("made/link.txt") as file:
            self.assertEqual(file.read(), b"1")
        self.assertEqual(storage.listdir(""), (["made"], []))

    def test_a_folder_that_was_removed_is_made_again(self) -> None:
        for number in range(2):
            with tempfile.TemporaryDirectory() as again:
                os.rename(again, self.folder.parent / f"gone{number}")
                os.makedirs(again)
                self.assertEqual(Storage(again).save("a.bin", ContentFile(b"1")), "a.bin")
                self.assertTrue(Path(again, "a.bin").exists())

    def test_a_folder_that_is_emptied_between_two_files(self) -> None:
        storage = Storage(self.folder)
        for _ in range(2):
            storage.save("a.bin", ContentFile(b"1"))
            for root, _, _ in os.walk(self.folder, topdown=False):
                for name in os.listdir(root):
                    path = os.path.join(root, name)
                    os.remove(path) if os.path.isfile(path) else os.rmdir(path)
        self.assertEqual(storage.save("a.bin", ContentFile(b"1")), "a.bin")

    def test_migrations_can_write_it(self) -> None:
        storage = Storage(to="s3://bucket/media", base_url="/m/")
        text, imports = MigrationWriter.serialize(storage)
        self.assertEqual(text, "sluiceway.django.Storage(base_url='/m/', to='s3://bucket/media')")
        self.assertEqual(imports, {"import sluiceway.django"})
        field: Any = models.FileField(storage=storage)
        self.assertEqual(field.deconstruct()[3]["storage"], storage)

    def test_it_can_be_subclassed(self) -> None:
        self.assertEqual(Public().save("a.bin", ContentFile(b"1")), "x-a.bin")
        self.assertEqual(Public().deconstruct()[0], "django_shop.storage_tests.Public")

    def test_another_server_is_no_storage(self) -> None:
        with self.assertRaisesMessage(SluiceError, "@sluiceway.django.uploads"):
            Storage(to="https://api.example/books")


def ordered(found: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
    return sorted(found[0]), sorted(found[1])


def all_files(storage: Any, folder: str = "") -> list[str]:
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return []
    prefix = f"{folder}/" if folder else ""
    return [prefix + name for name in files] + [
        name for one in folders for name in all_files(storage, prefix + one)
    ]
