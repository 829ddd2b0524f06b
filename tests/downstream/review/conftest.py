"""A run of noise under review, and its app as a browser meets it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from didgen.downstream.review.app import review_app
from didgen.downstream.review.desk import Desk
from didgen.downstream.review.guard import Guard
from didgen.downstream.review.samples import prepare_review

AUTHORITY, TOKEN = "127.0.0.1:8000", "t" * 43


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run of ten images and six pairs, without reviews."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def desk(own: Path, source: Path) -> Desk:
    """The run under review, with a blind test of four images."""
    return Desk(prepare_review(own, source), 4, 0)


@pytest.fixture
def stranger(desk: Desk) -> TestClient:
    """A browser that has no token."""
    app = Guard(review_app(desk), TOKEN, [AUTHORITY])
    return TestClient(app, base_url=f"http://{AUTHORITY}", follow_redirects=False)


@pytest.fixture
def enter(stranger: TestClient) -> Callable[[str], TestClient]:
    """A browser that came in by the printed address, under a name."""

    def enter(name: str) -> TestClient:
        browser = TestClient(stranger.app, base_url=f"http://{AUTHORITY}", follow_redirects=False)
        browser.headers["origin"] = f"http://{AUTHORITY}"
        assert browser.get(f"/?token={TOKEN}").status_code == 200
        assert browser.post("/name", data={"name": name}).headers["location"] == "/samples"
        return browser

    return enter
