"""Tests of the page: one file that needs nothing and reads well in Chromium."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.report.blocks import Notice, Part
from didgen.downstream.report.page import NAME, links, render, report
from didgen.downstream.report.plots import DARK, LIGHT, Palette
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.runs.tidy import strays
from didgen.manifests.runs.verify import verify
from didgen.manifests.shards.shard import Failure, Sample, Stamp, write_shard
from tests.fixtures.page import Page
from tests.fixtures.pictures import encoded, noise

HOSTILE = "<script>alert('1')</script>\" onerror=\"x $\\frac{$ `a"


@pytest.fixture(scope="module")
def html(study: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on the whole study."""
    out = tmp_path_factory.mktemp("page") / "study.html"
    return report([study], out).read_text()


def test_every_folder_is_a_part_with_its_sections(html: str, study: Path) -> None:
    page = Page(html)
    titles = ["Model: model", "Run: run", "Quality: quality", "Classification: classify"]
    places = [html.index(f'-title">{title}</h2>') for title in [*titles, "Segmentation: segment"]]
    assert places == sorted(places)
    for said in (
        "Class balance before and after",
        "Images by class",
        "Pairs: layout and annotation",
        "Attention to the lesion over time",
        "Does the augmentation help?",
        "Training curves",
        "Copies",
        "Failures, and what was drawn again",
        "near-blank image: 1.50",
    ):
        assert said in page.text, said
    anchors = {attributes["href"] for attributes in page.all("a")}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert anchors <= {f"#{name}" for name in ids} and len(ids) == len(set(ids))


def test_a_folder_is_no_file_for_a_report(study: Path, tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=rf"is a folder; name a file, such as .*{NAME}"):
        report([study], tmp_path)


def test_it_says_what_the_records_hold(html: str, study: Path) -> None:
    text = Page(html).text
    for kind in ("classify", "segment"):
        for one in read_json(study / kind / "benchmark.json")["comparisons"]:
            assert (" ".join(one["sentence"].split()) in text) == one["judged"]
    assert "no difference shown (null result)" in text
    copies = read_json(study / "quality" / "quality.json")["copies"]
    assert f"{copies['count']} of {copies['n']}" in text


def test_it_asks_for_nothing_and_every_picture_is_described(html: str) -> None:
    page = Page(html)
    pictures = page.all("img")
    assert len(pictures) > 30
    for attributes in pictures:
        assert attributes["alt"] and str(attributes["src"]).startswith("data:image/")
        assert int(attributes["width"] or 0) > 0 and int(attributes["height"] or 0) > 0
    for _, attributes in page.elements:
        assert not {"src", "srcset"} & attributes.keys() or "data:" in str(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    assert not page.all("script") and not page.all("link")
    assert not re.search(r"url\(|@import", html)
    policy = page.all("meta")[1]["content"]
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert page.all("html")[0]["lang"] == "en"
    assert {"header", "nav", "main", "section", "footer"} <= {name for name, _ in page.elements}


def test_tables_are_named_and_their_cells_have_headers(html: str) -> None:
    page = Page(html)
    assert len(page.all("caption")) == len(page.all("table")) > 10
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    boxes = [attributes for attributes in page.all("div") if attributes.get("class") == "wide"]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_the_same_records_give_the_same_bytes(html: str, study: Path, tmp_path: Path) -> None:
    again = report([study], tmp_path / "again.html").read_text()
    assert again == html
    assert len(html) < 5_000_000


def test_a_hostile_run_shows_as_text(tmp_path: Path) -> None:
    out = tmp_path / 'a <b>&" run'
    start_run(out, fingerprint="f", recipe={"kind": "augment", "model": HOSTILE, HOSTILE: 1})
    members = {"jpg": encoded(noise(1), "JPEG"), "cls": b"0", "json": b"{}"}
    row = {"label": HOSTILE, "prompt": HOSTILE, "rejected": [HOSTILE], "redraws": 1}
    results: list[Sample | Failure] = [Sample("one", members, row), Failure("two", HOSTILE)]
    write_shard(out, "images", 0, results, Stamp("f"))
    finish_run(out, {"images": 1}, decisions={HOSTILE: HOSTILE}, versions={}, classes=[HOSTILE])
    html = report([out], tmp_path / "report.html").read_text()
    page = Page(html)
    assert "<script" not in html and "<b>" not in html
    assert not page.all("script")
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert page.text.count("<script>alert('1')</script>") >= 5
    assert any("<script>" in str(a["alt"]) for a in page.all("img"))
    assert 'a <b>&" run' in page.text


def test_it_lies_in_a_run_as_one_of_its_files(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    report([own], own / NAME)
    assert {verdict.status for verdict in verify(own)} == {"ok"}
    assert strays(own, {"images": 2, "pairs": 2}) == []


def test_nothing_is_written_where_there_is_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(DidgenError, match=r"empty holds nothing to report on.*`didgen finetune`"):
        report([tmp_path / "empty"], tmp_path / "out.html")
    with pytest.raises(DidgenError, match="no folder"):
        report([tmp_path / "none"], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, by WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(("which", "palette"), [(0, LIGHT), (1, DARK)])
def test_contrast_is_that_of_wcag_aa(which: int, palette: Palette) -> None:
    html = render("title", [Part("part", "place", [Notice("note")])])
    block = re.findall(r":root \{(.*?)\}", html, re.S)[which]
    colour = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ground in ("page", "card", "tint"):
        for text in ("ink", "soft", "link"):
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)
    assert contrast(colour["warn"], colour["warn-page"]) >= 4.5
    assert contrast(palette.ink, colour["card"]) >= 4.5
    for drawn in palette.series:
        assert contrast(drawn, colour["card"]) >= 3


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE = 360
"""Width in pixels of a small phone; Chromium's own window is never as narrow, a frame may be."""

MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const images = [...document.images];
  parent.postMessage(JSON.stringify({
    inner: innerWidth, scroll: root.scrollWidth, images: images.length,
    broken: images.filter(i => !i.naturalWidth || !i.alt).map(i => i.alt),
    background: getComputedStyle(document.body).backgroundColor,
    plot: document.querySelector("picture img").currentSrc ===
      document.querySelector("picture source").srcset ? "dark" : "light",
  }), "*");
});
</script>"""

FRAME = f"""<!doctype html><meta name="color-scheme" content="light dark"><script>
addEventListener("message", e => document.documentElement.setAttribute("data-measured", e.data));
</script><iframe src="page.html" width="{PHONE}" height="800" style="border: 0"></iframe>"""


@pytest.fixture(scope="module")
def measured(
    html: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], dict[str, Any]]:
    """What Chromium measures of the page on a phone, light or dark; skipped without Chromium."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        message = "no Chromium on this machine; apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("chromium")
    # Only the copy may run a script: the page's own policy would forbid it.
    copy = re.sub(r"<meta http-equiv.*?>", "", html).replace("</head>", f"{MEASURE}</head>")
    (folder / "page.html").write_text(copy)
    (folder / "frame.html").write_text(FRAME)

    def measure(dark: bool) -> dict[str, Any]:
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder / f'profile-{dark}'}"),
            *(f"--blink-settings=preferredColorScheme={int(not dark)}", "--dump-dom"),
            f"file://{folder / 'frame.html'}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
        found = re.search(r'data-measured="(.*?)"', done.stdout)
        assert found, done.stdout[:500]
        return json.loads(unescape(found[1]))

    return measure


