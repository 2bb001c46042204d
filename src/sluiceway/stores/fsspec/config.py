"""`fsspec+PROTOCOL://USER:PASSWORD@HOST:PORT/PATH?OPTION=VALUE`: which implementation, what it is told, and the path in it.

The path is decoded; options go to the implementation as they are, beside what it reads from user, password, host and port itself.
An SFTP server must be one that `known_hosts` knows, as for ssh. Nothing is connected here.
"""

from __future__ import annotations

import base64
import importlib
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec

from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.stores.fsspec.sftp import exact
from sluiceway.wire.urls import redact_url

__all__ = ["FsspecOrigin", "read_url"]

PREFIX = "fsspec+"
PACKAGES = {  # what brings the implementation, where the name does not tell
    "dav": "webdav4[fsspec]",
    "hdfs": "pyarrow",
    "sftp": "paramiko",
    "smb": "smbprotocol",
    "ssh": "paramiko",
    "webdav": "webdav4[fsspec]",
    "webhdfs": "requests",
}
CONNECT = 15.0  # seconds an SSH server may take for its greeting, and for the login


@dataclass(frozen=True, slots=True)
class FsspecOrigin:
    """An implementation and what it is told."""

    protocol: str
    kind: type[Any]
    options: Mapping[str, object]
    path: str  # decoded, as the protocol writes it
    display_name: str  # for people: without passwords
    secrets: tuple[str, ...]  # what must not be repeated

    def make(self) -> Any:
        """Connects. Blocking. Raises whatever the implementation raises."""
        if self.protocol not in ("sftp", "ssh"):
            return self.kind(**self.options, skip_instance_cache=True)
        made = self.kind(**_ssh(dict(self.options)), skip_instance_cache=True)
        # Else the last small packet of each request waits for an acknowledgement, 40 ms of it: 20 MiB/s read, 86 without.
        made.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return exact(made)


def read_url(url: str, told: Mapping[str, str]) -> FsspecOrigin:
    """Raises BadRequest for a protocol nobody knows, or whose package is missing."""
    address, _, query = url.partition("?")
    parts = urlsplit(address.replace("#", "%23"))  # a key may hold one
    protocol, display_name = parts.scheme.lower().removeprefix(PREFIX), redact_url(address)
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError:
        package = PACKAGES.get(protocol, f"what fsspec needs for {protocol}")
        raise BadRequest(
            f"{display_name} needs a package that is not installed: pip install '{package}'"
        ) from None
    except ValueError:
        raise BadRequest(f"{display_name}: fsspec knows no protocol {protocol!r}") from None
    own = kind._get_kwargs_from_urls(f"{protocol}://{parts.netloc}/")
    own = {name: value for name, value in own.items() if name not in ("url_query", "url_fragment")}
    own |= {
        name: unquote(value)
        for name, value in own.items()
        if name in ("username", "user", "password")
    }
    if protocol in ("webdav", "dav"):
        user = (
            None
            if parts.username is None
            else (unquote(parts.username), unquote(parts.password or ""))
        )
        own = {"base_url": f"https://{parts.netloc.rpartition('@')[2]}", "auth": user}
    options: dict[str, object] = {**own, **dict(parse_qsl(query, keep_blank_values=True)), **told}
    secret = [
        str(value)
        for name, value in options.items()
        if any(word in name for word in ("pass", "secret", "token", "key"))
    ]
    secret += [parts.password or "", unquote(parts.password or "")]
    protocols = (kind.protocol,) if isinstance(kind.protocol, str) else kind.protocol
    # Some write no host, and what stands in its place is the beginning of the path: memory://folder/file
    first = (
        kind._strip_protocol(f"{protocol}://{parts.netloc}/").strip("/")
        if parts.netloc and "webdav" not in protocols
        else ""
    )
    path = (f"/{first}" if first else "") + unquote(parts.path)
    return FsspecOrigin(
        protocol, kind, options, path, display_name, tuple(sorted(secret, key=len, reverse=True))
    )


def _ssh(options: dict[str, object]) -> dict[str, object]:
    logging.getLogger("paramiko").setLevel(
        logging.CRITICAL
    )  # what it would say of a failure, our error says
    known = os.path.expanduser(str(options.pop("known_hosts", "~/.ssh/known_hosts")))
    options = {"timeout": CONNECT, "banner_timeout": CONNECT, "auth_timeout": CONNECT, **options}
    for name in ("timeout", "banner_timeout", "auth_timeout"):
        options[name] = float(str(options[name]))
    for name in ("allow_agent", "look_for_keys", "compress"):
        if name in options:
            options[name] = str(options[name]).lower() in ("1", "true", "yes")
    options.setdefault("host_key_policy", _known_only(known))
    return options


def _known_only(path: str) -> object:
    """fsspec's own default takes any server for the right one, and would give it the password."""
    paramiko = importlib.import_module("paramiko")

    class KnownOnly(paramiko.MissingHostKeyPolicy):  # type: ignore[name-defined, misc]  # imported when it is needed
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            hosts = paramiko.HostKeys()
            if os.path.exists(path):
                hosts.load(path)
            if hosts.check(hostname, key):
                return
            line = f"{hostname} {key.get_name()} {base64.b64encode(key.asbytes()).decode()}"
            if hosts.lookup(hostname) is None:
                raise StoreFailed(
                    f"The SSH server {hostname} is not in {path}, so it may be anybody. If this is its key, add the line: {line}"
                )
            raise StoreFailed(
                f"The SSH server {hostname} shows another key than {path} has for it; somebody may stand between"
            )

    return KnownOnly()
