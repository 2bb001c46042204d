"""Our app and its peer in one: a Django site whose ModelForm saves a file in S3.

OURS=1 makes it our storage and handler by settings alone; without it, it is django-storages.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

__all__ = ["application"]

PLACE = Path(os.environ["BENCH_PLACE"])
BUCKET, ENDPOINT = os.environ["BENCH_BUCKET"], os.environ["AWS_ENDPOINT_URL"]
OURS: dict[str, Any] = {
    "FILE_UPLOAD_HANDLERS": ["sluiceway.django.UploadHandler"],
    "STORAGES": {
        "default": {
            "BACKEND": "sluiceway.django.Storage",
            "OPTIONS": {"to": f"s3://{BUCKET}/ours"},
        }
    },
}
THEIRS: dict[str, Any] = {
    "STORAGES": {
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET,
                "location": "theirs",
                "endpoint_url": ENDPOINT,
                "addressing_style": "path",
            },
        }
    }
}

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of this bench",
    ROOT_URLCONF="django_urls",
    INSTALLED_APPS=["django_books"],
    MIDDLEWARE=[],
    MIGRATION_MODULES={"django_books": None},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PLACE / "books.sqlite3"}
    },
    LOGGING_CONFIG=None,
    **(OURS if os.environ.get("OURS") == "1" else THEIRS),
)
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
application = get_wsgi_application()
