"""The documents: pages for people, the description for tools, one file for language models."""

from typing import Any

from litestar import Request, Response, Router, get
from litestar.datastructures import Cookie
from litestar.di import Provide

from appliance import __version__
from appliance.api import problems
from appliance.api.docs_pages import Manual, at, in_html, in_json
from appliance.assets import LANGUAGES, THEME_COOKIE, Assets, preferred_language

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_PAGE = {**_HEADERS, "Vary": "Accept-Language, Cookie"}
_HTML, _MARKDOWN, _TEXT = "text/html", "text/markdown", "text/plain"
_LANGUAGE_COOKIE = "lang"
_YEAR_S = 365 * 24 * 3600

AnyRequest = Request[Any, Any, Any]


class Docs:
    """Answers with pages of the manual, in the reader's language and with this gateway's address."""

    def __init__(self, assets: Assets) -> None:
        self.manual = Manual(assets.folder / "docs")
        self._assets = assets

    def show(self, request: AnyRequest, template: str, *, status: int = 200, **values: Any) -> Response[str]:
        language, cookies = self.language(request)
        html = self._assets.render(
            template,
            language,
            version=__version__,
            here="docs",
            theme=request.cookies.get(THEME_COOKIE, ""),
            contents=self.manual.contents(language),
            **values,
        )
        links = {"Link": problems.HELP_LINK} if status == 404 else {}
        return Response(
            at(html, _address(request), in_html),
            status_code=status,
            media_type=_HTML,
            headers=_PAGE | links,
            cookies=cookies,
        )

    def missing(self, request: AnyRequest) -> Response[str]:
        """A page that says that there is none."""
        language, _ = self.language(request)
        problem = {"title": self._assets.text(language, "problem.missing"), "detail": ""}
        return self.show(request, "problem.html", status=404, problem=problem)

    def language(self, request: AnyRequest) -> tuple[str, list[Cookie]]:
        """The reader's language, and the cookie that keeps what they chose by `?lang=`."""
        asked = request.query_params.get("lang", "")
        if asked in LANGUAGES:
            cookie = Cookie(key=_LANGUAGE_COOKIE, value=asked, path="/", samesite="lax", max_age=_YEAR_S)
            return asked, [cookie]
        kept = request.cookies.get(_LANGUAGE_COOKIE, "")
        if kept in LANGUAGES:
            return kept, []
        return preferred_language(request.headers.get("accept-language", "")), []


@get("/docs", sync_to_thread=True)
def show_index(request: AnyRequest, docs: Docs) -> Response[str]:
    return _shown(request, docs, "index")


@get("/docs/{name:str}", sync_to_thread=True)
def show_page(request: AnyRequest, docs: Docs, name: str) -> Response[str]:
    """A guide; with `.md` after its name, its Markdown for programs."""
    if name.endswith(".md"):
        return _markdown(request, docs, name.removesuffix(".md"))
    return docs.missing(request) if name in {"index", "errors"} else _shown(request, docs, name)


@get("/docs/errors", sync_to_thread=True)
def show_errors(request: AnyRequest, docs: Docs) -> Response[str]:
    language, _ = docs.language(request)
    page = docs.manual.page(language, "errors")
    assert page is not None
    introduction = docs.manual.introduction(language)
    errors = docs.manual.errors(language)
    return docs.show(request, "docs_errors.html", page=page, introduction=introduction, errors=errors)


@get("/docs/errors/{code:str}", sync_to_thread=True)
def show_error(request: AnyRequest, docs: Docs, code: str) -> Response[str]:
    language, _ = docs.language(request)
    error = docs.manual.error(language, code)
    if error is None:
        return docs.missing(request)
    return docs.show(request, "docs_error.html", error=error)


@get("/api/docs", sync_to_thread=True)
def show_swagger(request: AnyRequest, docs: Docs) -> Response[str]:
    return docs.show(request, "docs_swagger.html")


@get("/api/openapi.json", sync_to_thread=False)
def openapi(request: AnyRequest, docs: Docs) -> Response[str]:
    spec = at(docs.manual.spec, _address(request), in_json)
    # Tools that run in a page of another origin may read it: it is the same for everybody.
    headers = {**_HEADERS, "Access-Control-Allow-Origin": "*"}
    return Response(spec, media_type="application/json", headers=headers)


@get("/llms.txt", sync_to_thread=True)
def llms(request: AnyRequest, docs: Docs) -> Response[str]:
    return _text(request, docs.manual.llms(), _TEXT)


@get("/llms-full.txt", sync_to_thread=True)
def llms_full(request: AnyRequest, docs: Docs) -> Response[str]:
    return _text(request, docs.manual.llms_full(), _TEXT)


PEOPLE: list[Any] = [show_index, show_page, show_errors, show_error, show_swagger]
PROGRAMS: list[Any] = [openapi, llms, llms_full]


def handlers(assets: Assets) -> list[Any]:
    """Everything above, ready to be mounted at the root. Raises AssetsMissing."""
    docs = Docs(assets)
    provide = Provide(lambda: docs, sync_to_thread=False, use_cache=True)
    return [Router("/", route_handlers=[*PEOPLE, *PROGRAMS], dependencies={"docs": provide})]


def _shown(request: AnyRequest, docs: Docs, name: str) -> Response[str]:
    page = docs.manual.page(docs.language(request)[0], name)
    return docs.missing(request) if page is None else docs.show(request, "docs.html", page=page)


def _markdown(request: AnyRequest, docs: Docs, name: str) -> Response[str]:
    if docs.manual.page(docs.language(request)[0], name) is None:
        return docs.missing(request)
    return _text(request, docs.manual.source(docs.language(request)[0], name), _MARKDOWN)


def _text(request: AnyRequest, text: str, media_type: str) -> Response[str]:
    return Response(at(text, _address(request)), media_type=media_type, headers=_HEADERS)


def _address(request: AnyRequest) -> str:
    return str(request.scope["state"]["base_url"])
