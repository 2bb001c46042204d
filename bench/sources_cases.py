"""The cases of the group `why`.

The view timed in 2019 and its cure, times servers, profilers and uWSGI's settings, as data.

Slow cases carry a part of the data; all are compared by seconds a byte. It starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bench.contenders import Contender
from bench.sources_peers import DEV, NGINX_UWSGI_CONF, UWSGI, UWSGI_HTTP

__all__ = ["CLOCK", "PROFILERS", "PUBLISHED", "SERVERS", "SETTINGS", "VIEWS", "Case", "cases"]

# Seconds of one look at the profiler's clock: how much longer each len() took in the published
# profile of uWSGI than in the one of the development server: 8.215 s and 0.204 s for 1,048,155
# calls of a function that does nothing.
CLOCK = (8.215 - 0.204) / 1_048_155
PUBLISHED = (
    5.196,
    77.104,
)  # seconds of 256 MiB by lines in cProfile: the development server, uWSGI in a container


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement; `share` is its part of the data."""

    view: str
    server: str
    profiler: str
    contender: Contender
    share: float
    stores: bool

    @property
    def key(self) -> tuple[str, str, str]:
        return self.view, self.server, self.profiler


@dataclass(frozen=True, slots=True)
class Server:
    command: tuple[str, ...]
    share: float = 1.0
    files: Mapping[str, str] = field(default_factory=dict)


VIEWS = {  # path, and the part of the data where nothing else slows it down
    "fixed reads": ("/stream/{name}", 1.0),
    "lines, 2019": ("/lines-2019/{name}", 1.0),
    "lines, today": ("/lines/{name}", 1 / 32),  # Werkzeug's stream takes them byte by byte today
}
PROFILERS = {  # environment, and the part of the data with lines
    "none": ({}, 1.0),
    "cProfile": ({}, 1.0),
    "cProfile, its clock a system call": ({"CLOCK": "syscall"}, 1 / 2),
    f"cProfile, its clock {CLOCK * 1e6:.1f} us": ({"CLOCK": repr(CLOCK)}, 1 / 8),
}
SERVERS = {"development server": Server(DEV), "uWSGI --http": Server(UWSGI_HTTP)}
DIRECT = (*UWSGI, "--http-socket", "127.0.0.1:{port}")
FRONT = "nginx -p {place} -c {place}/nginx.conf -e {place}/nginx.log"
SETTINGS = {
    "uWSGI --http-socket": Server(DIRECT),
    "uWSGI --socket behind nginx": Server(
        (*UWSGI, "--socket", "app.sock", "--attach-daemon", FRONT),
        files={"nginx.conf": NGINX_UWSGI_CONF},
    ),
    "--http-socket, buffer-size 65535": Server((*DIRECT, "--buffer-size", "65535")),
    "--http-socket, post-buffering 1": Server((*DIRECT, "--post-buffering", "1"), 1 / 32),
    "--http-socket, post-buffering 8192": Server((*DIRECT, "--post-buffering", "8192")),
    "--http-socket, post-buffering 8192, post-buffering-bufsize 1 MiB": Server(
        (*DIRECT, "--post-buffering", "8192", "--post-buffering-bufsize", "1048576")
    ),
    "--http-socket, 2 processes of 2 threads, thunder-lock": Server(
        (*DIRECT, "--processes", "2", "--threads", "2", "--thunder-lock")
    ),
}


def case(view: str, name: str, server: Server, profiler: str) -> Case:
    path, share = VIEWS[view]
    env, less = PROFILERS[profiler]
    stores = view == "fixed reads"
    profile = {} if profiler == "none" else {"PROFILE": "{place}/profile"}
    contender = Contender(
        f"{view}; {name}; profiler: {profiler}", server.command, "raw", path, view, fsync=False,
        env={**env, **profile},
        files=server.files,
    )  # fmt: skip
    return Case(
        view,
        name,
        profiler,
        contender,
        min(server.share, 1.0 if stores else min(share, less)),
        stores,
    )


def cases(nginx: bool = True) -> Iterator[Case]:
    """Both servers with every profiler, then what uWSGI's settings do without one."""
    for name, server in SERVERS.items():
        for profiler in PROFILERS:
            yield case("fixed reads", name, server, profiler)
            yield case("lines, 2019", name, server, profiler)
        yield case("lines, today", name, server, "none")
    for name, server in SETTINGS.items():
        if nginx or "nginx" not in name:
            yield case("fixed reads", name, server, "none")
            yield case("lines, 2019", name, server, "none")
