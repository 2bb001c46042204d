"""Peer: nginx.

The configurations for DAV PUT, sendfile downloads and passing on; nginx has no fsync switch.
"""

from __future__ import annotations

__all__ = [
    "NGINX_BUFFERED_CONF",
    "NGINX_CONF",
    "NGINX_CROWD_CONF",
    "NGINX_SMALL_CONF",
    "NGINX_UNBUFFERED_CONF",
]

# One worker like every contender; body temp files lie beside the destination, so PUT ends in a
# rename, not a copy.
NGINX_CONF = """\
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log warn; {user}
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path {tmp};
  proxy_temp_path {place}/t1; fastcgi_temp_path {place}/t2;
  uwsgi_temp_path {place}/t3; scgi_temp_path {place}/t4;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {to};
    location /raw/ {{ alias {to}/; dav_methods PUT; }}
    location / {{ }}
  }}
}}
"""

# For thousands of connections. WORKERS is replaced by a number.
NGINX_CROWD_CONF = NGINX_CONF.replace(
    "worker_connections 2048", "worker_connections 24000"
).replace(
    "daemon off; worker_processes 1;",
    "daemon off; worker_processes WORKERS;\nworker_rlimit_nofile 60000;",
)

# A usual configuration in front of an API. BUFFERING is `off` (the body goes on while it arrives)
# or `on` (nginx's default). 1 MiB buffers are the fastest (1.7 GB/s against 0.5 with nginx's own
# 16 KiB) and cost 1 MiB a transfer.
_RELAY_CONF = """\
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log warn; {user}
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path {tmp};
  proxy_temp_path {place}/t1; fastcgi_temp_path {place}/t2;
  uwsgi_temp_path {place}/t3; scgi_temp_path {place}/t4;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://127.0.0.1:{sink}; proxy_http_version 1.1; proxy_request_buffering BUFFERING;
      proxy_read_timeout 600s; proxy_send_timeout 600s;
    }}
  }}
}}
"""
NGINX_UNBUFFERED_CONF = _RELAY_CONF.replace("BUFFERING", "off")
NGINX_BUFFERED_CONF = _RELAY_CONF.replace("BUFFERING", "on")
NGINX_SMALL_CONF = NGINX_UNBUFFERED_CONF.replace("client_body_buffer_size 1m; ", "")
