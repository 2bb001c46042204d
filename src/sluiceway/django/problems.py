"""The answer to an error of this library, in a Django site.

The same problem+json that our own server writes; nothing else of HTTP.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from sluiceway.errors import SluiceError
from sluiceway.server.operator_log import log_error
from sluiceway.server.responses import problem_response

__all__ = ["Problems"]


class Problems(MiddlewareMixin):
    """Middleware that answers this library's errors as problem+json (RFC 9457).

    Each error has its own status; a destination's refusal is passed on as it came.

    Example:
        MIDDLEWARE = ["sluiceway.django.Problems", ...]
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Django calls it with what a view raised. None for an error that is not ours."""
        if not isinstance(exception, SluiceError):
            return None
        log_error(exception, request.method)
        problem = problem_response(exception)
        response = HttpResponse(bytes(problem.body), status=problem.status_code)
        for name in dict.fromkeys(problem.headers.keys()):
            response[name] = ", ".join(problem.headers.getlist(name))
        return response
