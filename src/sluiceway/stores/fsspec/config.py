"""Reads `fsspec+PROTOCOL://USER:PASSWORD@HOST:PORT/PATH?OPTION=VALUE`.

The path is decoded. Options go to the implementation as they are, beside what it reads from user,
password, host and port itself. An SFTP server must be in `known_hosts`, as for ssh.
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
from fsspec.spec import AbstractFileSystem

from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.stores.fsspec.sftp import exact
from sluiceway.wire.urls import redact_url

__all__ = ["FsspecUrl", "parse_url"]

PREFIX = "fsspec+"
PACKAGES = {  # what to install, where the protocol's name does not tell
    "dav": "webdav4[fsspec]",
    "hdfs": "pyarrow",
    "sftp": "paramiko",
    "smb": "smbprotocol",
    "ssh": "paramiko",
    "webdav": "webdav4[fsspec]",
    "webhdfs": "requests",
}
SSH_TIMEOUT = 15.0  # seconds an SSH server may take to connect, to greet, and to log in


@dataclass(frozen=True, slots=True)
class FsspecUrl:
    """The implementation of a URL's protocol, its options, and the path of the folder."""

    protocol: str
    implementation: type[Any]
    options: Mapping[str, object]
    path: str  # decoded, as the protocol writes it
    display_name: str  # without passwords
    secrets: tuple[str, ...]  # texts that no error and no log line may repeat

    @property
    def is_sftp(self) -> bool:
        return self.protocol in ("sftp", "ssh")

    @property
    def can_move(self) -> bool:
        """Whether the protocol can rename a file; fsspec's own `mv` copies and deletes."""
        return self.implementation.mv is not AbstractFileSystem.mv

    @property
    def reads_ranges(self) -> bool:
        """Whether the protocol reads a range by itself, so that no file is held open for it."""
        kind = self.implementation
        return kind.cat_file is not AbstractFileSystem.cat_file or hasattr(kind, "_cat_file")

    def connect(self) -> Any:
        """A new file system object. Blocking. Raises any error of the implementation."""
        if not self.is_sftp:
            return self.implementation(**self.options, skip_instance_cache=True)
        made = self.implementation(**_ssh_options(self.options), skip_instance_cache=True)
        # Without it the last small packet of each request waits 40 ms for an acknowledgement:
        # 20 MiB/s read, 86 with it.
        made.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return exact(made)


def parse_url(url: str, options: Mapping[str, str]) -> FsspecUrl:
    """Nothing is connected. Raises BadRequest for an unknown protocol or a missing package."""
    address, _, query = url.partition("?")
    parts = urlsplit(address.replace("#", "%23"))  # a key may hold one
    protocol, display_name = parts.scheme.lower().removeprefix(PREFIX), redact_url(address)
    implementation = _implementation(protocol, display_name)
    own = implementation._get_kwargs_from_urls(f"{protocol}://{parts.netloc}/")
    own = {name: value for name, value in own.items() if name not in ("url_query", "url_fragment")}
    own |= {
        name: unquote(value)
        for name, value in own.items()
        if name in ("username", "user", "password")
    }
    if protocol in ("webdav", "dav"):
        login = None
        if parts.username is not None:
            login = (unquote(parts.username), unquote(parts.password or ""))
        own = {"base_url": f"https://{parts.netloc.rpartition('@')[2]}", "auth": login}
    query_options = dict(parse_qsl(query, keep_blank_values=True))
    all_options: dict[str, object] = {**own, **query_options, **options}
    return FsspecUrl(
        protocol,
        implementation,
        all_options,
        _path(protocol, implementation, parts.netloc) + unquote(parts.path),
        display_name,
        _secrets(all_options, parts.password or ""),
    )


def _implementation(protocol: str, display_name: str) -> Any:
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError:
        package = PACKAGES.get(protocol, f"what fsspec needs for {protocol}")
        raise BadRequest(
            f"{display_name} needs a package that is not installed: pip install '{package}'"
        ) from None
    except ValueError:
        raise BadRequest(f"{display_name}: fsspec knows no protocol {protocol!r}") from None


def _secrets(options: Mapping[str, object], password: str) -> tuple[str, ...]:
    """The longest first: one may be part of another."""
    found = [
        str(value)
        for name, value in options.items()
        if any(word in name for word in ("pass", "secret", "token", "key"))
    ]
    return tuple(sorted([*found, password, unquote(password)], key=len, reverse=True))


def _path(protocol: str, implementation: Any, netloc: str) -> str:
    """The part of the path that stands in the host's place: memory://folder/file has no host."""
    kind = implementation.protocol
    protocols = (kind,) if isinstance(kind, str) else kind
    if not netloc or "webdav" in protocols:
        return ""
    first = implementation._strip_protocol(f"{protocol}://{netloc}/").strip("/")
    return f"/{first}" if first else ""


def _ssh_options(given: Mapping[str, object]) -> dict[str, object]:
    # Our own error tells what paramiko would log of a failure.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    timeouts = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), SSH_TIMEOUT)
    options: dict[str, object] = {**timeouts, **given}
    known_hosts = os.path.expanduser(str(options.pop("known_hosts", "~/.ssh/known_hosts")))
    for name in timeouts:
        options[name] = float(str(options[name]))
    for name in ("allow_agent", "look_for_keys", "compress"):
        if name in options:
            options[name] = str(options[name]).lower() in ("1", "true", "yes")
    options.setdefault("host_key_policy", _only_known_hosts(known_hosts))
    return options


def _only_known_hosts(path: str) -> object:
    """fsspec's default trusts any server, and would send it the password."""
    paramiko = importlib.import_module("paramiko")

    class OnlyKnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[name-defined, misc]  # imported when it is needed
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            hosts = paramiko.HostKeys()
            if os.path.exists(path):
                hosts.load(path)
            if hosts.check(hostname, key):
                return
            line = f"{hostname} {key.get_name()} {base64.b64encode(key.asbytes()).decode()}"
            if hosts.lookup(hostname) is None:
                raise StoreFailed(
                    f"The SSH server {hostname} is not in {path}, so it may be any machine. "
                    f"If this is its key, add the line: {line}"
                )
            raise StoreFailed(
                f"The SSH server {hostname} shows another key than {path} has for it; "
                "another machine may answer in its place"
            )

    return OnlyKnownHosts()
