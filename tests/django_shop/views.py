"""Views as people write them. None knows which storage or handler the site has."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.db import transaction
from django.forms import formset_factory, inlineformset_factory, modelform_factory
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from rest_framework import serializers, viewsets
from rest_framework.decorators import api_view, parser_classes
from rest_framework.parsers import FileUploadParser
from rest_framework.response import Response

from django_shop import models

READ_BACK = 50_000_000  # bytes

MODELS: dict[str, Any] = {
    "book": models.Book,
    "picture": models.Picture,
    "magic": models.Magic,
    "called": models.Called,
    "elsewhere": models.Elsewhere,
}
FIELDS = {
    "book": ["title", "file"],
    "picture": ["title", "image"],
    "magic": ["title", "spell"],
    "called": ["title", "called"],
    "elsewhere": ["title", "elsewhere"],
}


def token(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_token(request))


def form(request: HttpRequest, kind: str) -> HttpResponse:
    """A ModelForm behind the CSRF check."""
    made = modelform_factory(MODELS[kind], fields=FIELDS[kind])(request.POST, request.FILES)
    if not made.is_valid():
        return JsonResponse({"errors": made.errors}, status=422)
    if "raise" in request.GET:
        raise LookupError("a view that fails before it saves")
    saved = made.save()
    found = getattr(saved, FIELDS[kind][1])
    return JsonResponse(
        {"name": found.name, "size": found.size if found else 0, "sha": sha(found)}, status=201
    )


def sha(file: Any) -> str:
    """Of files that tests compare; the largest ones are only measured."""
    if not file or file.size > READ_BACK:
        return ""
    with file.open("rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()


def change(request: HttpRequest) -> HttpResponse:
    """The newest book again: a new file, or none, or the box that clears it."""
    book = models.Book.objects.order_by("-pk").first()
    made = modelform_factory(models.Book, fields=["title", "file"])(
        request.POST, request.FILES, instance=book
    )
    if not made.is_valid():
        return JsonResponse({"errors": made.errors}, status=422)
    saved = made.save()
    return JsonResponse({"name": saved.file.name, "sha": sha(saved.file)})


def rolled_back(request: HttpRequest) -> HttpResponse:
    """The row is taken back; Django leaves the file."""
    try:
        with transaction.atomic():
            made = modelform_factory(models.Book, fields=["title", "file"])(
                request.POST, request.FILES
            )
            made.save()
            raise LookupError("after it was saved")
    except LookupError:
        return JsonResponse({"rows": models.Book.objects.count()})


class Sheet(forms.Form):
    title = forms.CharField(max_length=10)
    file = forms.FileField()


def formset(request: HttpRequest) -> HttpResponse:
    """Two forms; all are saved, or none."""
    made = formset_factory(Sheet)(request.POST, request.FILES)
    if not made.is_valid():
        return JsonResponse({"errors": made.errors}, status=422, safe=False)
    names = []
    for one in made.cleaned_data:
        book = models.Book(title=one["title"], file=one["file"])
        book.save()
        names.append([book.file.name, book.file.size])
    return JsonResponse(names, safe=False)


def inline(request: HttpRequest) -> HttpResponse:
    book = models.Book.objects.create(title="of chapters")
    made = inlineformset_factory(models.Book, models.Chapter, fields=["text"])(
        request.POST, request.FILES, instance=book
    )
    if not made.is_valid():
        return JsonResponse({"errors": made.errors}, status=422, safe=False)
    return JsonResponse([[one.text.name, sha(one.text)] for one in made.save()], safe=False)


@csrf_exempt
def look(request: HttpRequest) -> HttpResponse:
    """All that people do with a file of a form, without saving it."""
    seen: dict[str, Any] = {"post": dict(request.POST.lists())}
    for name, files in request.FILES.lists():
        seen[name] = [looked_at(file) for file in files]
    return JsonResponse(seen)


def looked_at(file: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "name": file.name,
        "size": file.size,
        "len": len(file),
        "type": file.content_type,
        "charset": file.charset,
        "extra": {name: str(value) for name, value in file.content_type_extra.items()},
        "text": [str(file), bool(file), repr(file).partition(":")[2]],
        "chunked": file.multiple_chunks(),
        "path": hasattr(file, "temporary_file_path"),
        "head": file.read(7).hex(),
        "tell": file.tell(),
        "seekable": [file.seekable(), file.readable(), file.closed],
    }
    file.seek(-5, 2)
    seen["tail"] = file.read().hex()
    file.seek(0)
    seen["lines"] = sum(1 for _ in file)
    seen["chunks"] = hashlib.sha256(b"".join(file.chunks())).hexdigest()
    seen["again"] = hashlib.sha256(b"".join(file.chunks(999))).hexdigest()
    file.open()
    seen["line"] = len(file.readline())
    if hasattr(file, "temporary_file_path"):
        with open(file.temporary_file_path(), "rb") as by_path:
            seen["by path"] = hashlib.sha256(by_path.read()).hexdigest()
    file.close()
    seen["closed"] = file.closed
    try:
        file.open()
    except ValueError as error:
        seen["reopened"] = str(error)
    return seen


async def looks(request: HttpRequest) -> HttpResponse:
    """An async view reads back and saves."""
    file: Any = request.FILES["file"]
    head = file.read(7).hex()
    made = modelform_factory(models.Book, fields=["title", "file"])(request.POST, request.FILES)
    if not await sync_to_async(made.is_valid)():
        return JsonResponse({"errors": made.errors}, status=422)
    saved = await sync_to_async(made.save)()
    return JsonResponse(
        {"head": head, "name": saved.file.name, "sha": await sync_to_async(sha)(saved.file)}
    )


@csrf_exempt
def plainly(request: HttpRequest) -> HttpResponse:
    """Without forms: default_storage, and copies by hand."""
    file: Any = request.FILES["file"]
    default_storage.save("plain/made.txt", ContentFile("text"))
    with default_storage.open("plain/copied.bin", "wb") as copied:
        shutil.copyfileobj(file, copied)
    saved = default_storage.save(f"plain/{file.name}", file)
    names = [saved, "plain/copied.bin"]
    if "twice" in request.GET:
        names.append(default_storage.save("plain/second.bin", file))
    return JsonResponse(
        [[name, default_storage.size(name), sha_of(name)] for name in names], safe=False
    )


def sha_of(name: str) -> str:
    with default_storage.open(name) as file:
        return hashlib.sha256(file.read()).hexdigest()


@csrf_exempt
def ignored(request: HttpRequest) -> HttpResponse:
    """Looks at the fields alone."""
    return JsonResponse({"title": request.POST.get("title")})


class Quota(FileUploadHandler):
    """Stops the upload after 60,000 bytes of a file, as Django's documentation shows."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > 60_000:
            raise StopUpload(connection_reset=False)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


