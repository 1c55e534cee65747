"""The dashboard's door: knows the visitor, turns away forms that are not ours, and says no in plain words."""

import logging
import math
from typing import Any, Self, cast

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from appliance.assets import STATIC_PATH
from appliance.dashboard.forms import FORM_TYPE, Form
from appliance.dashboard.pages import Page, Pages, go_to, login_path, to_login
from appliance.dashboard.uploads import UPLOAD
from appliance.dashboard.visitor import (
    DashboardSettings,
    LoginNeeded,
    Member,
    Visitor,
    origin_is_ours,
    recognise,
    stranger,
)
from appliance.form_stream import FORM_TYPE as UPLOAD_TYPE
from appliance.gateway.gateway import Gateway
from appliance.model import errors
from appliance.model.errors import GatewayError, NotFound

log = logging.getLogger(__name__)

_VISITOR = "dashboard_visitor"
_STATUS: tuple[tuple[type[GatewayError], int], ...] = (
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Invalid, 422),
    (errors.RateLimited, 429),
    (errors.EngineFailure, 502),
    (errors.StorageFull, 507),
)
_TITLES = {400: "refused", 403: "refused", 404: "missing", 405: "missing", 413: "too_large", 415: "refused"}


class Door:
    """What stands before every handler of the dashboard."""

    def __init__(self, gateway: Gateway, pages: Pages, settings: DashboardSettings) -> None:
        self._gateway = gateway
        self._pages = pages
        self._settings = settings

    def __deepcopy__(self, memo: object) -> Self:
        # Litestar copies its handlers deeply, and their hooks with them; there is one door.
        return self

    def refusals(self) -> ExceptionHandlersMap:
        """What is answered instead of a page when one cannot be shown."""
        handlers: dict[type[Exception], Any] = {
            LoginNeeded: self._send_to_login,
            GatewayError: self._refuse,
            HTTPException: self._refuse_request,
            Exception: self._crash,
        }
        return cast("ExceptionHandlersMap", handlers)

    async def visitor(self, request: Request[Any, Any, Any]) -> Visitor:
        """Who is asking; looked up once a request."""
        state = request.scope.setdefault("state", {})
        if _VISITOR not in state:
            state[_VISITOR] = await recognise(request, self._gateway.accounts, self._settings)
        visitor: Visitor = state[_VISITOR]
        return visitor

    async def member(self, request: Request[Any, Any, Any]) -> Member:
        """The visitor, signed in. Raises LoginNeeded."""
        visitor = await self.visitor(request)
        if visitor.account is None or visitor.session is None:
            raise LoginNeeded
        return Member(visitor, visitor.session, visitor.account)

    async def admin(self, request: Request[Any, Any, Any]) -> Member:
        """The member, who looks after the gateway. Raises LoginNeeded, and NotFound for anybody else."""
        member = await self.member(request)
        if member.account.role != "admin":
            raise NotFound("There is no such page.")
        return member

    async def form(self, request: Request[Any, Any, Any]) -> Form:
        """The fields of a form that has passed `check`."""
        return Form(await request.form())

    async def check(self, request: Request[Any, Any, Any]) -> Page | None:
        """The refusal of a POST that did not come from one of our own pages, whatever its handler."""
        if request.url.path.startswith(STATIC_PATH):
            return None
        # Looked up before anything can go wrong: what answers errors cannot wait for it.
        visitor = await self.visitor(request)
        if request.method in {"GET", "HEAD", "OPTIONS"}:
            return None
        is_upload = bool(request.route_handler.opt.get(UPLOAD))
        if not request.headers.get("content-type", "").startswith(UPLOAD_TYPE if is_upload else FORM_TYPE):
            return self._say(visitor, 415, "problem.refused", "problem.not_a_form")
        if not origin_is_ours(request, self._settings):
            return self._say(visitor, 403, "problem.refused", "problem.foreign_origin")
        # A form with a file is checked as it is read: its token stands before the file.
        if not is_upload and not visitor.may_post(Form(await request.form()).text("csrf")):
            return self._say(visitor, 403, "problem.refused", "problem.form_expired")
        return None

    def _send_to_login(self, request: Request[Any, Any, Any], error: LoginNeeded) -> Page:
        if "hx-request" in request.headers:
            return to_login()
        return go_to(self._known(request), login_path(request.url.path if request.method == "GET" else ""))

    def _refuse(self, request: Request[Any, Any, Any], error: GatewayError) -> Page:
        visitor = self._known(request)
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 503)
        values = {"problem": self._pages.problem(visitor, error)}
        response = self._pages.show(visitor, "problem.html", status=status, **values)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return response

    def _refuse_request(self, request: Request[Any, Any, Any], error: HTTPException) -> Page:
        if error.status_code not in _TITLES:
            return self._crash(request, error)
        title = f"problem.{_TITLES[error.status_code]}"
        return self._say(self._known(request), error.status_code, title, "problem.go_back")

    def _crash(self, request: Request[Any, Any, Any], error: Exception) -> Page:
        request_id = request.scope.get("state", {}).get("request_id", "")
        log.error("dashboard_failed", extra={"request_id": request_id}, exc_info=error)
        visitor = self._known(request)
        return self._say(visitor, 500, "problem.crashed", "problem.crashed_detail", request_id=request_id)

    def _known(self, request: Request[Any, Any, Any]) -> Visitor:
        """The visitor whom `check` looked up, or a stranger when it came to nothing."""
        visitor: Visitor | None = request.scope.get("state", {}).get(_VISITOR)
        return visitor or stranger(request, self._settings)

    def _say(self, visitor: Visitor, status: int, title: str, detail: str, **values: object) -> Page:
        told = {
            "title": self._pages.text(visitor, title),
            "detail": self._pages.text(visitor, detail, **values),
        }
        return self._pages.show(visitor, "problem.html", status=status, problem=told)
