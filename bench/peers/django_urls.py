"""The view of `django_app`: an ordinary ModelForm."""

from __future__ import annotations

from django.forms import modelform_factory
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django_books.models import Book  # type: ignore[import-not-found]  # beside it when it runs

__all__ = ["urlpatterns"]

BookForm = modelform_factory(Book, fields=["title", "file"])


def add(request: HttpRequest) -> JsonResponse:
    form = BookForm(request.POST, request.FILES)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=422)
    return JsonResponse({"file": form.save().file.name}, status=201)


urlpatterns = [path("books", add)]
