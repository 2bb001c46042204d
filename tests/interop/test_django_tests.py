"""Django's own test runner: a site's tests pass with both storages, and Storage keeps its contract.

docs/django.md: its first snippets run as they are printed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fix_django_shop import OURS, STOCK

TESTS = Path(__file__).parent.parent
DOCS = TESTS.parent / "docs"

SITE = """
SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF = "x", ["*"], "books.urls"
INSTALLED_APPS, MIDDLEWARE = ["books"], ["django.middleware.csrf.CsrfViewMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MEDIA_URL, MIGRATION_MODULES = "/media/", {"books": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
URLS = """
from django.urls import path
from books.models import add
urlpatterns = [path("add", add)]
"""
POST = """
import io, os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", run_syncdb=True, verbosity=0)
file = io.BytesIO(b"x" * 3_000_000)  # beyond FILE_UPLOAD_MAX_MEMORY_SIZE
file.name = "book.pdf"
answer = Client().post("/add", {"title": "A book", "file": file})
print(answer.status_code, answer.json()["file"])
file.seek(0)
print(Client().post("/add", {"file": file}).status_code)
"""


def environment(**more: str) -> dict[str, str]:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def runner(folder: Path, settings: Mapping[str, Any], pattern: str) -> subprocess.Popen[str]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "django", "test", "django_shop", "--pattern", pattern],
        env=environment(
            DJANGO_SETTINGS_MODULE="django_shop.settings",
            SHOP_FOLDER=str(folder),
            SHOP_SETTINGS=json.dumps(settings),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_tests_of_a_site_pass_with_both_storages(tmp_path: Path) -> None:
    running = [
        runner(tmp_path / "stock", STOCK, "client_tests.py"),
        runner(tmp_path / "ours", OURS, "*_tests.py"),
    ]
    ended = [(process.communicate(timeout=100)[0], process.returncode) for process in running]

    for printed, code in ended:
        assert code == 0, printed
        assert re.search(r"Ran \d\d? tests", printed), printed


def test_the_first_snippets_of_the_page_run_as_printed(tmp_path: Path) -> None:
    """The upload goes to ./media, whole; a refused one leaves nothing."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "django.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "settings.py").write_text(SITE + blocks[0])
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "__init__.py").touch()
    (tmp_path / "books" / "models.py").write_text(blocks[1])
    (tmp_path / "books" / "urls.py").write_text(URLS)
    (tmp_path / "post.py").write_text(POST)
    ran = subprocess.run(
        [sys.executable, "post.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ran.returncode == 0, ran.stderr
    saved, refused = ran.stdout.splitlines()
    assert re.fullmatch(r"201 books/\d{4}/book\.pdf", saved)
    assert refused == "422"
    files = [path for path in (tmp_path / "media").rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in files if path.suffix == ".pdf"] == [3_000_000]
    assert not any((tmp_path / "media" / ".sluiceway" / "drafts").iterdir())


def test_a_process_ends_while_files_are_open(tmp_path: Path) -> None:
    """Those that nobody closed; so do scripts and management commands."""
    script = """
import django
from django.conf import settings
settings.configure()
django.setup()
from django.core.files.base import ContentFile
from sluiceway.django import Storage
storage = Storage("sqlite:///files.db")
storage.save("a.bin", ContentFile(b"abc"))
read, written = storage.open("a.bin"), storage.open("b.bin", "wb")
print(read.read())
written.write(b"abc")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, timeout=60, check=True, capture_output=True
    )
    assert ended.stdout == b"b'abc'\n"
