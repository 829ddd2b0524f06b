"""Tests of the guard: other sites, other names, other people and large bodies are refused."""

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from didgen.downstream.review.desk import Desk
from didgen.downstream.review.guard import HEADERS, MAX_BODY
from tests.downstream.review.conftest import AUTHORITY, TOKEN

ORIGIN = {"origin": f"http://{AUTHORITY}"}
ACCEPT = {"verdict": "accepted"}
SAMPLE = "/sample/images/images-000000"


def test_without_the_token_nothing_is_served(stranger: TestClient) -> None:
    for path in ("/", "/samples", "/picture/images/images-000000/image", "/static/style.css"):
        for asked in (path, f"{path}?token=", f"{path}?token={TOKEN[:-1]}x"):
            answer = stranger.get(asked)
            assert answer.status_code == 403 and "printed" in answer.text
            assert "set-cookie" not in answer.headers
    stranger.cookies.set("didgen-review-8000", "wrong")
    assert stranger.get("/").status_code == 403
    assert stranger.post("/name", data={"name": "Eve"}, headers=ORIGIN).status_code == 403


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_has(
    stranger: TestClient,
) -> None:
    answer = stranger.get(f"/?token={TOKEN}")
    assert answer.status_code == 200 and TOKEN not in answer.text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert stranger.get("/name").status_code == 200


def test_every_answer_says_what_it_may_do(
    stranger: TestClient, enter: Callable[[str], TestClient]
) -> None:
    browser = enter("Ada")
    answers = [
        stranger.get("/"),
        browser.get("/samples"),
        browser.get("/nowhere"),
        browser.get("/static/review.js"),
        browser.get("/picture/images/images-000000/image"),
        browser.post(SAMPLE, data=ACCEPT),
    ]
    assert [answer.status_code for answer in answers] == [403, 200, 404, 200, 200, 303]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", ""]
)
def test_another_name_for_this_machine_is_refused(
    enter: Callable[[str], TestClient], host: str
) -> None:
    answer = enter("Ada").get("/samples", headers={"host": host})
    assert answer.status_code == 403 and "not served under that name" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": f"https://{AUTHORITY}"},
        {"origin": "http://127.0.0.1:8001"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(
    enter: Callable[[str], TestClient], desk: Desk, headers: dict[str, str]
) -> None:
    answer = enter("Ada").post(SAMPLE, data=ACCEPT, headers=headers)
    assert answer.status_code == 403 and "another site" in answer.text
    assert desk.log.reviews() == []


def test_a_large_body_is_refused_however_it_is_sent(
    enter: Callable[[str], TestClient], desk: Desk
) -> None:
    browser = enter("Ada")
    large = b"verdict=accepted&note=" + b"x" * MAX_BODY
    assert browser.post(SAMPLE, content=large).status_code == 413

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 2**16):
            yield large[start : start + 2**16]

    answer = browser.post(SAMPLE, content=pieces())
    assert answer.status_code == 413 and "nothing was saved" in answer.text
    length = {"content-length": "-1"}
    assert browser.post(SAMPLE, content=b"", headers=length).status_code == 413
    assert desk.log.reviews() == []


def test_broken_cookies_and_queries_are_no_fault_of_the_server(stranger: TestClient) -> None:
    for cookie in ("=;=", "a=\x01b", "didgen-review-8000=é"):
        headers = [(b"cookie", cookie.encode("latin-1"))]
        assert stranger.get("/?token=%ff", headers=headers).status_code == 403
