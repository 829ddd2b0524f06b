"""Tests of the server as a process, and of the page in a real browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.downstream.review.serve import authorities_of, is_loopback
from didgen.manifests.images import as_mask, decode
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.redrawn import mask_of
from didgen.manifests.shards.shard import iterate
from didgen.manifests.sources.annotating import CORRECTED
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.annotated import HEIGHT, WIDTH, write_annotated_source
from tests.fixtures.commands import Command
from tests.fixtures.places import REPOSITORY

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT = 20_000
"""Milliseconds that a step of a page may take on a busy machine."""


def test_the_page_is_asked_for_by_its_own_names() -> None:
    assert authorities_of("127.0.0.1", 80) == ["127.0.0.1:80", "localhost:80", "[::1]:80"]
    assert authorities_of("::1", 8000)[0] == "[::1]:8000"
    assert authorities_of("Clinic.example", 8000) == ["clinic.example:8000"]
    assert is_loopback("localhost") and is_loopback("127.0.0.2") and is_loopback("::1")
    assert not is_loopback("192.168.0.2") and not is_loopback("example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])  # noqa: S104
def test_every_network_at_once_is_refused(run: Path, command: Command, host: str) -> None:
    outcome = command("review", run, "--host", host)
    assert outcome.code == 1 and "stands for every network" in outcome.err


def test_an_address_that_cannot_be_had_is_a_sentence(run: Path, command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = command("review", run, "--port", taken.getsockname()[1])
    assert outcome.code == 1 and "Address already in use" in outcome.err
    outcome = command("review", run, "--host", "203.0.113.7")
    assert outcome.code == 1 and "cannot be listened on" in outcome.err
    outcome = command("review", run, "--host", "no such host")
    assert outcome.code == 1 and "is no address" in outcome.err


Served = tuple[str, Path]


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """The address that `didgen review` prints, while it serves."""
    command = [sys.executable, "-m", "didgen.cli", "review", *map(str, arguments)]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"Open (http://127\.0\.0\.1:\d+/\?token=\S+)", line):
                yield found[1]
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def served(run: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The address that `didgen review` prints of its own copy of the run, and that copy."""
    own = Path(shutil.copytree(run, tmp_path_factory.mktemp("served") / "run"))
    with serving(own, "--real", source, "--images", "4") as address:
        yield address, own


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The Chromium of this machine; the test is skipped without one, in CI it fails."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = "no Chromium on this machine; apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """A page of a new browser that came in by the address, under a name; no script may fail."""
    faults: list[str] = []
    contexts = []

    def enter(name: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on(
            "request",
            lambda r: None if r.url.startswith(at(served, "/")) else faults.append(r.url),
        )
        page.goto(served[0])
        page.get_by_label("Name").fill(name)
        page.keyboard.press("Enter")
        page.wait_for_url("**/samples")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert faults == []


def at(served: Served, path: str) -> str:
    """An address of the server, without the token."""
    return served[0].partition("/?")[0] + path


def last(served: Served) -> Any:
    """The last review of the log."""
    return ReviewLog(served[1]).reviews()[-1]


def press(page: Any, key: str) -> None:
    """Press a key that brings another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


@pytest.mark.slow
def test_a_whole_review_by_keyboard(page: Callable[..., Any], served: Served) -> None:
    shown = page("Ada")
    # The first stop of the keyboard leads past the navigation.
    shown.keyboard.press("Tab")
    assert shown.locator(":focus").inner_text() == "Skip to the content"
    shown.goto(at(served, "/sample/images/images-000000?config=images&state=open"))
    press(shown, "a")
    assert "/images-000001" in shown.url and "Saved: images-000000" in shown.inner_text(".status")
    press(shown, "5")
    assert (last(served).key, last(served).reason) == ("images-000001", "blurred")
    press(shown, "j")
    press(shown, "k")
    assert "/images-000002" in shown.url
    # Keys do nothing while one writes, and nothing once they are switched off.
    shown.get_by_label("Note, if any").press_sequentially("a5")
    assert shown.get_by_label("Note, if any").input_value() == "a5"
    shown.get_by_label("Keyboard shortcuts").uncheck()
    shown.keyboard.press("a")
    shown.get_by_label("Class").select_option("NV")
    with shown.expect_navigation():
        shown.get_by_role("button", name="Accept").click()
    assert (last(served).key, last(served).label, last(served).note) == (
        "images-000002",
        "NV",
        "a5",
    )
    # The choice is kept from page to page.
    assert not shown.get_by_label("Keyboard shortcuts").is_checked()
    shown.get_by_label("Keyboard shortcuts").check()
    shown.goto(at(served, "/sample/images/images-000000"))
    press(shown, "u")
    assert (last(served).key, last(served).verdict) == ("images-000000", "withdrawn")


def circle(shown: Any) -> list[tuple[float, float]]:
    """Points of the window on a circle of a quarter of the picture's height about its centre."""
    box = shown.locator("#canvas").bounding_box()
    angles = np.linspace(0, 2 * np.pi, 40)
    x = box["x"] + box["width"] / 2 + box["height"] / 4 * np.cos(angles)
    y = box["y"] + box["height"] / 2 + box["height"] / 4 * np.sin(angles)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def disc(height: int, width: int) -> np.ndarray:
    """The pixels within a quarter of the height from the centre."""
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows + 0.5 - height / 2, columns + 0.5 - width / 2)
    return away < height / 4


