"""Books with their chapters inline, and pictures."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from django_shop.models import Book, Chapter, Picture


class ChapterInline(admin.TabularInline):  # type: ignore[type-arg]  # generic in the stubs only
    model: Any = Chapter
    extra = 1


class BookAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    inlines: ClassVar[list[Any]] = [ChapterInline]


admin.site.register(Book, BookAdmin)
admin.site.register(Picture)
