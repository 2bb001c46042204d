"""Errors as application/problem+json (RFC 9457). Any SluiceError can be told; nothing else is."""

from __future__ import annotations

from sluiceway.errors import SluiceError

__all__ = ["PROBLEM_TYPE", "problem"]

PROBLEM_TYPE = "application/problem+json"

# draft-ietf-httpapi-digest-fields-problem-types: the member an error carries tells which registered type it is
_IANA = "https://iana.org/assignments/http-problem-types"
_TYPE_OF_MEMBER = {
    "unsupported_algorithms": f"{_IANA}#digest-unsupported-algorithms",
    "invalid_digests": f"{_IANA}#digest-invalid-values",
    "mismatched_digests": f"{_IANA}#digest-mismatched-values",
}


def problem(error: SluiceError, instance: str | None = None) -> dict[str, object]:
    """The JSON object: type, title, status, detail, code, the error's members, and `instance` when given.

    `code` is what programs should compare; a member never replaces one of the six. What is for the operator alone is not in it.
    """
    told: dict[str, object] = {
        "type": next(
            (_TYPE_OF_MEMBER[name] for name in error.members if name in _TYPE_OF_MEMBER),
            "about:blank",
        ),
        "title": error.title,
        "status": error.status,
        "detail": error.detail if error.public is None else error.public,
        "code": error.code,
    }
    if instance is not None:
        told["instance"] = instance
    return {**error.members, **told}
