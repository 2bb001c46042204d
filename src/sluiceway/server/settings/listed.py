"""All settings of the server, in one list, with their defaults and their help.

Options, SLUICEWAY_… variables, sluiceway.toml and docs/settings.md are made of it, in its order.
`checked.py` checks the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sluiceway.pipe.hashes import DIGEST_HELP, SHA256
from sluiceway.server.page.branding import DEFAULT_TITLE
from sluiceway.uploads.keys import DEFAULT_TEMPLATE
from sluiceway.wire.forms.decoder import FormLimits

__all__ = ["SettingList", "setting_help"]


def _setting(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class SettingList:
    """The settings of `sluiceway serve`. A field has the name of its option with `_` for `-`."""

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
    tls_cert: str | None = _setting(
        "PEM file with the certificate for https://, and those between it and its authority. It "
        "is read again when it changes; no transfer is dropped.",
        None,
    )
    tls_key: str | None = _setting(
        "PEM file with the certificate's key, where --tls-cert does not have it, too.", None
    )
    token: str | None = _setting(
        "Secret that every request must carry, as a bearer token or as the password of HTTP basic "
        "authentication.",
        None,
    )
    token_file: str | None = _setting(
        "File that holds the token and nothing else; safer than --token, because every user of the "
        "machine can read the options of a program. Or a file of many tokens with names, rights "
        "and limits (docs/access.md), which is read again when it changes.",
        None,
    )
    link_key_file: str | None = _setting(
        "File of keys that sign and check links (docs/links.md): a link lets its holder upload or "
        "read, within limits, without a token. Make one with: sluiceway link new-key.",
        None,
    )
    trust_user_header: str | None = _setting(
        "Header in which a proxy in front names the user whom it has let in, e.g. X-Remote-User. "
        "It counts from --trusted-proxies alone (docs/access.md).",
        None,
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "Address or network of such a proxy: 10.0.0.5 or 10.1.0.0/16. Repeatable.", ()
    )
    user_rights: str = _setting(
        "What such a user may do: some of upload,read,list,delete, or upload-only or read-only.",
        "upload,read,list",
    )
    user_prefix: str = _setting(
        "Folder of such a user, '{user}/' for one of its own: it knows no key outside. Without it "
        "all users know all keys.",
        "",
    )
    jwt_keys: str | None = _setting(
        "Keys that sign the tokens (JWT) of an identity provider: the https:// URL of its key set "
        "or of its openid-configuration, or a file with a key set or public keys (PEM). Who sends "
        "such a token is let in (docs/access.md).",
        None,
    )
    jwt_audience: tuple[str, ...] = _setting(
        "Audience (aud) of tokens that are for this server. Repeatable; --jwt-keys needs one.", ()
    )
    jwt_issuer: tuple[str, ...] = _setting("Issuer (iss) whose tokens count. Repeatable.", ())
    jwt_header: str | None = _setting(
        "Header in which a proxy in front sends the token, besides Authorization: "
        "Cf-Access-Jwt-Assertion, X-Goog-IAP-JWT-Assertion.",
        None,
    )
    jwt_claim: tuple[str, ...] = _setting(
        "WHAT=CLAIM: the claim that holds the name (sub without this option), rights, prefix, "
        "max-size or quota: name=email, rights=realm_access.roles. Without rights and prefix, "
        "--user-rights and --user-prefix say them. Repeatable.",
        (),
    )
    jwt_role: tuple[str, ...] = _setting(
        "WORD=RIGHTS: what a word in the claim with the rights allows: staff=upload,read. Without "
        "it, the words upload, read, list, delete and admin count. Repeatable.",
        (),
    )
    jwt_algorithm: tuple[str, ...] = _setting(
        "Algorithm of signatures that counts, such as ES256. Without it, all with public keys do. "
        "Repeatable.",
        (),
    )
    jwt_leeway: float = _setting(
        "Seconds by which the clock of the tokens' issuer may differ from ours.", 30.0
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
    quota: str | int | None = _setting(
        "Most bytes of all files and uploads together, e.g. 2TiB; or unlimited, which counts them "
        "for the quotas of names and links alone (docs/access.md).",
        None,
    )
    keep_free: str | int | None = _setting(
        "Bytes of the disk with the files of --to that uploads leave free, e.g. 10GiB.", None
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
    digest: str = _setting(f"Digests to count of every file: {DIGEST_HELP}", SHA256)
    interim: str = _setting(
        "Interim responses (104) that tell the client of a resumable upload, while it sends, where "
        "to go on after a cut and how much is kept: auto, where the client names its version of "
        "the protocol and no proxy stands before the server; on, to every client of the protocol; "
        "off. nginx breaks connections that carry them.",
        "auto",
    )
    log_format: str = _setting(
        "How the log is written: text, or json with one object for each line (docs/operating.md).",
        "text",
    )
    metrics_port: str | int | None = _setting(
        "Port on which /metrics answers without a token, besides the server's own port, where it "
        "needs the admin right (docs/operating.md); 0 takes a free port and logs it.",
        None,
    )
    metrics_host: str = _setting("Address to listen on for --metrics-port.", "127.0.0.1")
    workers: int = _setting("Number of server processes; one core moves more than 1 GB/s.", 1)
    shutdown_timeout: float = _setting(
        "Seconds that running uploads may take to finish after SIGTERM.", 30.0
    )
    replace: bool = _setting(
        "Take over the port of the server that runs there, without a break: when this one is "
        "ready, that one takes no more connections and ends with its last upload. Starts as usual "
        "where none runs. Linux only.",
        False,
    )
    replace_timeout: float = _setting(
        "Seconds that running uploads may take to finish once another server has taken over.",
        3600.0,
    )
    state: str | None = _setting(
        "Folder in which uploads that may outlive a request are written down, for places that are "
        "no folder themselves. Without it, they are written down beside the files of --to; uploads "
        "to a bucket or database cannot be resumed without --state or --ledger.",
        None,
    )
    ledger: str | None = _setting(
        "PostgreSQL database (postgresql://USER:PASSWORD@HOST/DATABASE?table=uploads) in which "
        "uploads that may outlive a request are written down: several servers share them.",
        None,
    )
    expire_after: float = _setting(
        "Seconds from the last byte of an unfinished upload to its removal; 0 keeps it for ever.",
        604800.0,
    )
    expire_fixed: bool = _setting(
        "Count --expire-after from the beginning of an upload, and not from its last byte.", False
    )
    forget_after: float = _setting(
        "Seconds for which the end of an upload is remembered: its client can ask whether it "
        "arrived, was cancelled or expired.",
        86400.0,
    )
    expire: str | float | None = _setting(
        "Age at which each finished file is deleted: 90min, 12h, 7d or seconds. A client may ask "
        "for less with the header X-Expires. never: only files whose client asks for an end are "
        "deleted. Without it, files last.",
        None,
    )
    max_downloads: str | int | None = _setting(
        "Downloads after which each finished file is deleted; a client may ask for fewer with the "
        "header X-Max-Downloads. 0: only files whose client asks. Without it, none are counted.",
        None,
    )
    retain: str | float | None = _setting(
        "Age up to which no finished file can be deleted or replaced here: 12h, 30d.", None
    )
    retain_most: str | float | None = _setting(
        "Longest such age that a client may ask for with the header X-Retain.", None
    )
    on_start: str | None = _setting(
        "URL or command that may refuse each file before its first byte (docs/hooks.md).", None
    )
    on_kept: str | None = _setting(
        "URL or command that may refuse each file when it is kept, before readers see it.", None
    )
    on_finish: str | None = _setting(
        "URL or command that learns of each finished file, in the background.", None
    )
    hook_secret: str | None = _setting(
        "Secret that signs requests of hooks: whsec_…; only as a variable or in the file.", None
    )
    hook_secret_file: str | None = _setting("File that holds this secret and nothing else.", None)
    hook_timeout: float = _setting("Seconds that each call of a hook may take.", 10.0)
    hook_failure: str = _setting("Refuse or accept a file whose hook fails.", "refuse")
    event_source: str = _setting(
        "Attribute source of all events, a URI or a path: it tells services apart.", "/files"
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
        "only when that server wants it. One that ignores Expect gets no file.",
        False,
    )
    relay_chunked: bool = _setting(
        "Send the file of a form in chunks. Needed for forms with a field or file after a large "
        "file.",
        False,
    )
    relay_pause: float = _setting(
        "Seconds that the request to that server stays open while a resumable upload waits for its "
        "client, where it takes no pieces (--relay-resume); 0 for never. Needs --state or "
        "--ledger, and one worker.",
        60.0,
    )
    relay_resume: str = _setting(
        "Whether a resumable upload is resumable at that server, too, across restarts: auto (where "
        "that server offers tus or the IETF form, when asked by OPTIONS), tus or ietf (that one "
        "only), or off. Files in forms are not.",
        "auto",
    )
    relay_spool: str | None = _setting(
        "Folder for files that the server of --to does not take now: it is down, breaks off, or "
        "answers 5xx. They wait there and are sent when it is back.",
        None,
    )
    relay_spool_size: str | int = _setting("Most bytes of that folder.", "10GiB")
    relay_spool_wait: float = _setting(
        "Seconds for which a client that has sent its file waits for that server, before the "
        "answer is 202 and the file goes on waiting alone.",
        25.0,
    )
    relay_spool_for: float = _setting(
        "Seconds for which a file is sent again and again. Then it is given up, and left in the "
        "folder for you.",
        86400.0,
    )
    relay_idempotent: bool = _setting(
        "That server takes a file once although it is sent twice, by its Idempotency-Key: then a "
        "POST without an answer is sent again, too.",
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
    page_connections: int = _setting(
        "Connections over which the page sends one large file, 1 to 4; 0: more than one where the "
        "page measures that they are faster.",
        0,
    )


def setting_help() -> Mapping[str, tuple[Any, str]]:
    """Name -> (default, help), in the order of the list."""
    return {item.name: (item.default, item.metadata["help"]) for item in fields(SettingList)}
