"""Tests as a site has them, run by Django's test runner: with its own storage and with ours.

TestCase holds a transaction around each test, so nothing is ever committed.
"""

from __future__ import annotations

import tempfile
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, RequestFactory, TestCase, override_settings

from django_shop import models, views

LARGE = bytes(range(256)) * 1000
SMALL = b"small"


class UploadTests(TestCase):
    """Each test has a MEDIA_ROOT of its own, as sites do it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        settings = override_settings(MEDIA_ROOT=folder.name)
        settings.enable()
        self.addCleanup(settings.disable)

    def post(self, data: bytes, path: str = "/form/book", **fields: Any) -> Any:
        file = SimpleUploadedFile("a.bin", data)
        return self.client.post(path, {"title": "x", "file": file, **fields})

    def test_a_form(self) -> None:
        for data in (LARGE, SMALL):
            answer = self.post(data)
            self.assertEqual(answer.status_code, 201)
            book = models.Book.objects.get(file=answer.json()["name"])
            with book.file.open() as file:
                self.assertEqual(file.read(), data)
            self.assertTrue(default_storage.exists(str(book.file.name)))

    def test_a_refused_form(self) -> None:
        self.assertEqual(self.post(LARGE, title="").status_code, 422)
        with self.assertRaises(FileNotFoundError):
            default_storage.listdir("books")

    def test_a_view_that_raises(self) -> None:
        with self.assertRaises(LookupError):
            self.post(LARGE, "/form/book?raise")
        with self.assertRaises(FileNotFoundError):
            default_storage.listdir("books")

    def test_a_rolled_back_transaction(self) -> None:
        self.assertEqual(self.post(LARGE, "/rolled-back").json(), {"rows": 0})
        year = default_storage.listdir("books")[0][0]
        self.assertEqual(default_storage.listdir(f"books/{year}"), ([], ["a.bin"]))

    def test_a_form_set(self) -> None:
        fields = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0", "form-0-title": "t"}
        file = SimpleUploadedFile("a.bin", LARGE)
        answer = self.client.post("/formset", {**fields, "form-0-file": file})
        self.assertEqual(answer.json()[0][1], len(LARGE))

    def test_a_request_factory(self) -> None:
        """Nobody closes such a request."""
        file = SimpleUploadedFile("a.bin", LARGE)
        request = RequestFactory().post("/form/book", {"title": "x", "file": file})
        self.assertEqual(views.form(request, "book").status_code, 201)

    async def test_an_async_client(self) -> None:
        file = SimpleUploadedFile("a.bin", LARGE)
        answer = await AsyncClient().post("/looks", {"title": "x", "file": file})
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.json()["head"], LARGE[:7].hex())

    def test_without_a_request(self) -> None:
        name = default_storage.save("one/a.txt", ContentFile("text"))
        book = models.Book.objects.create(title="x", file=ContentFile(LARGE, "b.bin"))
        self.assertEqual((name, default_storage.size(name)), ("one/a.txt", 4))
        self.assertEqual(book.file.size, len(LARGE))
        book.file.delete()
        self.assertFalse(book.file)
