"""A real S3 server of the bench's own, from wheels.

OpenStack Swift with s3api on one node: four processes, forked from one that has imported Swift.

Prints its endpoint when it is ready, ends when its standard input does. Access key `test:tester`,
secret `testing`, region us-east-1, path-style addresses. `swift.py FOLDER [SMALLEST_PART
[volatile]]`: a volatile one never waits for the disk, as for tests, which cut no power, and splits
headers more cheaply.
The folder's file system needs extended attributes.
"""

from __future__ import annotations

import gc
import getpass
import inspect
import io
import os
import signal
import socket
import sys
import time
import traceback
import urllib.request
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

TRIES = 3
SERVICES = ("account", "container", "object")
READY = 60.0  # seconds; it takes one on an idle machine
END = 10.0  # seconds that the processes may take to end
FOREVER = 3600.0  # seconds that the cache keeps what has no end

SWIFT = """[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = gold
default = yes
"""
# By default an object enters the listing later where that takes over a second: on a busy machine.
DEFAULT = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = {workers}
user = {user}
swift_dir = {root}/etc
devices = {root}/devices
mount_check = false
recon_cache_path = {root}/recon
log_level = ERROR
fallocate_reserve = 0
conn_timeout = 10
container_update_timeout = 30
"""
STORAGE = """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
log_requests = false
"""
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo
    proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin .reseller_admin
user_test_reader = reading
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
check_bucket_owner = false
location = us-east-1
min_segment_size = {smallest}
max_upload_part_num = 10000
[filter:cache]
paste.filter_factory = __main__:cached
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
"""
PLAIN = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "dlo")
PROXY += "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in PLAIN)


def main() -> None:
    root, smallest = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else str(5 << 20)
    for folder in ("etc", "devices/d1", "recon"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/swift.conf").write_text(SWIFT)
    warnings.simplefilter("ignore")
    sys.path.remove(str(Path(__file__).parent))  # where this file would be `import swift`
    if "volatile" in sys.argv[3:]:
        os.fsync = os.fdatasync = _skipped
    for name in ("account.server", "container.server", "obj.server", "proxy.server"):
        import_module(f"swift.{name}")
    for name in ("s3api.s3api", "tempauth", "slo", "dlo", "bulk", "catch_errors", "gatekeeper"):
        import_module(f"swift.common.middleware.{name}")
    if "volatile" in sys.argv[3:]:
        _make_cheaper()
    gc.freeze()  # the forks share these pages, and look for garbage among their own objects only
    for _ in range(TRIES):  # another process may take a free port first
        if _serve(root, smallest):
            return
    sys.exit(f"Swift did not start:\n{(root / 'log').read_text(errors='replace')[-2000:]}")


def _serve(root: Path, smallest: str) -> bool:
    """Serve until standard input ends. Returns whether the server started."""
    ports = dict(zip((*SERVICES, "proxy"), _free_ports(4), strict=True))
    values = {"user": getpass.getuser(), "root": root, "smallest": smallest, "workers": 0}
    for name, port in ports.items():
        text = DEFAULT + (PROXY if name == "proxy" else STORAGE)
        (root / f"etc/{name}.conf").write_text(text.format(name=name, port=port, **values))
    for name in SERVICES:
        _ring(root / "etc" / f"{name}.ring.gz", ports[name])
    running: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the forks would stay
    try:
        running += (_fork(root, name) for name in ports)
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        if not _up(endpoint, ports, running):
            return False
        print(endpoint, flush=True)
        sys.stdin.read()
        return True
    finally:
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + END
        for pid in running:
            while _runs(pid):
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def _skipped(fd: Any) -> None:
    """Stands for fsync."""


def _make_cheaper() -> None:
    """Saves an eighth of the processor time of a small request.

    It went into the mail library's parser, which splits the headers of each message between the
    processes, and into a look at all members of a controller for each request.
    """
    client: Any = import_module("eventlet.green.http.client")
    parse = client.parse_headers

    def parse_headers(file: Any, _class: Any = client.HTTPMessage) -> Any:
        lines = []
        while (line := file.readline(client._MAXLINE + 1)) not in (b"\r\n", b"\n", b""):
            lines.append(line)
        if any(len(line) > client._MAXLINE or line[:1] in b" \t:" for line in lines) or not all(
            b":" in line for line in lines
        ):
            return parse(io.BytesIO(b"".join([*lines, line])), _class)
        message = _class()
        for name, _, value in (line.decode("iso-8859-1").partition(":") for line in lines):
            message._headers.append((name, value.strip(" \t\r\n")))
        return message

    client.parse_headers = parse_headers
    controller: Any = import_module("swift.proxy.controllers.base").Controller
    methods: Any = cache(
        lambda kind: {
            name
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if getattr(member, "publicly_accessible", False)
        }
    )
    controller.allowed_methods = property(lambda self: methods(type(self)))


def _fork(root: Path, name: str) -> int:
    """Returns the id of the process of a service, which leads a session of its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        with (root / "log").open("ab") as log, open(os.devnull, "rb") as nothing:
            for fd, file in ((0, nothing), (1, log), (2, log)):
                os.dup2(file.fileno(), fd)
        if name == "object":
            options = {
                "global_conf_callback": import_module("swift.obj.server").global_conf_callback
            }
        else:
            options = {}
        import_module("swift.common.wsgi").run_wsgi(
            str(root / f"etc/{name}.conf"), f"{name}-server", **options
        )
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _ring(file: Path, port: int) -> None:
    """One device, so one replica; 16 partitions are plenty."""
    builder = import_module("swift.common.ring").RingBuilder(4, 1, 1)
    device = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1"}
    replication = {"replication_ip": "127.0.0.1", "replication_port": port}
    builder.add_dev({**device, **replication, "weight": 1.0, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(str(file))


class _Cache:
    """Stands for memcached: without one, Swift asks for account and bucket before each request.

    There is one proxy process, so a dictionary of its own is as good.
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, **_: Any) -> Any:
        value, until = self._values.get(key, (None, 0.0))
        return value if until > time.monotonic() else None

    def set(self, key: str, value: Any, **options: Any) -> None:
        self._values[key] = value, time.monotonic() + (options.get("time") or FOREVER)

    def delete(self, key: str, **_: Any) -> None:
        self._values.pop(key, None)


def cached(*_: Any, **__: Any) -> Any:
    """A filter of Swift's proxy: requests find the cache where memcached's would be."""
    cache = _Cache()

    def filtered(app: Any) -> Any:
        def answered(environ: dict[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return answered

    return filtered


def _up(endpoint: str, ports: dict[str, int], running: list[int]) -> bool:
    end = time.monotonic() + READY
    while time.monotonic() < end and all(map(_runs, running)):
        try:
            for port in ports.values():
                socket.create_connection(("127.0.0.1", port), 1).close()
            with urllib.request.urlopen(f"{endpoint}/healthcheck", timeout=5) as response:
                if response.status == 200:
                    return True
        except OSError:
            time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # waited for already
        return False


if __name__ == "__main__":
    main()
