"""Books with a file, pictures, chapters: each kind of FileField."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.storage import storages
from django.core.validators import FileExtensionValidator
from django.db import models


def by_title(book: Any, filename: str) -> str:
    return f"called/{book.title}/{filename}"


def is_magic(file: Any) -> None:
    """Reads the first bytes, as libraries that guess types do."""
    if file.read(5) != b"magic":
        raise ValidationError("This is not magic")
    file.seek(0)


def other_storage() -> Any:
    return storages["other"]


class Book(models.Model):
    title: Any = models.CharField(max_length=30)
    file = models.FileField(
        upload_to="books/%Y",
        max_length=200,
        blank=True,
        validators=[FileExtensionValidator(["bin", "txt"])],
    )

    def __str__(self) -> str:
        return str(self.title)


class Chapter(models.Model):
    book: Any = models.ForeignKey(Book, on_delete=models.CASCADE)
    text = models.FileField(upload_to="chapters")


class Picture(models.Model):
    title: Any = models.CharField(max_length=30)
    image = models.ImageField(
        upload_to="pictures", width_field="width", height_field="height", max_length=200
    )
    width: Any = models.IntegerField(null=True)
    height: Any = models.IntegerField(null=True)


class Magic(models.Model):
    title: Any = models.CharField(max_length=30)
    spell = models.FileField(upload_to="magic", validators=[is_magic])


class Called(models.Model):
    title: Any = models.CharField(max_length=30)
    called = models.FileField(upload_to=by_title, max_length=200)


class Elsewhere(models.Model):
    title: Any = models.CharField(max_length=30)
    elsewhere = models.FileField(upload_to="elsewhere", storage=other_storage)
