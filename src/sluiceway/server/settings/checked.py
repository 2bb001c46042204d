"""The settings of a server, checked and parsed. `listed.py` has the list.

Each error names the option and says what to do. Nothing is opened or started here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from sluiceway.client.http.address_guard import AddressGuard, Network, parse_network
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import MINIMUM, RESERVABLE_PART
from sluiceway.pipe.hashes import DigestChoice
from sluiceway.server.page.branding import Branding
from sluiceway.server.settings.arguments import DestinationArguments, Places, SettingArguments
from sluiceway.server.settings.guarded import (
    BadSetting,
    check_secrets,
    check_token_text,
    host_name,
    is_loopback,
    is_single,
    origin,
    read_token,
)
from sluiceway.server.settings.hooking import check_hooks
from sluiceway.server.settings.listed import SettingList
from sluiceway.server.settings.replacing import check_stop
from sluiceway.server.settings.spooling import check_spool
from sluiceway.server.settings.trusted import check_trusted_users
from sluiceway.server.settings.web_tokens import check_web_tokens
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.lifetime.ages import parse_age
from sluiceway.uploads.lifetime.lifetimes import MOST_DOWNLOADS, Lifetimes
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.host_patterns import Hosts
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.request_targets import Origin
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_url

__all__ = ["Settings"]

INTERIM = ("auto", "on", "off")
LOG_FORMATS = ("text", "json")
MOST_PARTS = 100_000  # their heads may take 51 MB together; more files belong in several forms
UNLIMITED = "unlimited"  # --quota: quotas are counted for names and links alone
WORKERS_LIMIT = 64
SIGNED_URL_SECONDS = 7 * 24 * 3600  # S3 accepts no signed URL that is valid for longer
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)")
SECONDS_LIMIT = 1e9  # excludes "inf" and "nan", which Python reads as numbers


@dataclass(frozen=True, slots=True)
class Settings(SettingList):
    """Settings that can be used: a value that cannot is refused when they are made."""

    @classmethod
    def of(cls, to: Places, arguments: SettingArguments | DestinationArguments) -> Self:
        """Settings from keyword arguments, where one value may stand for a list of one.

        Raises BadSetting.
        """
        given: dict[str, Any] = dict(arguments)
        return cls(to=to, **given)  # type: ignore[arg-type]  # __post_init__ makes the tuples

    def __post_init__(self) -> None:
        for step in self._steps():
            step()

    @classmethod
    def faults(cls, given: Mapping[str, Any]) -> list[BadSetting]:
        """All that is wrong with settings, where making them would raise the first error only."""
        settings, found = object.__new__(cls), []
        for item in fields(cls):
            object.__setattr__(settings, item.name, given.get(item.name, item.default))
        for step in settings._steps():
            found += settings._all_of(step)
        return list({error.detail: error for error in found}.values())

    def _all_of(self, step: Callable[[], object]) -> list[BadSetting]:
        """What one step finds: it stops at the first, which has its default while it goes on."""
        usual = {item.name: item.default for item in fields(self) if item.default is not MISSING}
        given: dict[str, object] = {}
        found: list[BadSetting] = []
        try:
            while True:
                try:
                    step()
                    return found
                except BadSetting as error:
                    options = _OPTION.findall(error.detail)
                    names = [option.replace("-", "_") for option in options]
                    if given.keys() & set(names):  # it may be wrong by that default alone
                        return found
                    found.append(error)
                    if not names or names[0] not in usual:
                        return found
                    given[names[0]] = getattr(self, names[0])
                    object.__setattr__(self, names[0], usual[names[0]])
        finally:
            for name, value in given.items():
                object.__setattr__(self, name, value)

    def _steps(self) -> tuple[Callable[[], object], ...]:
        """The checks, in order. Each of them may raise BadSetting."""
        return (
            self._make_tuples,
            self._read_token,
            self._check_process,
            lambda: check_stop(self),
            lambda: check_trusted_users(self),
            lambda: check_web_tokens(self),
            self._check_ledger,
            lambda: check_hooks(self),
            self._check_relay,
            self._check_forms,
            self._check_fetch,
            lambda: KeyTemplate(self.key_template),
            # the properties check what they read
            lambda: self.host_names,
            lambda: self.origins,
            lambda: self.max_upload_bytes,
            lambda: self.min_bytes_per_second,
            lambda: self.digests,
            lambda: self.lifetimes,
            lambda: self.branding,
            lambda: self.metrics_address,
            lambda: (self.quota_bytes, self.keep_free_bytes),
            self._check_open,
        )

    def _make_tuples(self) -> None:
        for item in fields(self):
            if isinstance(item.default, tuple):
                value = getattr(self, item.name)
                values = (value,) if isinstance(value, str | os.PathLike) else value
                object.__setattr__(self, item.name, tuple(os.fspath(one) for one in values))

    def _check_open(self) -> None:
        if not self.has_tokens and not self.no_auth and not is_loopback(self.host):
            raise BadSetting(
                f"--host {self.host} can be reached from other machines, and there is no --token. "
                "Set one (or SLUICEWAY_TOKEN), or say --no-auth if everybody may upload, read and "
                "delete"
            )

    def _read_token(self) -> None:
        if self.token_file is not None:
            self._read_token_file(self.token_file)
        if self.token is not None:
            check_token_text(self.token, "--token")
        for name in ("link_key_file", "jwt_keys"):
            path = getattr(self, name)
            if path and not is_url(path):
                object.__setattr__(self, name, os.path.abspath(path))
        check_secrets(self.relay_header, self.store_option)

    def _read_token_file(self, path: str) -> None:
        if not is_single(path):
            # Its names are read by the app, and again when it changes.
            object.__setattr__(self, "token_file", os.path.abspath(path))
            return
        if self.token is not None:
            raise BadSetting("--token and --token-file are both given; give one")
        object.__setattr__(self, "token", read_token(path))
        # The file is read once: worker processes get the token itself.
        object.__setattr__(self, "token_file", None)

    @property
    def has_tokens(self) -> bool:
        """Whether requests need a token, or a proxy that says whom it has let in."""
        ways = (self.token, self.token_file, self.trust_user_header, self.jwt_keys)
        return any(way is not None for way in ways)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """From where a header may name a user."""
        return tuple(map(parse_network, self.trusted_proxies))

    def _check_process(self) -> None:
        if not self.to or "" in self.to:
            raise BadSetting("--to is empty; give a folder or a URL")
        if not 0 <= self.port <= 65535:
            raise BadSetting(f"--port must be 0 to 65535, not {self.port}")
        if self.tls_key is not None and self.tls_cert is None:
            raise BadSetting("--tls-key is given without --tls-cert; give the certificate, too")
        if not 1 <= self.workers <= WORKERS_LIMIT:
            raise BadSetting(f"--workers must be 1 to {WORKERS_LIMIT}, not {self.workers}")
        if self.log_format not in LOG_FORMATS:
            raise BadSetting(f"--log-format must be text or json, not {self.log_format!r}")
        if self.budget // max(1, self.workers) < MINIMUM:
            raise BadSetting(
                f"--memory-budget must be at least {MINIMUM >> 20}MiB for each worker, not "
                f"{self.memory_budget}"
            )

    def _check_ledger(self) -> None:
        if self.interim not in INTERIM:
            raise BadSetting(f"--interim must be auto, on or off, not {self.interim!r}")
        if self.ledger is not None:
            if self.state is not None:
                raise BadSetting("--state and --ledger are both given; give one")
            if not self.ledger.lower().startswith(("postgresql://", "postgres://")):
                raise BadSetting(
                    "--ledger takes postgresql://USER:PASSWORD@HOST/DATABASE, and nothing else"
                )
        if self.state is not None and (not self.state or "://" in self.state):
            raise BadSetting("--state takes a folder of this machine")
        for name in ("expire_after", "forget_after"):
            seconds = getattr(self, name)
            if not 0 <= seconds < SECONDS_LIMIT:
                raise BadSetting(
                    f"--{name.replace('_', '-')} must be a number of seconds, 0 or more, not "
                    f"{seconds}"
                )

    def _check_relay(self) -> None:
        if self.relay_body not in ("same", "raw", "form"):
            raise BadSetting(f"--relay-body must be same, raw or form, not {self.relay_body!r}")
        if not 0 <= self.relay_pause < SECONDS_LIMIT:
            raise BadSetting(
                f"--relay-pause must be a number of seconds, 0 or more, not {self.relay_pause}"
            )
        if self.relay_resume not in ("auto", "tus", "ietf", "off"):
            raise BadSetting(
                f"--relay-resume must be auto, tus, ietf or off, not {self.relay_resume!r}"
            )
        for name in ("relay_connect_timeout", "relay_idle_timeout", "relay_answer_timeout"):
            seconds = getattr(self, name)
            if not 0 < seconds < SECONDS_LIMIT:
                raise BadSetting(
                    f"--{name.replace('_', '-')} must be a number of seconds above 0, not {seconds}"
                )
        check_spool(self)
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
            <= self.budget // max(1, self.workers) // RESERVABLE_PART
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
    def quota_bytes(self) -> int | None:
        """The most bytes of all files together; None is no limit."""
        if self.quota is None or str(self.quota).lower() == UNLIMITED:
            return None
        return _bytes(self.quota, "--quota")

    @property
    def keep_free_bytes(self) -> int:
        """Bytes of the disk that stay free."""
        return 0 if self.keep_free is None else _bytes(self.keep_free, "--keep-free")

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
        if "*" in self.allow_origin and (self.trust_user_header or self.jwt_header):
            raise BadSetting(
                "--allow-origin '*' would let every web site use the logins of the proxy in front "
                "(--trust-user-header, --jwt-header); name the origins"
            )
        if "*" in self.allow_origin and not self.has_tokens and not self.no_auth:
            raise BadSetting(
                "--allow-origin '*' lets every web site in; it needs a --token, or --no-auth"
            )
        return frozenset(origin(text) for text in self.allow_origin if text != "*")

    @property
    def expiry(self) -> Expiry:
        """How long uploads live that may outlive a request."""
        return Expiry(self.expire_after or None, self.expire_fixed, self.forget_after)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the metrics' own listener; None for none."""
        if self.metrics_port is None:
            return None
        port = clipped_uint(str(self.metrics_port))
        if port is None or port > 65535:
            raise BadSetting(f"--metrics-port must be 0 to 65535, not {self.metrics_port}")
        return self.metrics_host, port

    @property
    def lifetimes(self) -> Lifetimes | None:
        """How long finished files last; None: until somebody deletes them."""
        expire = None if self.expire == "never" else _age(self.expire, "--expire")
        retain, most = _age(self.retain, "--retain"), _age(self.retain_most, "--retain-most")
        if expire is not None and retain is not None and retain > expire:
            raise BadSetting("--retain is longer than --expire; files would be over and stay")
        downloads = None
        if self.max_downloads is not None:
            downloads = clipped_uint(str(self.max_downloads), MOST_DOWNLOADS)
            if downloads is None or downloads > MOST_DOWNLOADS:
                raise BadSetting(f"--max-downloads must be 0 to {MOST_DOWNLOADS}")
        if self.expire is None and retain is None and most is None and downloads is None:
            return None
        most = max(most or 0, retain or 0)
        has_end = self.expire is not None
        return Lifetimes(expire, has_end, retain or 0, most, downloads)

    @property
    def branding(self) -> Branding:
        """How the page presents itself. The files are read each time."""
        look = self.page_title, self.page_logo, self.page_color, self.page_style
        return Branding.of(*look, self.page_language, self.page_connections)

    @property
    def digests(self) -> DigestChoice:
        """The digests to count."""
        try:
            return DigestChoice.parse(self.digest)
        except BadRequest as error:
            raise BadSetting(error.detail) from None


def _bytes(text: str | int, what: str) -> int:
    """A size as the command line writes it, or a plain number."""
    try:
        return parse_size(str(text), what)
    except BadRequest as error:
        raise BadSetting(error.detail) from None


def _age(text: str | float | None, what: str) -> int | None:
    """Seconds, as the command line writes them, or a plain number."""
    if text is None:
        return None
    try:
        return parse_age(str(round(text) if isinstance(text, float) else text), what)
    except (BadRequest, OverflowError, ValueError) as error:
        raise BadSetting(getattr(error, "detail", f"{what} must be a number")) from None