def draw_circle(shown: Any) -> None:
    """Draw a circle by the mouse."""
    shown.keyboard.press("d")
    first, *rest = circle(shown)
    shown.mouse.move(*first)
    shown.mouse.down()
    for point in rest:
        shown.mouse.move(*point)
    shown.mouse.up()


@pytest.mark.slow
def test_an_outline_is_drawn_by_mouse(page: Callable[..., Any], served: Served) -> None:
    shown = page("Ada")
    shown.goto(at(served, "/sample/pairs/pairs-000000?config=pairs"))
    draw_circle(shown)
    assert "1 curve" in shown.inner_text("#drawing")
    press(shown, "a")
    (curve,) = last(served).curves
    assert len(curve) > 20
    found = mask_of((curve,), 160, 240)
    overlap = (found & disc(160, 240)).sum() / (found | disc(160, 240)).sum()
    assert overlap > 0.97
    # It comes back as it was drawn, may be taken back, and the mask of the run stays.
    shown.goto(at(served, "/sample/pairs/pairs-000000"))
    assert "New outline of 1 curve" in shown.inner_text("#drawing")
    shown.keyboard.press("z")
    press(shown, "a")
    assert last(served).curves == ()
    sample = next(iterate(served[1], "pairs"))
    assert as_mask(decode(sample.members["mask.png"], Path("m.png")), Path("m.png")).any()


@pytest.mark.slow
def test_a_photograph_gets_the_mask_that_a_person_draws(
    chromium: Any, tmp_path: Path, command: Command
) -> None:
    source = write_annotated_source(tmp_path)
    with serving(source) as address, chromium.new_context() as context:
        context.set_default_timeout(WAIT)
        shown = context.new_page()
        shown.goto(address)
        shown.get_by_label("Name").fill("Ada")
        press(shown, "Enter")
        with shown.expect_navigation():
            shown.get_by_role("link", name="Review from the first").click()
        draw_circle(shown)
        press(shown, "a")
        assert "Saved: a accepted" in shown.inner_text(".status")
        # "wrong outline" is the second reason of a photograph.
        press(shown, "2")
        press(shown, "a")
        assert "No sample is left here" in shown.inner_text("main")
    assert command("annotate", source).code == 0
    manifest = SourceManifest.read(source)
    assert [record.mask_by for record in manifest.records] == [f"boxes{CORRECTED}", None, "boxes"]
    found, drawn = manifest.read_mask(manifest.records[0]), disc(HEIGHT, WIDTH)
    assert (found & drawn).sum() / (found | drawn).sum() > 0.97


