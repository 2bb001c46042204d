"""`application` for WSGI servers and `asgi` for ASGI ones. Makes the tables once."""

from __future__ import annotations

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

if "SHOP_MADE" not in os.environ:
    os.environ["SHOP_MADE"] = "1"
    call_command("migrate", run_syncdb=True, verbosity=0)
    users: Any = get_user_model().objects
    if not users.exists():
        users.create_superuser("root", "root@example.com", "secret")

application = get_wsgi_application()
asgi = get_asgi_application()
