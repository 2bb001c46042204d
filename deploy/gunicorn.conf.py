"""gunicorn -c deploy/gunicorn.conf.py: one process, a thread for each request.

docs/deploy.md explains why.
"""

import os

wsgi_app = "flask_app:app"
chdir = os.path.dirname(os.path.abspath(__file__))
bind = "127.0.0.1:8000"

worker_class = "gthread"  # never sync: it kills an upload that takes longer than `timeout`
workers = 1  # progress is known to the process that receives the upload, and to no other
threads = 64  # one for each upload, one more while it is watched
worker_connections = 1000  # idle ones hold no thread

timeout = 60  # seconds a whole worker may hang; says nothing about uploads
graceful_timeout = 300  # seconds that uploads under way have to end after SIGTERM
keepalive = 30  # a browser's queue of files uses its connections again
control_socket_disable = True  # else a file in the home folder, which a service has not
