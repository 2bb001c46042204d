"""A Flask app with the whole service under /up: what gunicorn.conf.py and uwsgi.ini run. Put your own in its place.

DESTINATION is a folder, or the URL of the API that files go on to; TOKEN what clients must carry.
"""

import os

from flask import Flask

from sluiceway.flask import Sluiceway, mount

app = Flask(__name__)
Sluiceway(app)  # request.files, request.parts and request.stream of your own views are live
mount(app, "/up", to=os.environ.get("DESTINATION", "./uploads"), token=os.environ.get("TOKEN"))
