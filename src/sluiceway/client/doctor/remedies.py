"""The faults that the doctor knows, and for each hop the setting and the line to write.

One table, for the verdicts and for docs/doctor.md; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sluiceway.client.doctor.diagnosis import Diagnosis, Severity
from sluiceway.client.doctor.hops import Hop

__all__ = ["FAULTS", "UNKNOWN_LINE", "Fault", "diagnose"]

Line = tuple[str, str]  # the directive, and what to write

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
UNKNOWN_LINE: Line = ("(no setting is known)", "look for such a setting in its documentation")
STREAMING_SERVER: Line = ("the server itself", "run the app with gunicorn -k gthread instead")
HOST_LINES: dict[Hop, Line] = {
    Hop.NGINX: ("proxy_set_header Host", "proxy_set_header Host $http_host;"),
    Hop.APACHE: ("ProxyPreserveHost", "ProxyPreserveHost On"),
    Hop.HAPROXY: ("http-request set-header Host", "remove `http-request set-header Host …`"),
    Hop.CADDY: ("header_up Host", "remove `header_up Host …` from reverse_proxy"),
    Hop.TRAEFIK: ("passHostHeader", "passHostHeader: true"),
}
CLEAR_LINE = "let the server use TLS, or put a proxy with TLS in front of it"


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of finding: what it means for uploads, and where it is repaired."""

    severity: Severity
    meaning: str
    lines: dict[Hop, Line] = field(default_factory=dict)
    otherwise: Line = UNKNOWN_LINE


