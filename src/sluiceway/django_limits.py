"""A Django site's own limits on forms, kept while a form is still arriving: DATA_UPLOAD_MAX_MEMORY_SIZE and its relatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as changed

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent

from sluiceway.errors import TooLarge
from sluiceway.server.forms.walk import FormItem, FormWalk
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wsgi.streaming_form import LiveForm

__all__ = ["LimitedForm", "form_limits"]


class _TooBig(TooLarge, RequestDataTooBig): ...


class _TooManyFields(TooLarge, TooManyFieldsSent): ...


class _TooManyFiles(TooLarge, TooManyFilesSent): ...


_BEYOND: dict[str, type[TooLarge]] = {
    "max_fields": _TooManyFields,
    "max_files": _TooManyFiles,
    "max_values_bytes": _TooBig,
    "max_field_bytes": _TooBig,
}


def form_limits() -> FormLimits:
    """The site's, and our own where it sets none."""
    usual = FormLimits()
    size, fields = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    files = settings.DATA_UPLOAD_MAX_NUMBER_FILES
    parts = (usual.max_parts if fields is None else fields) + (
        usual.max_parts if files is None else files
    )
    most = FormLimits.of(parts, usual.max_field_bytes if size is None else size)
    return changed(most, max_fields=fields, max_files=files, max_values_bytes=size)


class LimitedForm(LiveForm):
    """Of a form beyond the site's limits it says what Django says: without the Problems middleware the answer is Django's 400."""

    def _walk(self, walk: FormWalk) -> Iterator[FormItem]:
        try:
            yield from super()._walk(walk)
        except TooLarge as error:
            kind = _BEYOND.get(str(error.members.get("limit_name")))
            if kind is None:
                raise
            raise kind(error.detail, **error.members) from None
