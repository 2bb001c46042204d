"""The contenders of the sources' table as data: methods times deployments. It starts nothing.

The plain methods are what a Flask developer writes; `ours` on these deployments is the same code
after `Sluiceway(app)`. `request.stream` and `request.files` mean nothing in `sluiceway serve`,
which has no views: those cells are left out.
"""

from __future__ import annotations

from bench.contenders import GUNICORN, OURS_FORM_SHA, OURS_SHA, Contender

__all__ = [
    "APP",
    "CELLS",
    "DEV",
    "LEFT_OUT",
    "NGINX_UWSGI_CONF",
    "OWN",
    "UWSGI",
    "UWSGI_HTTP",
    "Cell",
    "cell",
]

APP = "flask_sources_app:app"
DEV = (
    "{bin}/flask",
    "--app",
    "{peers}/flask_sources_app.py",
    "run",
    "--host",
    "127.0.0.1",
    "--port",
    "{port}",
)
# One worker process like every contender; without --die-on-term uWSGI reloads at SIGTERM.
UWSGI = (
    "{bin}/uwsgi", "--pythonpath", "{peers}", "--module", APP, "--need-app", "--master",
    "--processes", "1",
    "--die-on-term", "--disable-logging",
)  # fmt: skip
UWSGI_HTTP = (*UWSGI, "--http", "127.0.0.1:{port}")  # as Flask's documentation has it
FLASK = {
    "Flask's development server": DEV,
    "gunicorn gthread": tuple(APP if word == "flask_app:app" else word for word in GUNICORN),
    "uWSGI": UWSGI_HTTP,
}
OWN = "sluiceway serve"
LEFT_OUT = (
    f"request.stream and request.files on `{OWN}` are left out: it has no views that could "
    "read them."
)

# In front of `uwsgi --socket`; the two speak through a socket in the place, which is the working
# folder of both.
NGINX_UWSGI_CONF = """\
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path {tmp};
  proxy_temp_path {place}/t1; fastcgi_temp_path {place}/t2;
  uwsgi_temp_path {place}/t3; scgi_temp_path {place}/t4;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      uwsgi_pass unix:app.sock; uwsgi_request_buffering off;
      uwsgi_read_timeout 600s; uwsgi_send_timeout 600s;
      uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method;
      uwsgi_param CONTENT_TYPE $content_type; uwsgi_param CONTENT_LENGTH $content_length;
      uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO $document_uri;
      uwsgi_param SERVER_NAME $server_name; uwsgi_param SERVER_PROTOCOL $server_protocol;
      uwsgi_param SERVER_PORT $server_port;
    }}
  }}
}}
"""


class Cell:
    """One cell of the table, and the server that fills it."""

    __slots__ = ("contender", "deployment", "method")

    def __init__(self, method: str, deployment: str, contender: Contender) -> None:
        self.method, self.deployment, self.contender = method, deployment, contender

    @property
    def stem(self) -> str:
        """What its profiles' names begin with."""
        name = {
            "Flask's development server": "flask",
            "gunicorn gthread": "gunicorn",
            "uWSGI": "uwsgi",
        }.get(self.deployment)
        return (
            "sluiceway-serve"
            if name is None
            else name + ("-sluiceway" if self.contender.ours else "")
        )


def cell(method: str, deployment: str, command: tuple[str, ...], how: str, live: bool) -> Cell:
    raw = how == "raw"
    writes = (
        "fixed-size reads, shutil.copyfileobj"
        if raw
        else "save(path)"
        if live
        else "spooled, then save(path)"
    )
    contender = Contender(
        f"{method}, {deployment}", command, how, "/stream/{name}" if raw else "/files", writes,
        fsync=live and not raw,
        method="PUT" if raw else "POST", env={"LIVE": "1"} if live else {}, ours=live,
    )  # fmt: skip
    return Cell(method, deployment, contender)


def _own(method: str, ours: Contender) -> Cell:
    command = tuple(
        word for word in ours.command if word not in ("--digest", "sha-256")
    )  # as it is by itself
    named = Contender(
        f"{method}, {OWN}", command, ours.how, ours.path, ours.writes, fsync=True,
        digest=ours.digest, method=ours.method,
        ours=True,
    )  # fmt: skip
    return Cell(method, OWN, named)


METHODS = (
    ("request.stream to disk", "raw", False),
    ("request.files", "form", False),
    ("ours raw", "raw", True),
    ("ours form", "form", True),
)
CELLS = [
    *(
        cell(method, name, command, how, live)
        for method, how, live in METHODS
        for name, command in FLASK.items()
    ),
    _own("ours raw", OURS_SHA),
    _own("ours form", OURS_FORM_SHA),
]
