"""The guard: what a browser may ask of the page, and what it may do with the answer.

Notable choices:
- The token in the printed address becomes a cookie, which no script reads and no other site sends.
- A name that another site points at this machine is refused by the Host header; a form of another
  site by the Origin header, which browsers send with every POST.
- The answer says that it loads nothing from elsewhere, stands in no frame, and is kept nowhere.
"""

import secrets
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 512 * 1024
"""Bytes of a request's body: the longest outline that is taken needs fewer."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` a browser calls the origin of its own forms null.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class TooLargeError(Exception):
    """A body that goes on after `MAX_BODY` bytes."""


class Guard:
    """An ASGI app in front of another one; it lets through what holds the token.

    authorities: `HOST:PORT`, under which the page may be asked for.
    """

    def __init__(self, app: ASGIApp, token: str, authorities: Iterable[str]) -> None:
        self.app, self.token = app, token
        self.authorities = frozenset(authorities)
        # Cookies know no ports: two reviews on one machine must not share one.
        self.cookie = f"didgen-review-{min(self.authorities).rpartition(':')[2]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        headers = Headers(scope=scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        answer = self._send(send, bool(given) and self._is_token(given[0]))
        if (fault := self._fault(scope, headers, given)) is not None:
            status, sentence = fault
            await PlainTextResponse(f"{sentence}\n", status)(scope, receive, answer)
            return
        await self.app(scope, _limited(receive), answer)

    def _fault(
        self, scope: Scope, headers: Mapping[str, str], given: list[str]
    ) -> tuple[int, str] | None:
        """Why a request is refused: its status and a sentence."""
        if headers.get("host", "").lower() not in self.authorities:
            return 403, "This page is not served under that name; use the printed address."
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin", "")
            if origin.lower() not in {f"http://{one}" for one in self.authorities}:
                return 403, "The request comes from another site."
            if headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return 403, "The request comes from another site."
        if not (self._is_token(self._cookie(headers)) or any(map(self._is_token, given))):
            return 403, "Open the page by the address that `didgen review` printed."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return 413, "The request is too large."
        return None

    def _cookie(self, headers: Mapping[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    def _send(self, send: Send, entering: bool) -> Send:
        """A `send` that adds the headers, and the cookie for one who brings the token."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if entering:
                    headers.append(
                        "set-cookie",
                        f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict",
                    )
            await send(message)

        return answer


def _limited(receive: Receive) -> Receive:
    """A `receive` that raises TooLargeError where a body is longer than it may be."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise TooLargeError
        return message

    return limited
