"""Where files go and how they are sent there, as the operator configured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.tls import Trust
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.relay.addresses import HiddenAddresses
from sluiceway.stores.relay.url_template import RelayUrl

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """The next server. Its headers may hold a secret: they stay with the host of `url`."""

    url: RelayUrl
    method: str | None = None  # None: the client's own
    body: str = "same"  # same | raw | form
    # of the file in a form; None: as the client named it, else "file"
    form_field: str | None = None
    fields: tuple[tuple[str, str], ...] = ()  # sent in every form, before those of the client
    headers: Mapping[str, str] = field(default_factory=dict)
    # Names in lower case: they are passed on from its responses, besides the usual ones.
    answer_headers: frozenset[str] = frozenset()
    expect: bool = False
    chunked: bool = False  # do not derive a file's length from the length of its form
    deadlines: Deadlines = field(default_factory=Deadlines)
    trust: Trust = field(default_factory=Trust)
    # Seconds that a request stays open between two pieces of an upload; 0: it is never resumed.
    pause: float = 0.0
    # Whether resumable uploads are resumable there, too: off, auto, or only of one dialect.
    resume: str = "off"  # off | auto | tus | ietf
    keyed: bool = False  # each file has an Idempotency-Key, the same in each try
    show: bool = False  # clients may learn its address
    # What a probe of readiness asks; None: HEAD of the URL's host and plain path.
    health: str | None = None

    def hidden(self, answered: str) -> HiddenAddresses | None:
        """What clients must not see in a response; `answered` is the URL that it came from."""
        return None if self.show else HiddenAddresses((self.url.address.url, answered))

    def url_of(
        self,
        request: UploadRequest,
        method: str,
        upload: str,
        fields: Sequence[tuple[str, str]] = (),
    ) -> str:
        """The URL that a file goes to with this method. `upload` is the id of its upload.

        Raises BadForm for a value that is missing or unusable in a URL.
        """
        values = {
            "upload": upload,
            **request.values,
            **dict(fields),
            "key": request.key,
            "filename": request.filename,
        }
        url = self.url.fill(values)
        if request.method == method == "PUT" and not self.url.exact:
            url = self.url.below(request.key)
        return url
