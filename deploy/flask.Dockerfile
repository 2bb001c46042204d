# docker build -t app -f deploy/flask.Dockerfile --target gunicorn .      (or --target uwsgi)
# A Flask app with Sluiceway(app), not as root: put your own app in the place of flask_app.py.
# docs/deploy.md explains each line.
FROM docker.io/library/python:3.13-slim-bookworm AS build
COPY . /src
RUN python3 -m venv /opt/app \
    && /opt/app/bin/pip install --no-cache-dir --constraint /src/constraints.txt \
        "/src[flask]" gunicorn pyuwsgi

FROM docker.io/library/python:3.13-slim-bookworm AS app
COPY --from=build /opt/app /opt/app
COPY deploy/flask_app.py deploy/gunicorn.conf.py deploy/uwsgi.ini /app/
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner=app --group=app /data \
    && sed -i 's/^http-socket = .*/http-socket = $(LISTEN)/' /app/uwsgi.ini
ENV PATH=/opt/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LISTEN=0.0.0.0:8000 \
    DESTINATION=/data
USER 10001:10001
WORKDIR /app
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"LISTEN\"].rpartition(\":\")[2]}/up/healthz', timeout=4)"]

FROM app AS uwsgi
ENTRYPOINT ["pyuwsgi", "--ini", "/app/uwsgi.ini"]

FROM app AS gunicorn
# Its workers touch a file each second: in memory, because the root may be read-only.
ENTRYPOINT ["sh", "-c", "exec gunicorn -c /app/gunicorn.conf.py -b \"$LISTEN\" --worker-tmp-dir /dev/shm \"$@\"", "gunicorn"]