@csrf_exempt
def limited(request: HttpRequest) -> HttpResponse:
    """A handler of the view's own before those of the site."""
    request.upload_handlers.insert(0, Quota(request))
    return _limited(request)


@csrf_protect
def _limited(request: HttpRequest) -> HttpResponse:
    return JsonResponse({name: len(file) for name, file in request.FILES.items()})


class BookSerializer(serializers.ModelSerializer[Any]):
    class Meta:
        model = models.Book
        fields = ("title", "file")


class PictureSerializer(serializers.ModelSerializer[Any]):
    class Meta:
        model = models.Picture
        fields = ("title", "image", "width")
        read_only_fields = ("width",)


class BookViews(viewsets.ModelViewSet[Any]):
    queryset = models.Book.objects.all()
    serializer_class = BookSerializer


class PictureViews(viewsets.ModelViewSet[Any]):
    queryset = models.Picture.objects.all()
    serializer_class = PictureSerializer


@api_view(["PUT"])
@parser_classes([FileUploadParser])
def raw(request: Any, filename: str) -> Response:
    """A raw body as a file."""
    file = request.data["file"]
    if "refuse" in request.query_params:
        return Response({"size": file.size}, status=422)
    book = models.Book.objects.create(title="raw", file=file)
    return Response({"name": book.file.name, "size": file.size, "sha": sha(book.file)}, status=201)


def state(request: HttpRequest) -> HttpResponse:
    """Rows and stored files."""
    rows = {
        name: [
            [row.title, str(getattr(row, FIELDS[name][1]))] for row in model.objects.order_by("pk")
        ]
        for name, model in MODELS.items()
    }
    rows["chapter"] = [[str(one.text)] for one in models.Chapter.objects.order_by("pk")]
    files = [[path, default_storage.size(path), sha_of(path)] for path in walk("")]
    return HttpResponse(json.dumps({"rows": rows, "files": files}))


def walk(folder: str) -> list[str]:
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return []
    found = [f"{folder}/{name}".lstrip("/") for name in files]
    for name in folders:
        found += walk(f"{folder}/{name}".lstrip("/"))
    return found


@csrf_exempt
def empty(request: HttpRequest) -> HttpResponse:
    """Begin anew."""
    for model in [models.Chapter, *MODELS.values()]:
        model.objects.all().delete()
    for path in walk(""):
        default_storage.delete(path)
    return HttpResponse("empty")
