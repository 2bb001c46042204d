"""Which commands of the tests are forked, and what their fork servers import before.

Two families: Sluiceway's own commands, and the servers of other people's apps. Nothing is imported
early that an app asks for in `sys.modules` (FastAPI), or that needs settings (most of Django).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

__all__ = ["APPS", "IN_A_FORK", "OURS", "PRELOADED", "UNBUFFERED", "added_paths", "family"]

OURS, APPS = "sluiceway", "apps"
PRELOADED = {
    OURS: [
        "sluiceway.cli.main",
        "sluiceway.cli.serve",
        "sluiceway.cli.checking.check",
        "sluiceway.cli.copy",
        "sluiceway.cli.stores",
        "sluiceway.cli.stored_files",
        "sluiceway.server.run",
        "sluiceway.server.handlers.imports",
        "sluiceway.copying.api",
        "sluiceway.copying.listing.walk",
        "sluiceway.client.upload",
        "sluiceway.client.http.transport",
        "sluiceway.stores.disk.store",
        "sluiceway.stores.relay.store",
        "sluiceway.stores.objects.store",
        "sluiceway.stores.postgres.store",
        "sluiceway.stores.sqlite.store",
        "sluiceway.stores.fsspec.store",
        "boto3.session",
        "obstore",
        "paramiko",
        "psycopg_pool",
        "uvloop",
        "uvicorn.loops.auto",
        "uvicorn.lifespan.on",
        "sluiceway.server.http1.protocol",
        "asyncio.unix_events",
        "click._textwrap",
        "encodings.ascii",
        "encodings.idna",
        "grp",
        "importlib.resources.readers",
        "pwd",
        "uvicorn.loops.uvloop",
        "multiprocessing.popen_spawn_posix",
    ],
    APPS: [
        "sluiceway.flask",
        "sluiceway.starlette",
        "sluiceway.django",
        "sluiceway.server.app",
        "sluiceway.client.bodies.sized",
        "sluiceway.uploads.shared_table",
        "sluiceway.wsgi.bridge",
        "sluiceway.wsgi.stream_response",
        "flask.cli",
        "gunicorn.app.wsgiapp",
        "gunicorn.ctl.server",
        "gunicorn.glogging",
        "gunicorn.workers.gthread",
        "cheroot.cli",
        "cheroot.wsgi",
        "waitress.server",  # not its runner, which notes sys.argv when it is imported
        "uvicorn.main",
        "uvicorn.protocols.http.httptools_impl",
        "uvicorn.protocols.websockets.auto",
        "pydantic",
        "starlette.applications",
        "django.contrib.admin",
        "django.contrib.postgres.search",
        "django.contrib.staticfiles.handlers",
        "django.core.asgi",
        "django.core.management.commands.migrate",
        "django.core.management.commands.runserver",
        "django.core.wsgi",
        "django.db.backends.sqlite3.base",
        "django.middleware.csrf",
        "django.template.backends.django",
        "django.views.decorators.csrf",
        "pygments.formatters.html",
        "pygments.lexers",
        "requests",
        "logging.config",
    ],
}
MODULES = {
    "sluiceway": OURS,
    **dict.fromkeys(("cheroot", "flask", "gunicorn", "uvicorn", "waitress"), APPS),
}
COMMANDS = {"cheroot", "flask", "gunicorn", "uvicorn", "waitress-serve"}
SCRIPTS = {
    "/tests/browser/slow_destination.py": OURS,
    "/tests/killed_writer.py": OURS,
    "/tests/quick_copy.py": OURS,
    "/bench/peers/sftp.py": OURS,
    "django_site.py": APPS,
}
IN_A_FORK = "# in a fork\n"  # begins the text of a `-c` that may run in one: it counts no modules
# gevent changes the standard library before others use it; a reloader starts itself again.
ALONE = ("gevent", "--reload", "--debug")
# Python reads these when it starts: a command with other values gets an interpreter of its own.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_")
UNBUFFERED = "PYTHONUNBUFFERED"  # imitated, as are more folders in front of PYTHONPATH
PATH = "PYTHONPATH"
HERE = Path(__file__).parent
OTHERS = {"sitecustomize", "__init__", "__main__"}  # modules that hide no library


def family(args: Sequence[str], env: Mapping[str, str]) -> str | None:
    """Returns the family whose fork server can start this command; None if none can."""
    if any(word in ALONE or isinstance(word, bytes) for word in args) or not _starts_alike(env):
        return None
    if args[0] == sys.executable and len(args) > 1:
        if args[1] == "-m":
            return MODULES.get(args[2])
        if args[1] == "-c":
            return OURS if args[2].startswith(IN_A_FORK) else None
        return next((SCRIPTS[name] for name in SCRIPTS if args[1].endswith(name)), None)
    program = Path(args[0])
    ours = str(program.parent) == sysconfig.get_path("scripts") and program.name in COMMANDS
    return APPS if ours else None


def _starts_alike(env: Mapping[str, str]) -> bool:
    def at_start(variables: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in variables.items()
            if name.startswith(AT_START) and name not in (UNBUFFERED, PATH)
        }

    if at_start(env) != at_start(os.environ):
        return False
    added = added_paths(env)
    return added is not None and not any(map(_hides_a_library, added))


def _hides_a_library(folder: str) -> bool:
    """Whether it has a module with the name of a library, which may be imported already."""
    names = [path.stem for path in Path(folder).glob("*.py") if Path(folder) != HERE]
    return any(
        name.isidentifier() and name not in OTHERS and find_spec(name) is not None for name in names
    )


def added_paths(env: Mapping[str, str]) -> list[str] | None:
    """Returns the folders that `env` puts in front of PYTHONPATH; None if it changes the rest."""
    ours, theirs = (
        [one for one in variables.get(PATH, "").split(os.pathsep) if one]
        for variables in (os.environ, env)
    )
    added = theirs[: len(theirs) - len(ours)]
    return added if [*added, *ours] == theirs else None
