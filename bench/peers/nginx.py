"""Peer: nginx. The configuration for DAV PUT and for sendfile downloads; nginx has no fsync switch."""

from __future__ import annotations

__all__ = ["NGINX_CONF"]

# One worker like every contender; body temp files lie beside the destination, so PUT ends in a rename, not a copy.
NGINX_CONF = """\
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log warn; {user}
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path {tmp};
  proxy_temp_path {place}/t1; fastcgi_temp_path {place}/t2; uwsgi_temp_path {place}/t3; scgi_temp_path {place}/t4;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {to};
    location /raw/ {{ alias {to}/; dav_methods PUT; }}
    location / {{ }}
  }}
}}
"""
