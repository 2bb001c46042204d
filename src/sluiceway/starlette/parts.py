"""The parts of a form while it arrives: `async for part in parts(request)`.

Parts come in the order the client sent them. What is asked out of order is spooled, as Starlette
would have done with everything. Runs on every ASGI server; it must not know FastAPI.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from sluiceway.errors import BadOrder, WrongOrder
from sluiceway.pipe.stages import Stages
from sluiceway.server.forms.walk import FileBegan, FormField, FormItem, FormWalk, async_items
from sluiceway.server.progress.asgi import progress_of
from sluiceway.server.request_body import body_chunks, check_body, content_length
from sluiceway.starlette.app_lines import note_spooled
from sluiceway.starlette.body_reader import as_body_reader
from sluiceway.starlette.form_plan import FormPlan
from sluiceway.starlette.live_upload import LiveUpload
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.headers.conditions import join_fields

__all__ = ["Parts", "parts"]


class Parts:
    """The form of a request while it arrives: fields as FormField, files as LiveUpload.

    Walk it with `async for`, or ask for `file(name)` and `field(name)`. As a FastAPI dependency it
    takes no limits, because FastAPI takes a dependency's arguments from the client's query; set
    `limits` before the first part instead.

    Args:
        request: A Starlette request whose body was not read.

    Attributes:
        limits: What the form may cost; beyond it TooLarge is raised.
        fields: Names and values of the fields that came so far.
        files: The files that came so far.

    Raises:
        Unsupported: The body is not a form. So does all that reads; it also raises:
        BadForm: The form is malformed.
        BodyCut: The client sent less than the whole form.
        BadOrder: Other code has read the body.
        TooLarge: It is beyond `limits`, or a file longer than 64 MiB was not read.
        TooSlow: No byte came for 60 seconds, or the fields took too long.
        DigestMismatch: The body does not have the digest that the request promised.

    Example:
        @app.post("/books")
        async def add_book(form: Annotated[Parts, Depends(Parts)]) -> None:
            async for part in form:
                ...
    """

    limits: FormLimits
    fields: list[tuple[str, str]]
    files: list[LiveUpload]

    def __init__(self, request: Request) -> None:
        self._request = request
        self.limits, self.fields, self.files = FormLimits(), [], []
        self._items: AsyncIterator[FormItem] | None = None
        self._part: LiveUpload | None = None  # the file whose turn it is
        self._failure: Exception | None = None
        self._collecting = False  # the view does not run yet

    async def __aiter__(self) -> AsyncIterator[FormField | LiveUpload]:
        """The parts that are still to come, in their order. A file that was not read is skipped."""
        while (part := await self._next()) is not None:
            yield part

    async def file(self, name: str) -> LiveUpload | None:
        """The file in field `name`: the first that came, or the next to come.

        A file before it that was not read to its end is spooled, and stays readable.

        Returns:
            None if the form has no such file.
        """
        for known in self.files:
            if known.name == name:
                return known
        while (part := await self._next(f"the file {name!r}")) is not None:
            if isinstance(part, LiveUpload) and part.name == name:
                return part
        return None

    async def field(self, name: str) -> str | None:
        """The first value of a field.

        A file before it that was not read to its end is spooled, and stays readable.

        Returns:
            None if the form has no such field.
        """
        for known, value in self.fields:
            if known == name:
                return value
        while (part := await self._next(f"the field {name!r}")) is not None:
            if isinstance(part, FormField) and part.name == name:
                return part.value
        return None

    async def collect(self, plan: FormPlan) -> FormData:
        """Read on until everything in `plan` is there, with its last file still to be read.

        Files before that one are spooled, also those that are sent as a field. Files that the
        plan does not name are skipped.
        """
        found: list[tuple[str, UploadFile | str]] = []
        seen: set[str] = set()
        waits: str | None = None  # what the file under way is spooled for
        self._collecting = True
        while (part := await self._next(waits)) is not None:
            waits = None
            if isinstance(part, FormField):
                seen.add(part.name)
                found.append((part.name, part.value))
            elif part.name in plan.files:
                seen.add(part.name)
                found.append((part.name, part))
                waits = plan.waits_for(seen, part.name)
                if waits is None:
                    if plan.files[part.name].fields_first:
                        part._at_end = lambda: self._refuse_late_fields(plan)
                    break
            elif plan.names_field(part.name):
                seen.add(part.name)
                found.append((part.name, part))  # FastAPI refuses it, or its type is any
                waits = "the view, which takes a field of this name"
        self._collecting = False
        return FormData(found)

    async def _refuse_late_fields(self, plan: FormPlan) -> None:
        self._part = None  # it has ended
        while (part := await self._next()) is not None:
            if isinstance(part, FormField) and plan.names_field(part.name):
                raise WrongOrder(
                    f"The field {part.name!r} must come before the file; put it first in the form"
                )

    async def _next(self, spool_for: str | None = None) -> FormField | LiveUpload | None:
        """The next part. The file under way is skipped, or spooled for what is wanted."""
        if self._part is not None:
            if spool_for is None:
                await self._part._skip()
            elif self._part.live:
                self._note(self._part, spool_for)
                await self._part.spool()
            self._part = None
        while (item := await self._item()) is not None:
            if isinstance(item, FormField):
                self.fields.append((item.name, item.value))
                return item
            if isinstance(item, FileBegan):
                return self._begin(item)
        return None

    def _begin(self, began: FileBegan) -> LiveUpload:
        self._part = file = LiveUpload(self._file_items(), began)
        if (progress := progress_of(self._request.scope)) is not None:
            file.progress = progress.add_file()
        file._at_spool = lambda why: self._note(file, why)
        self.files.append(file)
        return file

    def _note(self, file: LiveUpload, why: str) -> None:
        runs = not self._collecting
        note_spooled(self._request, file.filename, file.name, why, view_runs=runs)

    async def _file_items(self) -> AsyncIterator[FormItem]:
        while (item := await self._item()) is not None:
            yield item

    async def _item(self) -> FormItem | None:
        """The next item; None at the end of the form. A failure is raised each time again."""
        if self._failure is not None:
            raise self._failure
        try:
            if self._items is None:
                self._items = _walk(self._request, self.limits)
            return await anext(self._items, None)
        except Exception as error:
            self._failure = error
            raise


def parts(
    request: Request, *, max_files: int = 1000, max_fields: int = 1000, max_part_size: int = 1 << 20
) -> Parts:
    """The parts of a form while it arrives.

    The limits are those of Starlette's `request.form()`; beyond them the walk raises TooLarge.

    Args:
        request: A Starlette request whose body was not read.
        max_files: Most files.
        max_fields: Most fields.
        max_part_size: Most bytes of a field. Files have no limit.

    Returns:
        An asynchronous iterable of FormField and LiveUpload.

    Example:
        async for part in parts(request):
            if isinstance(part, LiveUpload):
                await part.save(folder / str(uuid4()))
    """
    form = Parts(request)
    form.limits = replace(
        FormLimits.of(max_files + max_fields, max_part_size),
        max_files=max_files,
        max_fields=max_fields,
    )
    return form


def _walk(request: Request, limits: FormLimits) -> AsyncIterator[FormItem]:
    stages = Stages()
    check_body(request)
    walk = FormWalk(
        request.headers.get("content-type", ""),
        limits,
        content_length(request),
        expected_of(join_fields(request.headers.raw)),
    )
    return async_items(walk, _unread_body(request, stages), stages)


def _unread_body(request: Request, stages: Stages) -> AsyncIterator[bytes]:
    """The body as it arrives, or as `request.body()` has it.

    Raises BadOrder where other code has read it: to wait for it would be to wait in vain.
    """
    if hasattr(request, "_body"):
        return request.stream()
    if not getattr(request, "_stream_consumed", False):
        own = Request(request.scope, as_body_reader(request.receive))
        return body_chunks(own, stages)
    raise BadOrder(
        "The body was read before the parts of its form: by a parameter with Form(), File() or "
        "UploadFile, by request.form(), or by a middleware. Take everything from the parts, or "
        "have `file: LiveUpload` beside Form() instead of them"
    ).for_operator()
