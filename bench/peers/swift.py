"""A real S3 server of the bench's own, from wheels.

OpenStack Swift with s3api on one node, four processes.

Prints its endpoint when it is ready, ends when its standard input does. Access key `test:tester`,
secret `testing`, region us-east-1, path-style addresses. `swift.py FOLDER [SMALLEST_PART]`; the
folder's file system needs extended attributes.
"""

from __future__ import annotations

import getpass
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

TRIES = 3
SERVICES = ("account", "container", "object")
READY = 60.0  # seconds; it takes one on an idle machine

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
"""
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo
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
        _ring(root / "etc" / f"{name}.builder", ports[name])
    bin_ = Path(sys.executable).parent
    running: list[subprocess.Popen[bytes]] = []
    log = (root / "log").open("wb")
    try:
        for name in ports:
            command = [
                sys.executable,
                "-W",
                "ignore",
                str(bin_ / f"swift-{name}-server"),
                str(root / f"etc/{name}.conf"),
                "-v",
            ]
            running.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        if not _up(endpoint, ports, running):
            return False
        print(endpoint, flush=True)
        sys.stdin.read()
        return True
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _ring(builder: Path, port: int) -> None:
    """One device, so one replica; 16 partitions are plenty."""
    program = [
        sys.executable,
        "-W",
        "ignore",
        str(Path(sys.executable).parent / "swift-ring-builder"),
        str(builder),
    ]
    device = [
        "--region",
        "1",
        "--zone",
        "1",
        "--ip",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "d1",
        "--weight",
        "1",
    ]
    builder.unlink(missing_ok=True)
    for step in (["create", "4", "1", "1"], ["add", *device], ["rebalance"]):
        done = subprocess.run([*program, *step], capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):  # 1 is a warning
            sys.exit(f"swift-ring-builder {step[0]}: {done.stdout}{done.stderr}")


def _up(endpoint: str, ports: dict[str, int], running: list[subprocess.Popen[bytes]]) -> bool:
    end = time.monotonic() + READY
    while time.monotonic() < end and all(process.poll() is None for process in running):
        try:
            for port in ports.values():
                socket.create_connection(("127.0.0.1", port), 1).close()
            with urllib.request.urlopen(f"{endpoint}/healthcheck", timeout=5) as response:
                if response.status == 200:
                    return True
        except OSError:
            time.sleep(0.05)
    return False


main()
