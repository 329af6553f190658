"""Sessions for Flask.

::

    app = flask.Flask(__name__)
    Pazzo(app, manager)

    @app.route("/")
    def index():
        return f"visit {flask.session.add('visits', 1)}"

Flask's ``SESSION_COOKIE_*`` settings hold where they are set; where they are Flask's
defaults, the cookie is as safe as everywhere else: Secure (unless ``insecure_http``),
SameSite=Lax, and named ``__Host-session``. ``session.permanent = True`` gives the session
``PERMANENT_SESSION_LIFETIME`` and the cookie that age; the request that makes it so, and
with ``SESSION_REFRESH_EACH_REQUEST`` each later one, sends the cookie again.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from flask.sessions import SessionInterface, SessionMixin
from flask.wrappers import Request

from .errors import PazzoError
from .http import Decision, candidates, clear_site_data, max_age
from .log import logger
from .manager import Manager
from .session import Session
from .state import RequestState
from .wsgi import request_of

_FLASK_NAME = "session"  # of the cookie, unless it is configured


class FlaskSession(Session, SessionMixin):
    """The session of a Flask request: a pazzo.Session with what Flask expects."""

    def __init__(self, state: RequestState, lifetime: float) -> None:
        super().__init__(state)
        self._lifetime = lifetime

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether this request has made the session."""
        return self.is_new

    @property
    def modified(self) -> bool:
        """Whether this request has written. Changes in place are found without it."""
        return self.fields.has_written

    @modified.setter
    def modified(self, value: bool) -> None:
        self.fields.has_written = bool(value)

    @property
    def accessed(self) -> bool:
        """Whether the response depends on the session."""
        return self.state.out.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self.state.out.accessed = bool(value)

    @property
    def permanent(self) -> bool:
        """Whether the session was given PERMANENT_SESSION_LIFETIME."""
        if self.state.meta is None and not self.is_new:
            self.info()
        meta = self.state.meta
        return meta is not None and meta.own_timeouts and not meta.browser_close

    @permanent.setter
    def permanent(self, value: bool) -> None:
        if value:
            usual = self.manager.options.timeouts.absolute
            self.set_expiry(self._lifetime, max(self._lifetime, usual))
        elif self.permanent:
            self.set_expiry(until_browser_close=True)


class PazzoSessionInterface(SessionInterface):
    """Opens and closes the sessions of a Flask app."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    def get_cookie_name(self, app: Flask) -> str:
        """Returns SESSION_COOKIE_NAME, or our name in place of Flask's default."""
        name = super().get_cookie_name(app)
        return self.manager.options.cookie.name if name == _FLASK_NAME else name

    def get_cookie_secure(self, app: Flask) -> bool:
        """Returns SESSION_COOKIE_SECURE, which only ``insecure_http`` can leave off."""
        return super().get_cookie_secure(app) or not self.manager.options.insecure_http

    def get_cookie_samesite(self, app: Flask) -> str | None:
        """Returns SESSION_COOKIE_SAMESITE, or Lax."""
        return super().get_cookie_samesite(app) or self.manager.options.cookie.same_site

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """Is called by Flask. The store is not asked before the first use."""
        asked = request_of(request.environ)
        tokens = candidates(asked, self.get_cookie_name(app), self.manager.keys)
        lifetime = app.permanent_session_lifetime.total_seconds()
        return FlaskSession(RequestState(self.manager, asked, tokens), lifetime)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Is called by Flask before each response."""
        if not isinstance(session, FlaskSession):
            raise TypeError("the session is not of this interface")
        try:
            session.save()
            self._end_if_emptied(session)
            self._refresh(app, session)
        except PazzoError as error:  # the view is over, and with it the app's error handlers
            response.status_code = _answer(error).status_code
            response.set_data(b"")
        self._set_cookie(app, session, session.finish(), response)

    @staticmethod
    def _end_if_emptied(session: FlaskSession) -> None:
        """Ends a session that this request has emptied, as Flask's own goes then."""
        if session.state.live and session.fields.has_removed:
            session.destroy_if_empty()

    def _refresh(self, app: Flask, session: FlaskSession) -> None:
        """Has the cookie of a permanent session set again, so that its age begins anew."""
        used = session.accessed and session.state.live
        if used and session.permanent and self.should_set_cookie(app, session):
            session.state.offer_again()

    def _set_cookie(
        self, app: Flask, session: FlaskSession, decision: Decision, response: Response
    ) -> None:
        if session.accessed:
            _vary(response)
        if decision.offer is None and not decision.forget:
            return
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }
        name = self.get_cookie_name(app)
        if decision.offer is None:
            response.delete_cookie(name, **attributes)
        else:
            if session.permanent:
                attributes["expires"] = self.get_expiration_time(app, session)
            elif session.manager.options.cookie.persistent and not decision.offer.browser_close:
                attributes["max_age"] = max_age(decision.offer)
            response.set_cookie(name, self.manager.keys.seal(decision.offer.token), **attributes)
        response.headers["Cache-Control"] = "no-store"
        for header, value in clear_site_data(self.manager.options, decision):
            response.headers[header] = value

    def regenerate(self, session: FlaskSession) -> None:
        """Renews the session, by the name that Flask-Session gives it."""
        session.renew()


class Pazzo:
    """Gives a Flask app its sessions.

    An error of the package that a view lets through becomes a response with its status
    and an empty body; an error handler of the app's for the same class goes before.
    """

    def __init__(self, app: Flask | None = None, manager: Manager | None = None) -> None:
        if app is not None and manager is not None:
            self.init_app(app, manager)

    def init_app(self, app: Flask, manager: Manager) -> None:
        """Sets the app's session interface."""
        app.session_interface = PazzoSessionInterface(manager)
        app.register_error_handler(PazzoError, _answer)


def _vary(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Cookie")
    else:  # as that would, but for the parsing
        response.headers["Vary"] = "Cookie"


def _answer(error: PazzoError) -> Response:
    if error.status_code >= 500:
        logger.error("the request failed: %s", error)
    return Response(status=error.status_code)
