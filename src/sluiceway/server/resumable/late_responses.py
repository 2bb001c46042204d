"""What an upload is answered that was delivered when no client was there: its next request gets it.

In the words of the protocol by which the upload came.
"""

from __future__ import annotations

from starlette.requests import Request

from sluiceway.errors import SluiceError
from sluiceway.server.responses import problem_response, relayed_response
from sluiceway.server.resumable.content import as_final
from sluiceway.server.resumable.tus_responses import DIALECT as TUS
from sluiceway.server.resumable.tus_responses import final_response
from sluiceway.stores.contract import Entry
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.resumable.outcome import Respond

__all__ = ["respond_later"]

# Stands for the request that nobody made. What was sent on is nowhere below this server's paths.
_NOBODY = {"type": "http", "method": "GET", "path": "/", "headers": [], "root_path": ""}


def respond_later(record: UploadRecord) -> Respond:
    """The function that writes the response to the last request of this upload."""

    def respond(outcome: Entry | SluiceError) -> FinalResponse:
        if record.dialect == TUS:
            return final_response(Request(_NOBODY), outcome)
        if isinstance(outcome, SluiceError):
            return as_final(problem_response(outcome), {})
        if (reply := outcome.reply) is None:
            return FinalResponse(201, (("Upload-Id", record.id),))
        ours = {"Upload-Id": record.id}
        return as_final(relayed_response(reply.status, reply.headers, reply.body, ours), {})

    return respond
