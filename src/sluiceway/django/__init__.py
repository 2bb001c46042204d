"""Django: the parts of a form while it still arrives, and files that are stored meanwhile.

Nothing is spooled, a cut body is an error, and nothing is published for a request that the site
refuses. Under WSGI the body is read from the server, not through Django. Under ASGI Django stores
it before any view runs, so there our ASGI app is mounted beside Django.
"""

from __future__ import annotations

from sluiceway.django.form_parts import DjangoFile, csrf_by_header, parts
from sluiceway.django.problems import Problems
from sluiceway.django.stored_files import StoredFile
from sluiceway.django.upload_views import publish, uploads
from sluiceway.server.forms.walk import FormField

__all__ = [
    "DjangoFile",
    "FormField",
    "Problems",
    "StoredFile",
    "csrf_by_header",
    "parts",
    "publish",
    "uploads",
]
