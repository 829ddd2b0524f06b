"""The app: the addresses of the review's page, and what each answers.

Notable choices:
- Pages come from the server, and forms go to it: accepting and rejecting need no script.
- A picture is asked for by config, key and view, which are looked up among those of the run; no
  part of an address is ever a path.
"""

from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from didgen.downstream.pages import BASE_STYLE
from didgen.downstream.review.blind_test import NoTestError, blind_picture
from didgen.downstream.review.desk import BadFormError, Desk
from didgen.downstream.review.guard import TooLargeError
from didgen.downstream.review.pages import (
    agreement_page,
    blind_page,
    error_page,
    name_page,
    sample_page,
    samples_page,
)
from didgen.downstream.review.pictures import VIEWS
from didgen.downstream.review.queue import Filter
from didgen.manifests.errors import DidgenError, sentence_of
from didgen.manifests.reviews.record import NAME_LENGTH

REVIEWER = "didgen-reviewer"
"""The cookie that holds the reviewer's name."""

MAX_FIELDS = 50

_HERE = Path(__file__).parent / "static"

STATIC = {
    "base.css": (BASE_STYLE, "text/css"),
    "style.css": (_HERE / "style.css", "text/css"),
    "review.js": (_HERE / "review.js", "text/javascript"),
    "icon.svg": (_HERE / "icon.svg", "image/svg+xml"),
}
"""Files of the page by their names, with their types."""


def review_app(desk: Desk) -> Starlette:
    """The app of a review, without its guard."""
    pages = Addresses(desk)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/name", pages.name, methods=["GET", "POST"]),
            Route("/samples", pages.samples),
            Route("/sample/{config}/{key}", pages.sample, methods=["GET", "POST"]),
            Route("/picture/{config}/{key}/{view}", pages.picture),
            Route("/agreement", pages.agreement),
            Route("/blind", pages.blind, methods=["GET", "POST"]),
            Route("/blind/picture/{place:int}", pages.blind_picture),
            Route("/static/{name}", pages.static),
        ],
        exception_handlers={
            HTTPException: _http_fault,
            TooLargeError: _too_large,
            BadFormError: _bad_form,
            DidgenError: _fault,
            OSError: _fault,
        },
    )


class Addresses:
    """What each address answers, for one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def start(self, request: Request) -> Response:
        """Ask for the name of whoever comes in; nobody is sent on while the token is shown."""
        reviewer = reviewer_of(request)
        if reviewer and "token" not in request.query_params:
            return RedirectResponse("/samples", 303)
        return HTMLResponse(name_page(reviewer))

    async def name(self, request: Request) -> Response:
        """Take the reviewer's name."""
        if request.method == "GET":
            return HTMLResponse(name_page(reviewer_of(request)))
        form = await form_of(request)
        name = " ".join(form.get("name", "").split())
        if not name or len(name) > NAME_LENGTH or not name.isprintable():
            fault = f"Write a name of 1 to {NAME_LENGTH} characters."
            return HTMLResponse(name_page(name[:NAME_LENGTH], fault), 400)
        response = RedirectResponse("/samples", 303)
        response.set_cookie(REVIEWER, quote(name), httponly=True, samesite="strict")
        return response

    async def samples(self, request: Request) -> Response:
        """The samples that a filter lets through, page by page."""
        reviewer = reviewer_of(request)
        if not reviewer:
            return RedirectResponse("/name", 303)
        query = request.query_params
        asked = Filter.of(query, self.desk.job)
        page = int(number) if (number := query.get("page", "1")).isdecimal() else 1
        shown = await run_in_threadpool(self.desk.shown, asked, reviewer, page)
        return HTMLResponse(samples_page(self.desk, shown, query.get("saved", "")))

    async def sample(self, request: Request) -> Response:
        """One sample, or a decision on it, after which the next one comes."""
        reviewer = reviewer_of(request)
        if not reviewer:
            return RedirectResponse("/name", 303)
        sample = self.desk.sample(request.path_params["config"], request.path_params["key"])
        if sample is None:
            raise HTTPException(404, "This run has no such sample.")
        asked = Filter.of(request.query_params, self.desk.job)
        if request.method == "POST":
            form = await form_of(request)
            onward = await run_in_threadpool(self.desk.decide, sample, form, asked, reviewer)
            return RedirectResponse(onward, 303)
        saved = request.query_params.get("saved", "")
        page = await run_in_threadpool(sample_page, self.desk, sample, asked, reviewer, saved)
        return HTMLResponse(page)

    async def picture(self, request: Request) -> Response:
        """A picture of a sample."""
        config, key, name = (request.path_params[part] for part in ("config", "key", "view"))
        sample = self.desk.sample(config, key)
        view = next((one for one in VIEWS if one == name), None)
        if sample is None or view is None:
            raise HTTPException(404, "This run has no such picture.")
        data = await run_in_threadpool(self.desk.pictures.picture, sample, view)
        if data is None:
            raise HTTPException(404, "This sample has no such picture.")
        return image_response(data)

    async def agreement(self, request: Request) -> Response:
        """How the reviewers agree."""
        return HTMLResponse(
            await run_in_threadpool(agreement_page, self.desk, reviewer_of(request))
        )

    async def blind(self, request: Request) -> Response:
        """The next image of the blind test, an answer, or the result."""
        reviewer = reviewer_of(request)
        if not reviewer:
            return RedirectResponse("/name", 303)
        if request.method == "POST":
            form = await form_of(request)
            await run_in_threadpool(self.desk.answer, form, reviewer)
            return RedirectResponse("/blind", 303)
        try:
            return HTMLResponse(await run_in_threadpool(blind_page, self.desk, reviewer))
        except NoTestError as error:
            return HTMLResponse(error_page(str(error)), 404)

    async def blind_picture(self, request: Request) -> Response:
        """An image of the blind test, by the place that it has for this reviewer."""
        test, reviewer = self.desk.test(), reviewer_of(request)
        order = test.in_order(reviewer)
        place = request.path_params["place"]
        if place >= len(order):
            raise HTTPException(404, "The test has no such image.")
        shown = order[place]
        return image_response(
            await run_in_threadpool(blind_picture, test, self.desk.pictures, shown)
        )

    async def static(self, request: Request) -> Response:
        """The style sheets, the script and the icon."""
        found = STATIC.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "There is no such file.")
        path, kind = found
        return Response(path.read_bytes(), media_type=kind)


def reviewer_of(request: Request) -> str:
    """The name that the browser was given; empty without one."""
    name = unquote(request.cookies.get(REVIEWER, ""))
    fine = len(name) <= NAME_LENGTH and name.isprintable() and name == name.strip()
    return name if fine else ""


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that comes twice the last."""
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return dict(pairs)


def image_response(data: bytes) -> Response:
    """A JPEG or PNG."""
    kind = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/png"
    return Response(data, media_type=kind)


def _http_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return HTMLResponse(error_page(error.detail), error.status_code)


def _fault(request: Request, error: Exception) -> Response:
    """A sentence for what the run or the disk is to blame for."""
    return HTMLResponse(error_page(sentence_of(error) or str(error)), 500)


def _bad_form(request: Request, error: Exception) -> Response:
    return HTMLResponse(error_page(str(error)), 400)


def _too_large(request: Request, error: Exception) -> Response:
    return HTMLResponse(error_page("The request is too large; nothing was saved."), 413)