def test_a_phone_shows_it_without_scrolling_sideways(
    measured: Callable[[bool], dict[str, Any]], html: str
) -> None:
    light = measured(False)
    assert light["inner"] == PHONE
    assert light["scroll"] <= PHONE
    assert light["images"] == len(Page(html).all("img"))
    assert light["broken"] == []
    dark = measured(True)
    assert dark["background"] != light["background"]
    assert luminance_of(dark["background"]) < 0.05 < 0.8 < luminance_of(light["background"])
    assert (light["plot"], dark["plot"]) == ("light", "dark")
    assert dark["broken"] == []


def luminance_of(colour: str) -> float:
    """Relative luminance of rgb(r, g, b)."""
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return luminance(f"#{red:02x}{green:02x}{blue:02x}")


def test_what_is_not_finished_is_said(own_study: Path, source: Path, tmp_path: Path) -> None:
    run = own_study / "made" / "run"
    (run / "manifest.json").unlink()
    torn = run / "images" / "images-000001.tar"
    torn.write_bytes(torn.read_bytes()[:600])
    (run / "pairs" / "pairs-000001.json").write_text("{")
    (own_study / "classify" / "benchmark.json").unlink()
    text = Page(report([own_study], tmp_path / "report.html").read_text()).text
    assert (
        "This run is not finished: it has no manifest.json." in text
        and "hold is shown, 14 samples" in text
    )
    assert "images-000001.tar ends in the middle" in text
    assert "pairs-000001.json is not readable JSON" in text
    assert "This benchmark is not finished" in text
    assert "This training is not finished" in text
    # What is there is shown.
    assert "Melanoma (MEL): 2 of 5" in text
    assert "Score on the validation images by step" in text


def test_a_broken_folder_does_not_hide_the_others(own_study: Path, tmp_path: Path) -> None:
    path = own_study / "quality" / "quality.json"
    record = read_json(path)
    del record["copies"]["threshold"]
    write_json(path, record)
    text = Page(report([own_study], tmp_path / "report.html").read_text()).text
    assert "quality.json is not what didgen writes there" in text
    assert "Classification: classify" in text
    with pytest.raises(DidgenError, match=r"quality\.json is not what didgen writes there"):
        report([path.parent], tmp_path / "alone.html")


def test_parts_are_linked_to_what_they_are_made_from(own_study: Path, tmp_path: Path) -> None:
    path = own_study / "classify" / "benchmark.json"
    record = read_json(path)
    record["recipe"]["runs"] = {"didgen": str(own_study / "made" / "run")}
    write_json(path, record)
    folders = [own_study / "made" / "run", own_study / "classify"]
    page = Page(report(folders, tmp_path / "report.html").read_text())
    assert "Used by: Classification: classify ." in page.text
    assert "Made from: Run: run ." in page.text
    targets = [str(a["href"]) for a in page.all("a")]
    assert targets.count("#part-1") == targets.count("#part-2") == 2


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=5))
def test_links_go_both_ways(uses: list[list[int]]) -> None:
    parts = [
        Part(str(n), f"/x/{n}", [], [Path(f"/x/{o}/model") for o in used])
        for n, used in enumerate(uses)
    ]
    found = links(parts)
    made = {(name, other) for name, words in found.items() for other, _ in words[0][1]}
    used_by = {(other, name) for name, words in found.items() for other, _ in words[1][1]}
    assert made == used_by and all(one != other for one, other in made)
