"""gunicorn -c deploy/gunicorn.conf.py: one process, a thread for each request.

docs/deploy.md explains why.
"""

import os

wsgi_app = "flask_app:app"
chdir = os.path.dirname(os.path.abspath(__file__))
bind = "127.0.0.1:8000"

worker_class = "gthread"  # never sync: it kills an upload that takes longer than `timeout`
workers = 1  # only the process that receives an upload knows its progress
threads = 64  # an upload takes one, and one more while a client watches its progress
worker_connections = 1000  # an idle connection takes no thread

timeout = 60  # seconds a whole worker may hang; uploads may take longer
graceful_timeout = 300  # seconds that uploads under way have to end after SIGTERM
keepalive = 30  # seconds: a browser sends its next file over the same connection
control_socket_disable = True  # its file is in the home folder, and a service has none
