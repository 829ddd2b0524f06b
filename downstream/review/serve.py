"""Serving: the review's page on a socket of this machine, until it is stopped."""

import ipaddress
import secrets
import socket
from collections.abc import Callable

import uvicorn

from didgen.downstream.review.app import review_app
from didgen.downstream.review.desk import Desk
from didgen.downstream.review.guard import Guard
from didgen.manifests.errors import DidgenError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

BACKLOG = 64

SHUTDOWN = 3
"""Seconds that answers under way have when the server stops."""


def serve(desk: Desk, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve a desk on `host` and `port` (0 for any free one) until a signal stops it.

    `announce` is called with the address to open, once it can be opened. An address that is not of
    this machine, or that stands for all of its networks, is a `DidgenError`.
    """
    listening = _listening(host, port)
    with listening:
        token = secrets.token_urlsafe(32)
        there = listening.getsockname()[1]
        authorities = authorities_of(host, there)
        config = uvicorn.Config(
            Guard(review_app(desk), token, authorities),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN,
        )
        announce(f"http://{authorities[0]}/?token={token}")
        uvicorn.Server(config).run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorities_of(host: str, port: int) -> list[str]:
    """Under which `HOST:PORT` the page may be asked for, the printed one first."""
    named = f"[{host}]" if ":" in host else host.lower()
    names = dict.fromkeys([named, *(LOOPBACK if is_loopback(host) else ())])
    return [f"{name}:{port}" for name in names]


def _listening(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)  # noqa: S104
        family, kind, protocol, _, address = found[0]
    except OSError as error:
        raise DidgenError(f"{host} is no address ({error.strerror}); name another.") from None
    if ipaddress.ip_address(address[0]).is_unspecified:
        raise DidgenError(
            f"{host or 'An empty name'} stands for every network of this machine; name the one "
            "address under which the page is to be reached."
        )
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise DidgenError(
            f"{host} port {port} cannot be listened on ({error.strerror}); name another by "
            "`--host` or `--port`."
        ) from None
    return listening
