"""One model with one file."""

from __future__ import annotations

from typing import Any

from django.db import models

__all__ = ["Book"]


class Book(models.Model):
    title: Any = models.CharField(max_length=100)
    file = models.FileField(upload_to="books", max_length=200)
