"""Every setting of the server, once: the command line, SLUICEWAY_… variables, sluiceway.toml and the docs read this list.

Plain values and their checks; nothing is opened or started here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sluiceway.client.http.address_guard import AddressGuard
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import MINIMUM
from sluiceway.pipe.digests import ALGORITHMS
from sluiceway.pipe.loan import LARGEST
from sluiceway.server.guarded_settings import (
    BadSetting,
    check_secrets,
    check_token_text,
    host_name,
    origin,
    read_token,
)
from sluiceway.uploads.keys import DEFAULT_TEMPLATE, KeyTemplate
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.host_patterns import Hosts
from sluiceway.wire.request_targets import Origin
from sluiceway.wire.sizes import parse_size

__all__ = ["BadSetting", "Settings", "is_loopback", "setting_help"]

MOST_PARTS = 100_000  # their heads may have 51 MB together; beyond that several forms are better


def _told(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """What `sluiceway serve` can be told. The names are the flags' names with `_` for `-`."""

    to: tuple[str, ...] = _told(
        "Where files go: a folder, the http(s):// URL of another server (they are passed on while they arrive), a database "
        "(postgresql://USER:PASSWORD@HOST/DATABASE?table=files), a bucket (s3://BUCKET/PREFIX, gs://…, az://…), "
        "whatever fsspec reaches (fsspec+sftp://USER@HOST/FOLDER), "
        "or memory: for a trial run that forgets everything. "
        "Repeat it to send each file to several places at once; "
        "best-effort:PLACE is one that may fail or fall behind.",
        ("./uploads",),
    )
    host: str = _told(
        "Address to listen on. Anything but loopback needs --token or --no-auth.", "127.0.0.1"
    )
    port: int = _told("Port to listen on; 0 takes a free one and prints it.", 8000)
    token: str | None = _told(
        "Secret that every request must carry, as a bearer token or as the password of HTTP basic authentication.",
        None,
    )
    token_file: str | None = _told(
        "File that holds the token and nothing else: every user of the machine can read the options of a program.",
        None,
    )
    no_auth: bool = _told("Let anybody who can reach the address upload, read and delete.", False)
    allowed_host: tuple[str, ...] = _told(
        "Name that requests may be for besides localhost and this machine's loopback addresses: files.example.com or "
        "*.example.com. Without a token and without --no-auth no other name is answered, so that no web site can reach a server "
        "on the machine of its visitor. Repeatable.",
        (),
    )
    allow_origin: tuple[str, ...] = _told(
        "Origin (https://app.example.com) whose pages may upload, read and delete from a browser; * for all, which needs --token "
        "or --no-auth. Repeatable.",
        (),
    )
    max_size: str | None = _told(
        "Largest upload, e.g. 10GiB: one raw body, or all files of one form together.", None
    )
    min_rate: str = _told(
        "Bytes a second an upload must bring at least, averaged over each minute spent waiting for its client; 0 takes any pace, "
        "as long as a byte a minute comes.",
        "16",
    )
    max_parts: int = _told(
        "Most parts of a form, files and fields together.", FormLimits().max_parts
    )
    max_field_size: str = _told(
        "Longest field of a form. Fields are held in memory; what is longer is sent as a file.",
        "1MiB",
    )
    memory_budget: str = _told("Memory all transfers of the server may hold together.", "64MiB")
    key_template: str = _told(
        "Where a file goes whose client named no key: {id} {filename} {year} {month} {day}.",
        DEFAULT_TEMPLATE,
    )
    flatten: bool = _told(
        "Drop the folders of a name as browsers send it for a chosen folder (album/a/README); otherwise the key keeps them.",
        False,
    )
    digest: str = _told(
        "Digests computed of every file: sha-256, sha-512, both with a comma, or none.", "sha-256"
    )
    workers: int = _told("Processes that serve; one core moves more than 1 GB/s.", 1)
    shutdown_timeout: float = _told("Seconds that uploads under way may go on after SIGTERM.", 30.0)
    store_option: tuple[str, ...] = _told(
        "For buckets and other places that need more than a URL, NAME=VALUE: endpoint, region, profile, timeout … Repeatable.",
        (),
    )
    redirect_downloads: float = _told(
        "Send downloads on to the bucket itself, by a signed URL that holds so many seconds; 0 gives the bytes from here.",
        0.0,
    )
    relay_url: str | None = _told(
        "Path (or URL) at the server of --to, with {key}, {filename}, {id} and the names of form fields or query parameters: "
        "/books/{id}/file.",
        None,
    )
    relay_method: str | None = _told(
        "Method of requests to that server; the client's own otherwise.", None
    )
    relay_body: str = _told("How files are passed on: same (as they came), raw, or form.", "same")
    relay_form: str | None = _told(
        "Pass files on in this field of a form, whatever form they came in.", None
    )
    relay_field: tuple[str, ...] = _told(
        "NAME=VALUE to send before the file in each form. Repeatable.", ()
    )
    relay_header: tuple[str, ...] = _told(
        "'NAME: VALUE' to send with each request, such as Authorization. Repeatable.", ()
    )
    relay_answer_header: tuple[str, ...] = _told(
        "Header of that server's answers to pass on to clients besides the usual ones, such as X-Book-Id. Repeatable.",
        (),
    )
    relay_expect: bool = _told(
        "Ask that server with Expect: 100-continue before each file, and tell clients to go on only when it wants it.",
        False,
    )
    relay_chunked: bool = _told(
        "Send a form's file in chunks, for forms with something after a large file.", False
    )
    relay_connect_timeout: float = _told("Seconds that server may take for a connection.", 10.0)
    relay_idle_timeout: float = _told("Seconds that server may take or send nothing.", 60.0)
    relay_answer_timeout: float = _told(
        "Seconds from the last byte of a file to the beginning of that server's answer.", 600.0
    )
    ca_file: str | None = _told(
        "Certificates (PEM) of authorities to trust at that server, beside the system's (or those of SSL_CERT_FILE).",
        None,
    )
    client_cert: str | None = _told(
        "Certificate of this gateway's own with its key (PEM), shown to that server.", None
    )
    fetch_from: tuple[str, ...] = _told(
        "Host that GET /fetch and imports may read from: files.example.com, *.example.com, or * for all public ones; with :PORT "
        "for a port other than those of the web. Nothing is fetched without it. Repeatable.",
        (),
    )
    fetch_internal: tuple[str, ...] = _told(
        "Address or network, such as 10.1.2.0/24, that may be fetched from although it is not public. Repeatable.",
        (),
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            if isinstance(item.default, tuple):  # one value or any sequence of them will do
                given = getattr(self, item.name)
                object.__setattr__(
                    self, item.name, (given,) if isinstance(given, str | Path) else tuple(given)
                )
        if not self.to:
            raise BadSetting("--to names no place; give a folder or a URL")
        if self.relay_body not in ("same", "raw", "form"):
            raise BadSetting(f"--relay-body is same, raw or form, not {self.relay_body!r}")
        for name in ("relay_connect_timeout", "relay_idle_timeout", "relay_answer_timeout"):
            if not 0 < getattr(self, name) < 1e9:
                raise BadSetting(
                    f"--{name.replace('_', '-')} is a number of seconds above 0, not {getattr(self, name)}"
                )
        if self.redirect_downloads and not 1 <= self.redirect_downloads <= 7 * 24 * 3600:
            raise BadSetting(
                f"--redirect-downloads is 0, or 1 second to 7 days in seconds, not {self.redirect_downloads}"
            )
        if not 0 <= self.port <= 65535:
            raise BadSetting(f"--port must be 0 to 65535, not {self.port}")
        if not 1 <= self.workers <= 64:
            raise BadSetting(f"--workers must be 1 to 64, not {self.workers}")
        if not 0 <= self.shutdown_timeout < 1e9:  # "nan" and "inf" are numbers to Python
            raise BadSetting(
                f"--shutdown-timeout is a number of seconds and cannot be negative or endless, not {self.shutdown_timeout}"
            )
        if self.token_file is not None:
            if self.token is not None:
                raise BadSetting("--token and --token-file are both given; give one")
            object.__setattr__(self, "token", read_token(self.token_file))
            object.__setattr__(
                self, "token_file", None
            )  # read once: a worker is told the token itself
        if self.token is not None:
            check_token_text(self.token, "--token")
        check_secrets(self.relay_header, self.store_option)
        _ = self.host_names, self.origins
        if self.budget // self.workers < MINIMUM:
            raise BadSetting(
                f"--memory-budget must be at least {MINIMUM >> 20}MiB for each worker, not {self.memory_budget}"
            )
        if not 1 <= self.max_parts <= MOST_PARTS:
            raise BadSetting(f"--max-parts must be 1 to {MOST_PARTS}, not {self.max_parts}")
        if not 1 <= self.form_limits.max_field_bytes <= self.budget // self.workers // LARGEST:
            raise BadSetting(
                f"--max-field-size is 1 byte to a quarter of each worker's part of --memory-budget, not {self.max_field_size}; "
                "fields are held in memory"
            )
        _ = self.largest, self.least_rate, self.digests
        try:
            Hosts(self.fetch_from)
            AddressGuard(self.fetch_internal)
        except BadRequest as error:
            raise BadSetting(f"--fetch-from or --fetch-internal: {error.detail}") from None
        if self.fetch_internal and not self.fetch_from:
            raise BadSetting(
                "--fetch-internal allows addresses, and no --fetch-from allows a host; give one, or * for all"
            )
        KeyTemplate(self.key_template)
        if not self.token and not self.no_auth and not is_loopback(self.host):
            raise BadSetting(
                f"--host {self.host} can be reached by others, and there is no --token. Set one "
                "(or SLUICEWAY_TOKEN), or say --no-auth if really everybody may upload, read and delete"
            )

    @property
    def budget(self) -> int:
        """The memory budget in bytes."""
        return _bytes(self.memory_budget, "--memory-budget")

    @property
    def largest(self) -> int | None:
        """The largest upload in bytes; None is no limit."""
        return None if self.max_size is None else _bytes(self.max_size, "--max-size")

    @property
    def least_rate(self) -> int:
        """Bytes a second an upload must bring."""
        return _bytes(self.min_rate, "--min-rate")

    @property
    def form_limits(self) -> FormLimits:
        """What one form may cost."""
        return FormLimits.of(self.max_parts, _bytes(self.max_field_size, "--max-field-size"))

    @property
    def host_names(self) -> frozenset[str]:
        """Names besides this machine's own that requests may be for, as they are compared; "*.x" is every name below x."""
        return frozenset(map(host_name, self.allowed_host))

    @property
    def origins(self) -> frozenset[Origin]:
        """Origins whose pages are trusted; "*" is none of them."""
        if "*" in self.allow_origin and not self.token and not self.no_auth:
            raise BadSetting(
                "--allow-origin '*' lets every web site in; it needs a --token, or --no-auth"
            )
        return frozenset(origin(text) for text in self.allow_origin if text != "*")

    @property
    def digests(self) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self.digest.split(",") if name.strip())
        if names == ("none",):
            return ()
        unknown = [name for name in names if name not in ALGORITHMS]
        if unknown or not names:
            raise BadSetting(f"--digest takes {', '.join(ALGORITHMS)} or none, not {self.digest!r}")
        return names


def _bytes(text: str | int, what: str) -> int:
    """As the command line reads sizes; a settings file may also hold a plain number."""
    try:
        return parse_size(str(text), what)
    except BadRequest as error:
        raise BadSetting(error.detail) from None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything


def setting_help() -> Mapping[str, tuple[Any, str]]:
    """Name -> (default, help), in the order of the list."""
    return {item.name: (item.default, item.metadata["help"]) for item in fields(Settings)}
