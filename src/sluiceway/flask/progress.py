"""The progress of an app's own views in Flask: `GET /uploads/{id}`, and the page's element.

The app's `before_request` decides who may use them, and its own routes of the same path keep all
that is not watched. What watchers see is made in `wsgi/watched.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flask
from werkzeug.routing import BaseConverter

from sluiceway.errors import Forbidden
from sluiceway.server.progress.watch import EVENT_HEADERS
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import LONGEST_ID, SHORTEST_ID
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE
from sluiceway.wsgi.watched import WatchedApp, upload_events, upload_snapshot

__all__ = ["PREFIX", "add_progress"]

PREFIX = "/uploads"
ID = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_ID},{LONGEST_ID}}}")


def add_progress(
    app: flask.Flask, prefix: str, may_watch: Callable[[str], bool] | None = None
) -> None:
    """Let requests of the app with `?upload=ID` be watched at `prefix`/ID.

    `prefix`/page/sluice.js is the module of <sluice-drop>, which does that.
    """
    progress = AppProgress.of(f"flask\0{app.import_name}\0{app.root_path}")
    app.wsgi_app = WatchedApp(app.wsgi_app, progress)  # type: ignore[method-assign]

    def sluiceway_progress(upload: str) -> flask.Response:
        if may_watch is not None and not may_watch(upload):
            raise Forbidden("You may not watch this upload")
        if not _wants_events():
            found = flask.jsonify(upload_snapshot(progress, upload))
            found.cache_control.no_store = True
            return found
        threaded = bool(flask.request.environ.get("wsgi.multithread"))
        events = upload_events(progress, upload, threaded)
        return flask.current_app.response_class(events, headers=EVENT_HEADERS)

    def watch_first(*args: Any) -> Any:
        """The app may have a route of this path for files: it keeps all that is not watched."""
        path = flask.request.path
        if path.startswith(f"{prefix}/") and flask.request.method == "GET":
            upload = path[len(prefix) + 1 :]
            known = ID.fullmatch(upload) and (_wants_events() or progress.find(upload))
            if known:
                return sluiceway_progress(upload)
        return dispatch(*args)

    app.url_map.converters.setdefault("sluiceway_upload", _UploadId)
    app.add_url_rule(f"{prefix}/<sluiceway_upload:upload>", view_func=sluiceway_progress)
    app.add_url_rule(f"{prefix}/page/<path:name>", "sluiceway_page", _page_asset)
    # Behind the app's `before_request`, which decides who may watch.
    dispatch, app.dispatch_request = app.dispatch_request, watch_first  # type: ignore[method-assign]


def _wants_events() -> bool:
    return EVENT_STREAM_TYPE in flask.request.headers.get("Accept", "")


def _page_asset(name: str) -> flask.Response:
    from sluiceway.server.page.assets import asset_beside_progress

    asset = asset_beside_progress(name)
    response = flask.current_app.response_class(asset.body, headers=dict(asset.headers))
    response.make_conditional(flask.request)
    return response


class _UploadId(BaseConverter):
    """An id of an upload. Anything else is left to the app, as are paths that its routes match."""

    regex = ID.pattern
    weight = 1000
