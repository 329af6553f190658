"""A pytest plugin that gives all Flask apps our sessions."""

import os

import flask

from pazzo import Manager, Options
from pazzo.flask import PazzoSessionInterface

flask.Flask.session_interface = PazzoSessionInterface(
    Manager(
        os.environ["PAZZO_STORE"],
        Options(secret_keys=("a secret key for Flask's own tests",), insecure_http=True),
    )
)
