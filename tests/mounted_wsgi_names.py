"""A Flask app and a Django site that mount the service with a token file, behind one WSGI server.

/flask/drop/files, /django/drop/files
"""

from __future__ import annotations

import os

import django
import flask
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

import sluiceway.django
import sluiceway.flask

TOKENS, FOLDER = os.environ["TOKENS"], os.environ["FOLDER"]

flask_app = flask.Flask(__name__)
sluiceway.flask.mount(flask_app, "/drop", f"{FOLDER}/flask", token_file=TOKENS)

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of tests alone")
django.setup()
urlpatterns = [sluiceway.django.mount("drop/", f"{FOLDER}/django", token_file=TOKENS)]

app = DispatcherMiddleware(
    Response("nothing here", status=404),
    {"/flask": flask_app.wsgi_app, "/django": get_wsgi_application()},
)
