"""FastAPI's routes whose views take a LiveUpload: their form is read as far as the view needs it.

Before FastAPI asks for the form, it is there: fields as text, files as LiveUpload, the last one
still to be read. All else stays FastAPI's: validation, dependencies, OpenAPI. Imports FastAPI only
if an app uses it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadOrder
from sluiceway.starlette.app_lines import note_spooled
from sluiceway.starlette.form_plan import FormPlan
from sluiceway.starlette.live_upload import LiveUpload
from sluiceway.starlette.parts import Parts, parts
from sluiceway.wire.headers.media_types import essence

__all__ = ["make_routes_live"]

log: logging.Logger = logging.getLogger("sluiceway")

Handler = Callable[[Request], Awaitable[Response]]


def make_routes_live(routes: Iterable[Any]) -> None:
    """Make live what can be, in these routes and the routers that they include.

    Raises:
        BadOrder: A view takes Parts beside Form(), File() or UploadFile.
    """
    if "fastapi.routing" not in sys.modules:
        return
    dependants: dict[int, list[Any]] = {}
    found = {}
    for route in _api_routes(routes):
        found[id(route)] = route
        dependants.setdefault(id(route), []).append(route.dependant)
    _add_those_of_included_routers(routes, dependants)
    for key, route in found.items():
        _check_parts(route, dependants[key])
        plan = FormPlan.of(dependants[key])
        if plan is not None:
            _make_live(route, plan)
    # FastAPI keeps what it has built of an included router until its routes change
    for router in _included_routers(routes):
        router._mark_routes_changed()


class _LiveFormRequest(Request):
    """A request whose form has been read as far as its view needs it."""

    def __init__(self, request: Request, form: FormData) -> None:
        super().__init__(request.scope, request.receive)
        self._live_form = form

    def form(self, **_: Any) -> Any:  # Starlette's has a private type
        return _ReadForm(self._live_form)


class _ReadForm:
    """`await request.form()`, and `async with request.form() as form`."""

    def __init__(self, form: FormData) -> None:
        self._form = form

    def __await__(self) -> Generator[Any, None, FormData]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> FormData:
        return self._form

    async def __aexit__(self, *_: object) -> None:
        await self._form.close()


def _make_live(route: Any, plan: FormPlan) -> None:
    from fastapi.routing import APIRoute, request_response

    if type(route).get_route_handler is not APIRoute.get_route_handler:
        # a route class of the app's own hands on a request of its own, which would not be live
        log.debug("%s is not live: its route is a %s", route.path, type(route).__name__)
        return
    make_handler = route.get_route_handler

    def make_live_handler() -> Handler:
        return _live_handler(make_handler(), plan)

    route.get_route_handler = make_live_handler
    route.app = request_response(route.get_route_handler())


def _live_handler(handler: Handler, plan: FormPlan) -> Handler:
    async def live(request: Request) -> Response:
        if isinstance(request, _LiveFormRequest):
            return await handler(request)  # `add` of the app and of the one around it
        if essence(request.headers.get("content-type", "")) != "multipart/form-data":
            return await handler(request)  # which says in FastAPI's words what is missing
        form = await parts(request).collect(plan)
        response = await handler(_LiveFormRequest(request, form))
        if response.background is not None:
            await _spool_for_background(request, form)
        return response

    return live


async def _spool_for_background(request: Request, form: FormData) -> None:
    """When the response has been sent, no server reads the request further."""
    for name, file in form.multi_items():
        if isinstance(file, LiveUpload) and file.live:
            why = "the view's background tasks, which may read it"
            note_spooled(request, file.filename, name, why, view_runs=False)
            await file.spool()


def _check_parts(route: Any, dependants: Iterable[Any]) -> None:
    """Raises BadOrder where FastAPI would read the form before the view's Parts could."""
    for dependant in dependants:
        calls = list(_calls(dependant))
        if any(isinstance(call, type) and issubclass(call, Parts) for call in calls):
            names = [one.name for one in _body(dependant)]
            if names:
                code = route.endpoint.__code__
                raise BadOrder(
                    f"{code.co_filename}:{code.co_firstlineno}: {route.endpoint.__name__} takes "
                    f"Parts, and beside it {', '.join(names)} from the body: FastAPI reads the "
                    "whole form for those, and leaves nothing to Parts. Take the fields from Parts "
                    "(`await form.field(name)`), or take `file: LiveUpload` instead of Parts"
                )


def _calls(dependant: Any) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def _body(dependant: Any) -> Iterator[Any]:
    yield from dependant.body_params
    for inner in dependant.dependencies:
        yield from _body(inner)


def _api_routes(routes: Iterable[Any]) -> Iterator[Any]:
    from fastapi.routing import APIRoute

    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _api_routes(router.routes)


def _included_routers(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield router
            yield from _included_routers(router.routes)


def _add_those_of_included_routers(routes: Iterable[Any], dependants: dict[int, list[Any]]) -> None:
    """A router may be included with dependencies of its own, also several times."""
    from fastapi import routing

    if hasattr(routing, "iter_route_contexts"):  # older versions copy the routes
        for context in routing.iter_route_contexts(list(routes)):
            known = dependants.get(id(context.original_route))
            if known is not None and (dependant := getattr(context, "dependant", None)):
                known.append(dependant)
