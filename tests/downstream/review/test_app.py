"""Tests of the addresses: decisions, pictures, agreement and the blind test, without a browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from didgen.downstream.review.desk import Desk
from didgen.manifests.reviews.log import LOG_NAME
from tests.downstream.review.conftest import AUTHORITY, TOKEN
from tests.fixtures.page import Page
from tests.fixtures.reviews import BOX, write_reviews
from tests.fixtures.runs import write_run
from tests.fixtures.samples import noise_sample

Enter = Callable[[str], TestClient]
SAMPLE = "/sample/images/images-000000"
PAIR = "/sample/pairs/pairs-000000"


def test_a_name_is_asked_for_first(stranger: TestClient) -> None:
    stranger.headers["origin"] = f"http://{AUTHORITY}"
    assert "Who reviews?" in Page(stranger.get(f"/?token={TOKEN}").text).text
    for path in ("/samples", SAMPLE, "/blind"):
        assert stranger.get(path).headers["location"] == "/name"
    for name in ("", "   ", "x" * 61, "a\x00b"):
        assert stranger.post("/name", data={"name": name}).status_code == 400
    name = 'Dr. <b>Ünal</b> "x"; a=b'
    assert stranger.post("/name", data={"name": f"  {name} "}).status_code == 303
    page = stranger.get("/samples").text
    assert "<b>Ünal" not in page and name in Page(page).text
    assert stranger.get("/").headers["location"] == "/samples"


def test_samples_are_listed_by_the_filter(enter: Enter) -> None:
    browser = enter("Ada")
    page = Page(browser.get("/samples").text)
    assert "16 samples." in page.text and len(page.all("img")) == 16
    page = Page(browser.get("/samples?config=pairs&label=BCC&state=all").text)
    assert "3 samples." in page.text
    assert all("/pairs/" in str(image["src"]) for image in page.all("img"))
    for page_number in ("9", "x", "-1", "0"):
        assert browser.get(f"/samples?page={page_number}").status_code == 200


def test_accepting_leads_to_the_next_one_and_is_kept(enter: Enter, own: Path, desk: Desk) -> None:
    browser = enter("Ada")
    query = "config=images&label=&state=open&order=plan"
    answer = browser.post(f"{SAMPLE}?{query}", data={"verdict": "accepted", "label": "MEL"})
    assert answer.status_code == 303
    onward = answer.headers["location"]
    assert onward.startswith(f"/sample/images/images-000001?{query}&saved=")
    assert "Saved: images-000000 accepted" in Page(browser.get(onward).text).text
    (line,) = (own / LOG_NAME).read_text().splitlines()
    saved = json.loads(line)
    assert (saved["reviewer"], saved["verdict"], saved["key"]) == (
        "Ada",
        "accepted",
        "images-000000",
    )
    # The class it was made for is no correction.
    assert "label" not in saved


def test_relabelling_rejecting_redrawing_and_withdrawing(enter: Enter, desk: Desk) -> None:
    browser = enter("Ada")
    browser.post(SAMPLE, data={"verdict": "accepted", "label": "NV", "note": " a  b "})
    browser.post(PAIR, data={"verdict": "accepted", "curves": json.dumps(BOX)})
    browser.post("/sample/pairs/pairs-000001", data={"reason": "blurred", "label": "NV"})
    relabelled, redrawn, rejected = desk.log.reviews()
    assert (relabelled.label, relabelled.note) == ("NV", "a b")
    assert redrawn.curves == BOX
    assert (rejected.verdict, rejected.reason, rejected.label) == ("rejected", "blurred", None)
    page = browser.get(PAIR).text
    assert "I said: accepted, with a new outline" in Page(page).text
    assert "[[[0.25, 0.25]" in page
    answer = browser.post(PAIR, data={"verdict": "withdrawn"})
    assert answer.headers["location"].startswith(f"{PAIR}?")
    assert ("pairs", "pairs-000000") not in desk.words()


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (SAMPLE, {}),
        (SAMPLE, {"verdict": "maybe"}),
        (SAMPLE, {"verdict": "rejected"}),
        (SAMPLE, {"reason": "ugly"}),
        (SAMPLE, {"verdict": "accepted", "label": "FOO"}),
        (SAMPLE, {"verdict": "accepted", "note": "x" * 501}),
        (SAMPLE, {"verdict": "accepted", "curves": json.dumps(BOX)}),
        (PAIR, {"verdict": "accepted", "curves": "[["}),
        (PAIR, {"verdict": "accepted", "curves": "[" * 100_000}),
        (PAIR, {"verdict": "accepted", "curves": "{}"}),
        (PAIR, {"verdict": "accepted", "curves": "[[[0, 0], [1, 1], [NaN, 0]]]"}),
        (PAIR, {"verdict": "accepted", "curves": "[[[0, 0], [0, 0], [0, 0]]]"}),
    ],
)
def test_a_form_that_is_none_saves_nothing(
    enter: Enter, desk: Desk, path: str, form: dict[str, Any]
) -> None:
    answer = enter("Ada").post(path, data=form)
    assert answer.status_code == 400 and "Traceback" not in answer.text
    assert desk.log.reviews() == [] and not desk.log.path.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/sample/images/nothing",
        "/sample/pairs/images-000000",
        "/sample/images/..%2f..%2fetc%2fpasswd",
        "/picture/images/images-000000/nothing",
        "/picture/images/images-000000/mask",
        "/picture/images/..%2f..%2frun.json/image",
        "/picture/..%2f/images-000000/image",
        "/picture/images/%2fetc%2fpasswd/image",
        "/static/..%2f..%2fserve.py",
        "/static/../serve.py",
        "/static/%2e%2e%2fserve.py",
        "/run.json",
        "/images/images-000000.tar",
        "/blind/picture/99",
        "/blind/picture/x",
    ],
)
def test_nothing_but_the_runs_pictures_is_served(enter: Enter, path: str) -> None:
    browser = enter("Ada")
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text and "fingerprint" not in answer.text


def test_pictures_are_what_they_say(enter: Enter) -> None:
    browser = enter("Ada")
    page = Page(browser.get(f"{PAIR}?config=pairs").text)
    sources = [str(image["src"]) for image in page.all("img")]
    assert {source.rsplit("/", 1)[1] for source in sources} == {
        "image",
        "outline",
        "mask",
        "layout",
    }
    for image in page.all("img"):
        answer = browser.get(str(image["src"]))
        form = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}[answer.content[:2]]
        assert answer.headers["content-type"] == form and image["alt"]


def test_other_reviewers_are_shown_once_one_has_decided(enter: Enter) -> None:
    ada, bob = enter("Ada"), enter("Bob")
    ada.post(SAMPLE, data={"reason": "artefact"})
    assert "Other reviewers" not in Page(bob.get(SAMPLE).text).text
    bob.post(SAMPLE, data={"verdict": "accepted"})
    assert "Ada: rejected: artefact" in Page(bob.get(SAMPLE).text).text
    disputed = Page(bob.get("/samples?state=disputed").text)
    assert "1 sample." in disputed.text


def test_agreement_is_reported_in_figures(enter: Enter) -> None:
    ada, bob = enter("Ada"), enter("Bob")
    assert "Nobody has decided" in Page(ada.get("/agreement").text).text
    for number in range(4):
        path = f"/sample/images/images-00000{number}"
        ada.post(path, data={"verdict": "accepted"} if number < 2 else {"reason": "blurred"})
        bob.post(path, data={"verdict": "accepted"} if number < 3 else {"reason": "other"})
    text = Page(ada.get("/agreement").text).text
    # p_o 3/4, p_e 1/2, kappa 1/2.
    assert re.search(r"Ada, Bob Cohen's kappa 4 75 % 0\.50 \(", text)
    assert "images 2 1 1" in text and "blurred: 2" in text


def test_the_blind_test_from_the_first_image_to_the_result(enter: Enter, desk: Desk) -> None:
    browser, test = enter("Ada"), desk.test()
    seen = set()
    for place, shown in enumerate(test.in_order("Ada")):
        page = browser.get("/blind").text
        assert f"Image {place + 1} of 4" in Page(page).text
        assert shown.key not in page and "real-" not in page
        picture = browser.get(f"/blind/picture/{place}")
        assert picture.headers["content-type"] == "image/png"
        seen.add(picture.content)
        # Another place and no answer save nothing.
        browser.post("/blind", data={"place": "9", "said": "real"})
        assert browser.post("/blind", data={"place": str(place)}).status_code == 400
        answer = browser.post("/blind", data={"place": str(place), "said": shown.origin})
        assert answer.headers["location"] == "/blind"
    assert len(seen) == 4
    text = Page(browser.get("/blind").text).text
    assert "Ada 4 of 4 1.00 (0.51 to 1.00)" in text
    assert [guess.place for guess in desk.log.guesses()] == [0, 1, 2, 3]
    browser.post("/blind", data={"place": "4", "said": "real"})
    assert len(desk.log.guesses()) == 4


def test_a_hostile_run_shows_as_text(tmp_path: Path) -> None:
    from dataclasses import replace

    from didgen.downstream.review.app import review_app
    from didgen.downstream.review.samples import prepare_review

    hostile = '<script>alert(1)</script>" onerror="x'
    sample = noise_sample("pairs", 0, "MEL", "drawn")
    row = {"label": hostile, "prompt": hostile, "layout": hostile, "scores": {hostile: 1.0}}
    run = write_run(
        tmp_path / "run", {"pairs": [[replace(sample, row=row)]]}, classes=["MEL", hostile]
    )
    write_reviews(run, ("pairs", sample.key, {"reviewer": hostile[:40], "note": hostile}))
    browser = TestClient(review_app(Desk(prepare_review(run), 2, 0)))
    browser.cookies.set("didgen-reviewer", "Ada")
    for path in ("/samples", f"/sample/pairs/{sample.key}", "/agreement"):
        page = browser.get(path).text
        parsed = Page(page)
        assert len(parsed.all("script")) == 1 and "<script>alert" not in page
        assert not any(name.startswith("on") for _, given in parsed.elements for name in given)


def test_a_damaged_shard_is_a_sentence(enter: Enter, own: Path) -> None:
    browser = enter("Ada")
    tar = own / "images" / "images-000000.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    answer = browser.get(SAMPLE)
    assert answer.status_code == 500 and "ends in the middle" in Page(answer.text).text


def test_without_a_source_the_blind_test_says_so(own: Path) -> None:
    from didgen.downstream.review.app import review_app
    from didgen.downstream.review.samples import prepare_review

    browser = TestClient(review_app(Desk(prepare_review(own), 2, 0)))
    browser.cookies.set("didgen-reviewer", "Ada")
    answer = browser.get("/blind")
    assert answer.status_code == 404 and "--real" in Page(answer.text).text
