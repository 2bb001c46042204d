"""All settings of the server, in one list.

Options, SLUICEWAY_… variables, sluiceway.toml and the docs are made of it.

Plain values and their checks. Nothing is opened or started here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from sluiceway.client.http.address_guard import AddressGuard
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import MINIMUM, RESERVABLE_PART
from sluiceway.pipe.digests import ALGORITHMS
from sluiceway.server.page.branding import DEFAULT_TITLE, Branding
from sluiceway.server.settings.arguments import DestinationArguments, Places, SettingArguments
from sluiceway.server.settings.guarded import (
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

__all__ = ["Settings", "is_loopback", "setting_help"]

MOST_PARTS = 100_000  # their heads may take 51 MB together; more files belong in several forms
WORKERS_LIMIT = 64
SIGNED_URL_SECONDS = 7 * 24 * 3600  # S3 accepts no signed URL that is valid for longer
SECONDS_LIMIT = 1e9  # excludes "inf" and "nan", which Python reads as numbers


def _setting(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of `sluiceway serve`. A field has the name of its option with `_` for `-`."""

    to: tuple[str, ...] = _setting(
        "Where files go: a folder; the http(s):// URL of another server, to which files are sent "
        "while they arrive; a database (postgresql://USER:PASSWORD@HOST/DATABASE?table=files, or "
        "sqlite:///FILE.db?table=files); a "
        "bucket (s3://BUCKET/PREFIX, gs://…, az://…); any place that fsspec supports "
        "(fsspec+sftp://USER@HOST/FOLDER); or memory:, which forgets all files when the server "
        "stops. Repeat it to send each file to several places at once; best-effort:PLACE may fail "
        "or fall behind without failing the upload.",
        ("./uploads",),
    )
    host: str = _setting(
        "Address to listen on. Any address but loopback needs --token or --no-auth.", "127.0.0.1"
    )
    port: int = _setting("Port to listen on; 0 takes a free port and prints it.", 8000)
    token: str | None = _setting(
        "Secret that every request must carry, as a bearer token or as the password of HTTP basic "
        "authentication.",
        None,
    )
    token_file: str | None = _setting(
        "File that holds the token and nothing else. Safer than --token: every user of the machine "
        "can read the options of a program.",
        None,
    )
    no_auth: bool = _setting(
        "Serve without a token: all who can reach the address can upload, read and delete.", False
    )
    allowed_host: tuple[str, ...] = _setting(
        "Host name that the server answers to besides localhost and the machine's loopback "
        "addresses: files.example.com or *.example.com. Without a token and without --no-auth the "
        "server refuses all other names, so that no web site can reach it through the browser of "
        "a visitor (DNS rebinding). Repeatable.",
        (),
    )
    allow_origin: tuple[str, ...] = _setting(
        "Origin (https://app.example.com) whose pages may upload, read and delete from a browser; "
        "* for all origins, which needs --token or --no-auth. Repeatable.",
        (),
    )
    max_size: str | int | None = _setting(
        "Largest upload, e.g. 10GiB: one raw body, or all files of one form together.", None
    )
    min_rate: str | int = _setting(
        "Slowest upload in bytes a second, averaged over each minute spent waiting for the client. "
        "0 accepts any rate of at least one byte a minute.",
        "16",
    )
    max_parts: int = _setting(
        "Most parts of a form, files and fields together.", FormLimits().max_parts
    )
    max_field_size: str | int = _setting(
        "Longest field of a form. Fields are held in memory; send longer values as files.", "1MiB"
    )
    memory_budget: str | int = _setting(
        "Memory that all transfers of the server may hold together.", "64MiB"
    )
    key_template: str = _setting(
        "Key of a file whose client named no key: {id} {path} {filename} {year} {month} {day}. "
        "{path} is the name with the folders that the client sent in front of it "
        "(album/a/README), {filename} the name alone.",
        DEFAULT_TEMPLATE,
    )
    flatten: bool = _setting(
        "Drop the folders of a file name. Browsers send names such as album/a/README when a folder "
        "is chosen; without this option {path} keeps the folders.",
        False,
    )
    digest: str = _setting(
        "Digests to compute of every file: sha-256, sha-512, both with a comma, or none.", "sha-256"
    )
    workers: int = _setting("Number of server processes; one core moves more than 1 GB/s.", 1)
    shutdown_timeout: float = _setting(
        "Seconds that running uploads may take to finish after SIGTERM.", 30.0
    )
    store_option: tuple[str, ...] = _setting(
        "NAME=VALUE, for buckets and other places that need more than a URL: endpoint, region, "
        "profile, timeout … Repeatable.",
        (),
    )
    redirect_downloads: float = _setting(
        "Redirect downloads to the bucket itself, by a signed URL that is valid for this many "
        "seconds; 0 sends the bytes from here.",
        0.0,
    )
    relay_url: str | None = _setting(
        "Path (or URL) at the server of --to, with {key}, {filename}, {upload} and the names of "
        "form fields or query parameters: /books/{id}/file.",
        None,
    )
    relay_method: str | None = _setting(
        "Method of requests to that server; without it, the method that the client used.", None
    )
    relay_body: str = _setting(
        "How files are sent to that server: same (as the client sent them), raw, or form.", "same"
    )
    relay_form: str | None = _setting(
        "Send files to that server in this field of a form, whether they arrived raw or in a form.",
        None,
    )
    relay_field: tuple[str, ...] = _setting(
        "NAME=VALUE to send before the file in each form. Repeatable.", ()
    )
    relay_header: tuple[str, ...] = _setting(
        "'NAME: VALUE' to send with each request, such as Authorization. Repeatable.", ()
    )
    relay_answer_header: tuple[str, ...] = _setting(
        "Header of that server's answers to send on to clients besides the usual ones, such as "
        "X-Book-Id. Repeatable.",
        (),
    )
    relay_show_backend: bool = _setting(
        "Let clients see that server's address, in its answers and in the names of destinations.",
        False,
    )
    relay_health: str | None = _setting(
        "Path (or URL) that /readyz asks with GET for a 2xx, instead of sending HEAD to --to.",
        None,
    )
    relay_expect: bool = _setting(
        "Send Expect: 100-continue to that server before each file, and ask clients for the body "
        "only when that server wants it.",
        False,
    )
    relay_chunked: bool = _setting(
        "Send the file of a form in chunks. Needed for forms with a field or file after a large "
        "file.",
        False,
    )
    relay_connect_timeout: float = _setting(
        "Seconds to wait for a connection to that server.", 10.0
    )
    relay_idle_timeout: float = _setting(
        "Seconds that that server may neither take nor send a byte.", 60.0
    )
    relay_answer_timeout: float = _setting(
        "Seconds from the last byte of a file to the first byte of that server's answer.", 600.0
    )
    ca_file: str | None = _setting(
        "Certificates (PEM) of authorities to trust at that server, in addition to the system's "
        "(or those of SSL_CERT_FILE).",
        None,
    )
    client_cert: str | None = _setting(
        "Client certificate with its key (PEM) for that server.", None
    )
    fetch_from: tuple[str, ...] = _setting(
        "Host that GET /fetch and imports may read from: files.example.com, *.example.com, or * "
        "for all public hosts; with :PORT for a port other than 80 and 443. Without it nothing is "
        "fetched. Repeatable.",
        (),
    )
    fetch_internal: tuple[str, ...] = _setting(
        "Address or network, such as 10.1.2.0/24, that may be fetched from although it is not "
        "public. Repeatable.",
        (),
    )
    page_title: str = _setting("Name of the page, in its heading and in the tab.", DEFAULT_TITLE)
    page_logo: str | None = _setting(
        "Image file (.svg, .png, .jpg, .webp, .gif) to show beside the name and in the tab.", None
    )
    page_color: str | None = _setting(
        "Colour of buttons, links and bars: #rrggbb. It is made darker or lighter where texts in "
        "it could not be read.",
        None,
    )
    page_style: str | None = _setting(
        "File with CSS to add to the page's own, such as values for its variables.", None
    )
    page_language: str | None = _setting(
        "Language of the page, such as de. Without it, each visitor's browser chooses.", None
    )

    @classmethod
    def of(cls, to: Places, arguments: SettingArguments | DestinationArguments) -> Self:
        """Settings from keyword arguments, where one value may stand for a list of one.

        Raises BadSetting.
        """
        given: dict[str, Any] = dict(arguments)
        return cls(to=to, **given)  # type: ignore[arg-type]  # __post_init__ makes the tuples

    def __post_init__(self) -> None:
        for item in fields(self):
            if isinstance(item.default, tuple):
                value = getattr(self, item.name)
                values = (value,) if isinstance(value, str | os.PathLike) else value
                object.__setattr__(self, item.name, tuple(os.fspath(one) for one in values))
        self._read_token()
        self._check_process()
        self._check_relay()
        self._check_forms()
        self._check_fetch()
        KeyTemplate(self.key_template)
        # the properties check what they read
        _ = self.host_names, self.origins, self.max_upload_bytes, self.min_bytes_per_second
        _ = self.digests, self.branding
        if not self.token and not self.no_auth and not is_loopback(self.host):
            raise BadSetting(
                f"--host {self.host} can be reached from other machines, and there is no --token. "
                "Set one (or SLUICEWAY_TOKEN), or say --no-auth if everybody may upload, read and "
                "delete"
            )

    def _read_token(self) -> None:
        if self.token_file is not None:
            if self.token is not None:
                raise BadSetting("--token and --token-file are both given; give one")
            object.__setattr__(self, "token", read_token(self.token_file))
            # The file is read once: worker processes get the token itself.
            object.__setattr__(self, "token_file", None)
        if self.token is not None:
            check_token_text(self.token, "--token")
        check_secrets(self.relay_header, self.store_option)

    def _check_process(self) -> None:
        if not self.to or "" in self.to:
            raise BadSetting("--to is empty; give a folder or a URL")
        if not 0 <= self.port <= 65535:
            raise BadSetting(f"--port must be 0 to 65535, not {self.port}")
        if not 1 <= self.workers <= WORKERS_LIMIT:
            raise BadSetting(f"--workers must be 1 to {WORKERS_LIMIT}, not {self.workers}")
        if not 0 <= self.shutdown_timeout < SECONDS_LIMIT:
            raise BadSetting(
                "--shutdown-timeout must be a number of seconds, 0 or more, not "
                f"{self.shutdown_timeout}"
            )
        if self.budget // self.workers < MINIMUM:
            raise BadSetting(
                f"--memory-budget must be at least {MINIMUM >> 20}MiB for each worker, not "
                f"{self.memory_budget}"
            )

    def _check_relay(self) -> None:
        if self.relay_body not in ("same", "raw", "form"):
            raise BadSetting(f"--relay-body must be same, raw or form, not {self.relay_body!r}")
        for name in ("relay_connect_timeout", "relay_idle_timeout", "relay_answer_timeout"):
            seconds = getattr(self, name)
            if not 0 < seconds < SECONDS_LIMIT:
                raise BadSetting(
                    f"--{name.replace('_', '-')} must be a number of seconds above 0, not {seconds}"
                )
        if self.redirect_downloads and not 1 <= self.redirect_downloads <= SIGNED_URL_SECONDS:
            raise BadSetting(
                "--redirect-downloads must be 0, or 1 second to 7 days in seconds, not "
                f"{self.redirect_downloads}"
            )

    def _check_forms(self) -> None:
        if not 1 <= self.max_parts <= MOST_PARTS:
            raise BadSetting(f"--max-parts must be 1 to {MOST_PARTS}, not {self.max_parts}")
        if (
            not 1
            <= self.form_limits.max_field_bytes
            <= self.budget // self.workers // RESERVABLE_PART
        ):
            raise BadSetting(
                "--max-field-size must be 1 byte to a quarter of each worker's share of "
                f"--memory-budget, not {self.max_field_size}; fields are held in memory"
            )

    def _check_fetch(self) -> None:
        try:
            Hosts(self.fetch_from)
            AddressGuard(self.fetch_internal)
        except BadRequest as error:
            raise BadSetting(f"--fetch-from or --fetch-internal: {error.detail}") from None
        if self.fetch_internal and not self.fetch_from:
            raise BadSetting(
                "--fetch-internal allows addresses, but there is no --fetch-from that allows a "
                "host; give one, or * for all"
            )

    @property
    def budget(self) -> int:
        """The memory budget in bytes."""
        return _bytes(self.memory_budget, "--memory-budget")

    @property
    def max_upload_bytes(self) -> int | None:
        """The largest upload in bytes; None is no limit."""
        return None if self.max_size is None else _bytes(self.max_size, "--max-size")

    @property
    def min_bytes_per_second(self) -> int:
        """The slowest upload that is accepted."""
        return _bytes(self.min_rate, "--min-rate")

    @property
    def form_limits(self) -> FormLimits:
        """What one form may cost."""
        return FormLimits.of(self.max_parts, _bytes(self.max_field_size, "--max-field-size"))

    @property
    def host_names(self) -> frozenset[str]:
        """Allowed names besides this machine's own, normalised; "*.x" is every name below x."""
        return frozenset(map(host_name, self.allowed_host))

    @property
    def origins(self) -> frozenset[Origin]:
        """Origins whose pages are trusted, without "*"."""
        if "*" in self.allow_origin and not self.token and not self.no_auth:
            raise BadSetting(
                "--allow-origin '*' lets every web site in; it needs a --token, or --no-auth"
            )
        return frozenset(origin(text) for text in self.allow_origin if text != "*")

    @property
    def branding(self) -> Branding:
        """How the page presents itself. The files are read each time."""
        return Branding.of(
            self.page_title, self.page_logo, self.page_color, self.page_style, self.page_language
        )

    @property
    def digests(self) -> tuple[str, ...]:
        """The names of the digests to compute."""
        names = tuple(name.strip() for name in self.digest.split(",") if name.strip())
        if names == ("none",):
            return ()
        unknown = [name for name in names if name not in ALGORITHMS]
        if unknown or not names:
            raise BadSetting(
                f"--digest must be {', '.join(ALGORITHMS)} or none, not {self.digest!r}"
            )
        return names


def _bytes(text: str | int, what: str) -> int:
    """A size as the command line writes it, or a plain number."""
    try:
        return parse_size(str(text), what)
    except BadRequest as error:
        raise BadSetting(error.detail) from None


def is_loopback(host: str) -> bool:
    """False for any other name: it may resolve to any address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def setting_help() -> Mapping[str, tuple[Any, str]]:
    """Name -> (default, help), in the order of the list."""
    return {item.name: (item.default, item.metadata["help"]) for item in fields(Settings)}