@pytest.mark.slow
def test_an_outline_is_tapped_on_a_tablet(page: Callable[..., Any], served: Served) -> None:
    shown = page("Tab", viewport={"width": 820, "height": 1180}, has_touch=True, is_mobile=True)
    shown.goto(at(served, "/sample/pairs/pairs-000001?config=pairs"))
    shown.locator("#draw").tap()
    box = shown.locator("#canvas").bounding_box()
    for x, y in ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)):
        shown.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])
    shown.get_by_role("button", name="Close curve").tap()
    with shown.expect_navigation():
        shown.get_by_role("button", name="Accept").tap()
    (curve,) = last(served).curves
    np.testing.assert_allclose(
        curve, [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], atol=0.01
    )
    # A finger that draws does not scroll the page.
    shown.goto(at(served, "/sample/pairs/pairs-000001"))
    shown.locator("#draw").tap()
    assert shown.eval_on_selector("#canvas", "e => getComputedStyle(e).touchAction") == "none"


@pytest.mark.slow
def test_two_reviewers_at_once_and_their_agreement(
    page: Callable[..., Any], served: Served
) -> None:
    one, two = page("Uma"), page("Vic")
    for number in range(3):
        path = at(served, f"/sample/images/images-00000{number}")
        for shown, key in ((one, "a" if number else "1"), (two, "a")):
            shown.goto(path)
            press(shown, key)
    one.goto(at(served, "/agreement"))
    assert re.search(
        r"Uma, Vic\s+Cohen's kappa\s+3\s+67 %\s+0\.00", one.inner_text("table >> nth=1")
    )


@pytest.mark.slow
def test_the_blind_test_by_keyboard(page: Callable[..., Any], served: Served) -> None:
    shown = page("Bea")
    shown.goto(at(served, "/blind"))
    for number in range(4):
        assert f"Image {number + 1} of 4" in shown.inner_text("main")
        assert shown.eval_on_selector("#image", "e => e.complete && e.naturalWidth") == 24
        press(shown, "s")
    assert re.search(r"Bea\s+2 of 4\s+0\.50 \(0\.15 to 0\.85\)", shown.inner_text("main"))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (320, "light")])
def test_wcag_aa_by_axe(page: Callable[..., Any], served: Served, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    viewport = {"width": width, "height": 800}
    shown = page("Eye", viewport=viewport, color_scheme=scheme)
    for path in (
        "/name",
        "/samples?state=all",
        "/sample/pairs/pairs-000002",
        "/sample/images/images-000003",
        "/agreement",
        "/blind",
    ):
        shown.goto(at(served, path))
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found = Axe().run(shown, options={"runOnly": {"type": "tag", "values": tags}}).response
        assert len(found["passes"]) > 15
        faults = [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
        assert faults == [], path
        sides = shown.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sides[0] <= sides[1], path
        # A finger needs room (WCAG 2.2, 2.5.8: 24 px).
        small = shown.evaluate(
            "[...document.querySelectorAll('button, select, input:not([type=hidden])')]"
            ".filter(e => e.getBoundingClientRect().height < 22).map(e => e.outerHTML)"
        )
        assert small == [], path


@pytest.mark.slow
def test_another_site_in_the_same_browser_gets_nothing(
    page: Callable[..., Any], served: Served
) -> None:
    shown = page("Eve")
    before = len(ReviewLog(served[1]).reviews())
    target = at(served, "/sample/images/images-000005")
    picture = at(served, "/picture/images/images-000005/image")
    other = shown.context.new_page()
    other.route(
        "http://other.example/*",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<form method=post action='{target}'><input name=verdict value=accepted></form>"
            f"<img src='{picture}'><iframe src='{at(served, '/samples')}'></iframe>",
        ),
    )
    other.goto("http://other.example/")
    assert other.eval_on_selector("img", "e => e.complete && e.naturalWidth") == 0
    with other.expect_navigation(url=target) as navigation:
        other.evaluate("document.forms[0].submit()")
    assert navigation.value.status == 403
    assert len(ReviewLog(served[1]).reviews()) == before
