"""What an upload is asked to do: the source, its request, and how it may go on after a cut.

Values, and their checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluiceway.client.file_request import FileRequest
from sluiceway.client.retry import DEFAULT_POLICY, RetryPolicy
from sluiceway.errors import DigestMismatch
from sluiceway.pipe.hashes import SHA256
from sluiceway.pipe.source import Source
from sluiceway.wire.headers.digests import Promise

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.local.bookmarks import SourceIdentity
    from sluiceway.client.resumable.offers import Offers

__all__ = ["EXPECT_FROM", "LEAST_RESUMED", "RESUMABLE_FROM", "Resuming", "UploadJob"]

# Bytes from which a body asks first (Expect). A refusal of fewer costs less than the extra round
# trip; curl has had this limit since 7.84.
EXPECT_FROM = 1 << 20
# Bytes from which an upload is resumable from its beginning, where the server offers that. It costs
# two round trips and a wait for the server's disk. A smaller file becomes resumable when its first
# request broke off.
RESUMABLE_FROM = 2 << 20
# Bytes of a file that becomes resumable when its first request broke off. Fewer arrive by luck.
LEAST_RESUMED = 64 << 10


@dataclass(frozen=True, slots=True)
class Resuming:
    """How an upload may go on after a cut.

    Args:
        offers: What the server takes; shared by the uploads of one copy.
        place: The URL that was given for the copy: an endpoint of tus takes creations there.
        request: What is created: without the framing of a form.
        filename: For tus, whose uploads have no other name.
        retry_policy: Of the steps of one upload; it starts again with each new byte.
        identity: Names the source's bytes across processes; None where nothing does.
        on_note: Gets in words that an upload goes on, or begins anew.
        parallel: Parts that are sent at once, where the server joins them.
        reasons: Why files are sent in one piece although parts were asked for: each is said once a
            copy, whose uploads share this set.
        broke: One request with these bytes was tried before, and broke off.
    """

    offers: Offers
    place: str
    request: FileRequest
    filename: str
    retry_policy: RetryPolicy = DEFAULT_POLICY
    identity: SourceIdentity | None = None
    on_note: Callable[[str], None] | None = None
    parallel: int = 1
    reasons: set[str] = field(default_factory=set)
    broke: bool = False


@dataclass(frozen=True, slots=True)
class UploadJob:
    """One file to send: `source` in the request `file_request`. `name` is for progress and errors.

    `promises` are digests that the source must have; `algorithms` are counted besides. `resuming`
    is None for an upload that stays one request.
    """

    source: Source
    file_request: FileRequest
    name: str
    headers: Mapping[str, str]
    promises: Sequence[Promise] = ()
    retry_policy: RetryPolicy = DEFAULT_POLICY
    algorithms: Sequence[str] = (SHA256,)
    resuming: Resuming | None = None

    @property
    def counted(self) -> tuple[str, ...]:
        """The algorithms of `promises` and `algorithms`, each once."""
        promised = (promise.algorithm for promise in self.promises)
        return tuple(dict.fromkeys((*self.algorithms, *promised)))

    def check_promises(self, found: Mapping[str, bytes]) -> None:
        """Raises DigestMismatch where the digests of the source are not the promised ones."""
        for promise in self.promises:
            if found[promise.algorithm] != promise.value:
                raise DigestMismatch(
                    f"The {promise.algorithm} of {self.name} is not the one that was announced"
                )
