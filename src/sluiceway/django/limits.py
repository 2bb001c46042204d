"""A Django site's own limits on forms, kept while a form is still arriving.

DATA_UPLOAD_MAX_MEMORY_SIZE, DATA_UPLOAD_MAX_NUMBER_FIELDS and DATA_UPLOAD_MAX_NUMBER_FILES; beyond
them an error that is Django's as well as ours.
"""

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


# the limit's name -> the error of a form beyond it
_ERRORS: dict[str, type[TooLarge]] = {
    "max_fields": _TooManyFields,
    "max_files": _TooManyFiles,
    "max_values_bytes": _TooBig,
    "max_field_bytes": _TooBig,
}


def form_limits() -> FormLimits:
    """The site's limits, and our own where it sets none."""
    ours = FormLimits()
    size, fields = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    files = settings.DATA_UPLOAD_MAX_NUMBER_FILES
    parts = (ours.max_parts if fields is None else fields) + (
        ours.max_parts if files is None else files
    )
    most = FormLimits.of(parts, ours.max_field_bytes if size is None else size)
    return changed(most, max_fields=fields, max_files=files, max_values_bytes=size)


class LimitedForm(LiveForm):
    """A form that raises Django's errors beyond the site's limits.

    Without the Problems middleware the answer is Django's 400.
    """

    def _walk(self, walk: FormWalk) -> Iterator[FormItem]:
        try:
            yield from super()._walk(walk)
        except TooLarge as error:
            kind = _ERRORS.get(str(error.members.get("limit_name")))
            if kind is None:
                raise
            raise kind(error.detail, **error.members) from None
