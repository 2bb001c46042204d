"""What a client learns of a request that was cut or stopped: what is kept, and what can go on.

The errors are raised where nobody knows that, and say that nothing was stored. Knows no dialect.
"""

from __future__ import annotations

from starlette.types import Scope

from sluiceway.errors import BodyCut, SluiceError, Unavailable
from sluiceway.uploads.session import STOPPED

__all__ = ["FORM", "KEPT", "note_kept", "with_kept"]

# In the scope of a request: bytes of its upload that are kept, and from which its client can go on.
KEPT = "sluiceway.kept"
# In the scope of a form, where the same file by another way could go on.
FORM = "sluiceway.form"

_OTHER_WAYS = (
    "a form cannot go on after a cut. Send it again, or each file as it is: a PUT to /files/NAME, "
    "tus and resumable uploads can go on"
)


def note_kept(scope: Scope, offset: int) -> None:
    """The first word counts: 0 for a client that does not know where it could go on."""
    scope.setdefault(KEPT, offset)


def with_kept(scope: Scope, error: SluiceError) -> SluiceError:
    """The error as the client gets it."""
    is_stop = error.detail == STOPPED
    if not (is_stop or isinstance(error, BodyCut)):
        return error
    what = "The server is stopping" if is_stop else "The connection ended before the body did"
    if kept := scope.get(KEPT, 0):
        text = f"{what}; {kept} bytes of the upload are kept. Go on from there"
    elif scope.get(FORM):
        text = f"{what}; nothing was stored, and {_OTHER_WAYS}"
    else:
        return error
    return Unavailable(text) if is_stop else BodyCut(text, **error.members)