FAULTS: dict[str, Fault] = {
    "request-buffered": Fault(
        ERROR,
        "A hop stores each body before it passes it on: no progress, no resuming after a cut, no "
        "early refusal, and a second copy on a disk.",
        {
            Hop.NGINX: ("proxy_request_buffering", "proxy_request_buffering off;"),
            Hop.APACHE: ("SetEnv proxy-sendcl", "remove `SetEnv proxy-sendcl`"),
            Hop.HAPROXY: ("option http-buffer-request", "no option http-buffer-request"),
            Hop.CADDY: ("request_buffers", "remove `request_buffers` (2.6: `buffer_requests`)"),
            Hop.TRAEFIK: ("the middleware `buffering`", "remove the middleware `buffering`"),
            Hop.UWSGI: ("post-buffering", "remove `post-buffering`"),
            Hop.WAITRESS: STREAMING_SERVER,
        },
    ),
    "chunked-buffered": Fault(
        WARNING,
        "Bodies of unknown length (`curl -T -`) are stored before they are passed on; others are "
        "not.",
        {
            Hop.NGINX: ("proxy_http_version", "proxy_http_version 1.1;"),
            Hop.APACHE: ("SetEnv proxy-sendcl", "remove `SetEnv proxy-sendcl`"),
        },
    ),
    "chunked-refused": Fault(
        WARNING,
        "Bodies of unknown length (`curl -T -`) are refused.",
        {
            Hop.UWSGI: STREAMING_SERVER,
            Hop.GRANIAN: ("--interface", "granian --interface asgi"),
            Hop.WAITRESS: STREAMING_SERVER,
        },
    ),
    "chunked-emptied": Fault(
        ERROR,
        "Bodies of unknown length arrive empty, or not whole.",
        {Hop.UWSGI: STREAMING_SERVER},
    ),
    "body-cap": Fault(
        ERROR,
        "A hop refuses large bodies (413) in its own words, before the server can explain.",
        {
            Hop.NGINX: ("client_max_body_size", "client_max_body_size 0;"),
            Hop.APACHE: ("SecRequestBodyLimit", "SecRequestBodyAccess Off"),
            Hop.HAPROXY: ("http-request deny", "remove the rule on the size of bodies"),
            Hop.CADDY: ("request_body max_size", "remove `request_body { max_size … }`"),
            Hop.TRAEFIK: ("maxRequestBodyBytes", "remove the middleware `buffering`"),
            Hop.UWSGI: ("limit-post", "remove `limit-post`"),
            Hop.WAITRESS: ("max_request_body_size", "--max-request-body-size=1099511627776"),
        },
    ),
    "idle-timeout": Fault(
        ERROR,
        "A client that pauses is cut off: phones and slow disks pause. The service itself waits "
        "60 seconds.",
        {
            Hop.NGINX: ("client_body_timeout", "client_body_timeout 60s;"),
            Hop.APACHE: ("Timeout", "Timeout 60"),
            Hop.HAPROXY: ("timeout server", "timeout server 660s"),
            Hop.CADDY: ("servers > timeouts > read_body", "remove `read_body`"),
            Hop.TRAEFIK: ("respondingTimeouts.readTimeout", "readTimeout: 0"),
            Hop.UWSGI: ("socket-timeout", "socket-timeout = 60"),
            Hop.CHEROOT: ("--timeout", "--timeout 60"),
            Hop.WAITRESS: ("channel_timeout", "--channel-timeout=120"),
        },
    ),
    "total-timeout": Fault(
        ERROR,
        "An upload that takes long is cut off although its bytes keep coming.",
        {
            Hop.NGINX: ("send_timeout, proxy_send_timeout", "proxy_send_timeout 120s;"),
            Hop.APACHE: ("RequestReadTimeout", "RequestReadTimeout body=60,MinRate=1"),
            Hop.HAPROXY: ("timeout http-request", "no option http-buffer-request"),
            Hop.CADDY: ("servers > timeouts > read_body", "remove `read_body`"),
            Hop.TRAEFIK: ("respondingTimeouts.readTimeout", "readTimeout: 0"),
            Hop.GUNICORN: ("worker_class", 'worker_class = "gthread"'),
            Hop.UWSGI: ("harakiri", "remove `harakiri`"),
        },
    ),
    "response-timeout": Fault(
        ERROR,
        "A hop does not wait for a server that is still storing: the client sees an error for an "
        "upload that succeeds.",
        {
            Hop.NGINX: ("proxy_read_timeout", "proxy_read_timeout 660s;"),
            Hop.APACHE: ("ProxyTimeout", "ProxyTimeout 660"),
            Hop.HAPROXY: ("timeout server", "timeout server 660s"),
            Hop.CADDY: ("transport http > response_header_timeout", "response_header_timeout 660s"),
            Hop.TRAEFIK: (
                "forwardingTimeouts.responseHeaderTimeout",
                "responseHeaderTimeout: 660s",
            ),
            Hop.GUNICORN: ("worker_class", 'worker_class = "gthread"'),
            Hop.UWSGI: ("harakiri", "remove `harakiri`"),
        },
    ),
    "expect-unanswered": Fault(
        WARNING,
        "`Expect: 100-continue` gets no response: curl waits a second before each large upload.",
        {Hop.APACHE: ("ProxyPass … ping", "remove `ping=` from ProxyPass")},
        ("its treatment of Expect", "put a proxy in front that says 100, such as nginx"),
    ),
    "expect-refused": Fault(
        WARNING,
        "`Expect: 100-continue` is refused: curl begins each large upload twice.",
        {},
        ("its treatment of Expect", "let it pass `Expect` on, or drop the header"),
    ),
    "expect-swallowed": Fault(
        NOTE,
        "A hop says 100 by itself: a client begins to send before the server has decided. The "
        "refusal still reaches it.",
        {},
        ("its treatment of Expect", "nothing to do"),
    ),
    "interim-breaks": Fault(
        ERROR,
        "A hop takes 104 (the address of a resumable upload) for the final response, and the "
        "server does not know that a proxy stands in front: uploads of such clients fail.",
        {
            Hop.NGINX: (
                "proxy_set_header X-Forwarded-For",
                "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            )
        },
        ("--interim", "sluiceway serve --interim off"),
    ),
    "events-buffered": Fault(
        WARNING,
        "Event streams come late and all at once: the bars of the page stand still.",
        {
            Hop.NGINX: (
                "proxy_buffering, proxy_ignore_headers, gzip_types",
                "proxy_buffering off; and no text/event-stream in gzip_types",
            ),
            Hop.APACHE: ("ProxyPass … flushpackets", "ProxyPass / http://… flushpackets=on"),
            Hop.CADDY: ("flush_interval", "flush_interval -1"),
            Hop.TRAEFIK: ("responseForwarding.flushInterval", "flushInterval: -1"),
        },
    ),
    "http2-window": Fault(
        WARNING,
        "Over HTTP/2 a client may send only a little ahead: uploads from far away are many times "
        "slower than over HTTP/1.1.",
        {
            Hop.NGINX: ("http2_body_preread_size", "http2_body_preread_size 1m;"),
            Hop.APACHE: ("H2WindowSize", "H2WindowSize 1048576"),
            Hop.HAPROXY: ("tune.h2.initial-window-size", "tune.h2.initial-window-size 1048576"),
            Hop.GRANIAN: ("--http2-initial-stream-window-size", "granian --http 1"),
        },
    ),
    "cors-missing": Fault(
        ERROR,
        "A page of that origin may not upload: the headers for it are missing from the response.",
        {
            Hop.NGINX: (
                "if ($request_method = OPTIONS), proxy_hide_header",
                "remove them: the server itself responds to OPTIONS",
            ),
            Hop.APACHE: ("RewriteRule, Header unset", "let OPTIONS reach the server"),
            Hop.HAPROXY: ("http-request return", "let OPTIONS reach the server"),
            Hop.CADDY: ("respond @options", "let OPTIONS reach the server"),
            Hop.SLUICEWAY: ("--allow-origin", "sluiceway serve --allow-origin ORIGIN"),
        },
        ("allow_origin", "allow_origin=[…], where the service is mounted"),
    ),
    "host-rewritten": Fault(
        ERROR,
        "The server sees another Host than the client sent: it refuses pages as foreign, and links "
        "that it makes lead elsewhere.",
        HOST_LINES,
    ),
    "offset-lost": Fault(
        WARNING,
        "An upload that was cut has kept nothing of what was sent: it begins anew each time.",
        {
            Hop.NGINX: ("proxy_request_buffering", "proxy_request_buffering off;"),
            Hop.WAITRESS: STREAMING_SERVER,
        },
    ),
    "clock-skew": Fault(
        WARNING,
        "The clocks differ: links and tokens end too early or too late.",
        {},
        ("the clock of the machine", "timedatectl set-ntp true"),
    ),
    "tls-untrusted": Fault(
        ERROR,
        "The certificate is not trusted: clients refuse to connect. Nothing else was sent.",
        {Hop.NGINX: ("ssl_certificate", "ssl_certificate /etc/ssl/HOST.fullchain.pem;")},
        ("the certificate", "a certificate for this host, with its chain, that has not expired"),
    ),
    "tls-expires": Fault(
        WARNING,
        "The certificate ends soon.",
        {},
        ("the certificate", "renew it, and let a timer renew it from then on"),
    ),
    "tls-old": Fault(
        WARNING,
        "Versions of TLS before 1.2 are still accepted.",
        {
            Hop.NGINX: ("ssl_protocols", "ssl_protocols TLSv1.2 TLSv1.3;"),
            Hop.APACHE: ("SSLProtocol", "SSLProtocol -all +TLSv1.2 +TLSv1.3"),
            Hop.HAPROXY: ("ssl-min-ver", "ssl-default-bind-options ssl-min-ver TLSv1.2"),
        },
    ),
    "tls-absent": Fault(
        ERROR,
        "The token goes through the network in the clear.",
        {Hop.NGINX: ("listen 443 ssl", "listen 443 ssl; ssl_certificate …;")},
        ("TLS", CLEAR_LINE),
    ),
    "interim-lost": Fault(
        NOTE,
        "104 does not reach clients here, and the server does not send it to this hop: uploads are "
        "resumed by asking for the offset.",
        {},
        ("--interim", "nothing to do"),
    ),
}


def diagnose(code: str, seen: str, hop: Hop | None) -> Diagnosis:
    """The finding of a fault at a hop."""
    fault, where = FAULTS[code], hop or Hop.UNKNOWN
    directive, fix = fault.lines.get(where, fault.otherwise)
    return Diagnosis(code, fault.severity, seen, where, directive, fix)
