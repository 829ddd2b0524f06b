"""Tests of a source under review: its page, and what a reviewer may say of a photograph."""

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from didgen.downstream.review.app import review_app
from didgen.downstream.review.desk import Desk
from didgen.downstream.review.photographs import prepare_photographs
from didgen.manifests.errors import DidgenError
from didgen.manifests.reviews.log import ReviewLog
from tests.fixtures.annotated import HEIGHT, WIDTH, write_annotated_source
from tests.fixtures.page import Page
from tests.fixtures.reviews import BOX
from tests.fixtures.sources import manifest_of, record


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    return write_annotated_source(tmp_path)


@pytest.fixture
def browser(annotated: Path) -> TestClient:
    """A browser of one who gave a name."""
    app = review_app(Desk(prepare_photographs(annotated), 4, 0))
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    client.post("/name", data={"name": "Ada"})
    return client


def test_photographs_are_listed_and_shown_with_their_masks(browser: TestClient) -> None:
    page = Page(browser.get("/samples?label=MEL&order=separability").text)
    assert "2 samples." in page.text and "Blind test" not in page.text
    shown = browser.get("/sample/pairs/a")
    page = Page(shown.text)
    assert "Photograph a, of class MEL" in shown.text and "Mask by boxes" in page.text
    for word in ("Synthetic", "wrong class", "copy of a real image", "didgen quality"):
        assert word not in shown.text
    assert not page.all("select")
    sizes = {
        view: Image.open(io.BytesIO(browser.get(f"/picture/pairs/a/{view}").content)).size
        for view in ("image", "outline", "mask")
    }
    assert set(sizes.values()) == {(WIDTH, HEIGHT)}
    for view in ("layout", "nearest", "attention"):
        assert browser.get(f"/picture/pairs/a/{view}").status_code == 404
    assert "no synthetic images" in browser.get("/blind").text


def test_a_decision_is_of_the_mask_as_it_is(browser: TestClient, annotated: Path) -> None:
    import json

    answer = browser.post(
        "/sample/pairs/a", data={"verdict": "accepted", "curves": json.dumps(BOX)}
    )
    assert answer.headers["location"].startswith("/sample/pairs/b?")
    (review,) = ReviewLog(annotated).reviews()
    assert review.sha256 == prepare_photographs(annotated).samples["pairs", "a"].sha256
    assert review.curves == BOX
    refused = browser.post("/sample/pairs/b", data={"verdict": "accepted", "label": "NV"})
    assert refused.status_code == 400 and len(ReviewLog(annotated).reviews()) == 1


def test_a_source_that_no_model_drew_masks_for_is_refused(tmp_path: Path) -> None:
    manifest_of(tmp_path, record("a")).write(tmp_path / "source")
    with pytest.raises(DidgenError, match="run `didgen annotate"):
        prepare_photographs(tmp_path / "source")
