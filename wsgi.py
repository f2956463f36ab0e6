"""The application for a WSGI server: `gunicorn -c deploy/gunicorn.conf.py wsgi:app`."""

from gateway.app import create_app
from gateway.settings import load, running

app = create_app(running() or load())
