"""Drop a file on a book.

Browser -> Flask -> the backend's API, in one go, and the bar is full when the backend said so.

    BACKEND=http://127.0.0.1:9000/books gunicorn -k gthread --threads 32 -b 127.0.0.1:5000
    bookshelf:app curl -F file=@emma.epub 'http://127.0.0.1:5000/shelf/files?id=42'     # what the
    page does; becomes PUT BACKEND/42/file

Open http://127.0.0.1:5000/ and drop a file on a title. One process with threads: a watched upload
takes two of them.
"""

import os

from flask import Flask, render_template_string

from sluiceway.flask import mount

BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:9000/books")
BOOKS = {42: "Emma", 43: "Persuasion", 44: "Lady Susan"}
PAGE = """<!doctype html>
<html lang="en">
<title>Bookshelf</title>
<script type="module" src="/shelf/page/sluice.js"></script>
<h1>Bookshelf</h1>
{% for number, title in books.items() %}
<sluice-drop id="book-{{ number }}" endpoint="/shelf/files?id={{ number }}"
             label="Add a file to {{ title }}">
  <h2>{{ title }}</h2>
</sluice-drop>
{% endfor %}
</html>
"""

app = Flask(__name__)
# {id} is filled in from the query, as one path segment. Without the last two a form goes on as a
# form, by POST.
mount(app, "/shelf", to=f"{BACKEND}/{{id}}/file", relay_method="PUT", relay_body="raw")


@app.get("/")
def shelf() -> str:
    return render_template_string(PAGE, books=BOOKS)
