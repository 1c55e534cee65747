"""Every refusal as an `application/problem+json` document (RFC 9457): one table says which status a class
has."""

import logging
import math
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from appliance.model import errors
from appliance.model.errors import GatewayError
from appliance.store.database import StoreError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
HELP_LINK = '</api/openapi.json>; rel="service-desc", </llms.txt>; rel="help"'


class InvalidJson(GatewayError):
    code = "invalid_json"
    title = "The body is not the JSON object that was expected"


class MethodNotAllowed(GatewayError):
    code = "method_not_allowed"
    title = "This address does not know that method"


class RequestTimeout(GatewayError):
    code = "request_timeout"
    title = "The body came too slowly"
    retryable = True


class BodyTooLarge(GatewayError):
    code = "body_too_large"
    title = "The body is too large"


class BadRequest(GatewayError):
    code = "bad_request"
    title = "The request cannot be understood"


class RangeNotSatisfiable(GatewayError):
    code = "range_not_satisfiable"
    title = "The file does not have those bytes"


STATUS: dict[type[GatewayError], int] = {
    GatewayError: 500,
    BadRequest: 400,
    InvalidJson: 400,
    errors.Unauthorized: 401,
    errors.MissingApiKey: 401,
    errors.NotInGroup: 403,
    errors.NotFound: 404,
    MethodNotAllowed: 405,
    RequestTimeout: 408,
    errors.Conflict: 409,
    errors.DeviceNotLinked: 409,
    errors.DeviceLoggedOut: 409,
    errors.DeviceDisconnected: 409,
    errors.DeviceMoved: 409,
    errors.DeviceBanned: 409,
    errors.DeviceOutdated: 409,
    errors.AlreadyLinked: 409,
    errors.NoQr: 409,
    errors.SandboxOnly: 409,
    errors.InlineSingleDevice: 409,
    errors.ReachoutRestricted: 409,
    errors.MediaError: 404,
    errors.EventsGone: 410,
    BodyTooLarge: 413,
    errors.MediaTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    RangeNotSatisfiable: 416,
    errors.Invalid: 422,
    errors.InvalidRecipient: 422,
    errors.SandboxNumber: 422,
    errors.DeviceRequired: 422,
    errors.CursorMismatch: 422,
    errors.IdempotencyKeyReused: 422,
    errors.WebhookUrlForbidden: 422,
    errors.MediaUnreachable: 422,
    errors.MediaUrlForbidden: 422,
    errors.NotOnWhatsApp: 422,
    errors.RateLimited: 429,
    errors.EngineFailure: 502,
    errors.UnlinkUnconfirmed: 502,
    errors.QueueFull: 503,
    errors.NotReady: 503,
    StoreError: 503,
    errors.EngineTimeout: 504,
    errors.StorageFull: 507,
}

_OF_STATUS: dict[int, type[GatewayError]] = {
    400: BadRequest,
    401: errors.Unauthorized,
    404: errors.NotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    413: BodyTooLarge,
    415: errors.UnsupportedMediaType,
    422: errors.Invalid,
    429: errors.RateLimited,
    503: errors.NotReady,
}


def codes() -> dict[str, type[GatewayError]]:
    """Every code a caller can meet, with the class that means it: the enum of the spec and the docs'
    pages."""
    return {error.code: error for error in STATUS}


def status_of(error: GatewayError) -> int:
    """The HTTP status; a class that the table lacks has that of its nearest base."""
    return next(STATUS[base] for base in type(error).__mro__ if base in STATUS)


def document(error: GatewayError, base_url: str, request_id: str) -> dict[str, Any]:
    """The problem's members. `base_url` is where the docs of this gateway are read."""
    problem: dict[str, Any] = {
        "type": f"{base_url}/docs/errors/{error.code}",
        "title": error.title,
        "status": status_of(error),
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
        "retryable": error.retryable,
    }
    if error.errors:
        problem["errors"] = error.errors
    if error.next_step is not None:
        problem["nextStep"] = error.next_step
    return problem | {name: value for name, value in error.extra.items() if name not in problem}


def response_headers(error: GatewayError, status: int) -> dict[str, str]:
    """What a refusal says in headers: when to come back, where to read."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if status in {401, 404}:
        headers["Link"] = HELP_LINK
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="api", charset="UTF-8"'
    return headers


def answer(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """The answer to a refused request."""
    state = request.scope["state"]
    status = status_of(error)
    state["refusal"] = error.code
    body = msgspec.json.encode(document(error, state["base_url"], state["request_id"]))
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=response_headers(error, status))


def on_refusal(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    return answer(request, error)


def on_framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses, in the same shape as everything else."""
    if error.status_code not in _OF_STATUS:
        return on_crash(request, error)
    path = request.scope["path"]
    detail = {404: f"Nothing answers at {path}.", 405: f"{path} does not answer {request.method}."}
    refusal = _OF_STATUS[error.status_code](detail.get(error.status_code, ""))
    response = answer(request, refusal)
    for name, value in (error.headers or {}).items():
        if name.lower() == "allow":
            response.set_header("Allow", value)
    return response


def on_crash(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of our own: the traceback goes to the log, the caller gets the id to find it by."""
    extra = {"request_id": request.scope["state"]["request_id"], "handler": _handler_name(request)}
    log.error("request_failed", extra=extra, exc_info=error)
    return answer(request, GatewayError("The fault is on this side; the log has it under this requestId."))


def _handler_name(request: Request[Any, Any, Any]) -> str:
    handler = request.scope.get("route_handler")
    return str(handler) if handler is not None else ""


HANDLERS: ExceptionHandlersMap = {
    GatewayError: on_refusal,
    HTTPException: on_framework_error,
    Exception: on_crash,
}
