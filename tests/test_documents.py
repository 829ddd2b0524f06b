"""The documents: short sentences, links that lead somewhere, and a site that builds."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from docs.site.notebooks import LINK, notebook, pages
from tests.fixtures.documents import TUTORIALS, code, named
from tests.fixtures.places import REPOSITORY

DOCS = REPOSITORY / "docs"
GENERATED = {"commands.md", "recipes.md", "python.md"}
"""Pages of docs/reference/ that the build of the site writes."""

READ = [
    *sorted(REPOSITORY.glob("*.md")),
    REPOSITORY / "benchmarks" / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if page.name not in GENERATED),
]
"""Documents whose sentences are measured."""

LONG, LONGEST, SHARE = 30, 35, 0.05
"""Words of a long sentence, words that no sentence has, and the share that may be long."""


def documents() -> list[Path]:
    """Every Markdown file that git tracks or would track."""
    call = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(call, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return [REPOSITORY / name for name in listed.split("\0") if (REPOSITORY / name).is_file()]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a document: of its paragraphs, its list items and its tables' cells."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\.) ?)", without_code(text)):
        parts = block.split("|") if block.lstrip().startswith("|") else [block]
        for part in parts:
            plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "Code", part))
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z*(\"])", " ".join(plain.split())):
                if re.search(r"[a-z]", sentence):
                    yield sentence


def words(sentence: str) -> int:
    return len(re.findall(r"[\w'-]*[A-Za-z0-9][\w'.-]*", sentence))


@pytest.mark.parametrize("file", READ, ids=named)
def test_sentences_are_short(file: Path) -> None:
    counts = {sentence: words(sentence) for sentence in sentences(file.read_text())}
    assert not {sentence: count for sentence, count in counts.items() if count > LONGEST}
    long = [sentence for sentence, count in counts.items() if count > LONG]
    assert len(long) <= SHARE * len(counts), long


def test_a_long_sentence_is_found() -> None:
    long = " ".join(["word"] * 36)
    text = f"# Head\n\nShort one. {long.capitalize()}. Another `one in code`.\n\n- item one\n"
    counts = [words(sentence) for sentence in sentences(text)]
    assert counts == [1, 2, 36, 2, 2]


@pytest.mark.parametrize(
    ("place", "lines"),
    [("README.md", 150), ("ARCHITECTURE.md", 90), ("docs/extend/[a-z]*.md", 40)],
)
def test_documents_are_short(place: str, lines: int) -> None:
    for file in REPOSITORY.glob(place):
        assert len(file.read_text().splitlines()) <= lines, file


def test_every_link_leads_to_a_file() -> None:
    for file in documents():
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", without_code(file.read_text())):
            if ":" not in target:
                assert (file.parent / target).exists(), f"{named(file)} links to {target}"


def test_every_page_stands_in_the_table_of_its_folder() -> None:
    for index in sorted(DOCS.glob("*/README.md")):
        linked = {*re.findall(r"\]\(([^)#/]+\.md)", index.read_text())}
        pages = {page.name for page in index.parent.glob("*.md")} - {"README.md"}
        assert pages <= linked, f"{named(index)} leaves out {sorted(pages - linked)}"


def test_every_bundled_recipe_is_listed() -> None:
    listed = (DOCS / "reference" / "bundled-recipes.md").read_text()
    for recipe in (REPOSITORY / "manifests" / "recipes" / "bundled").glob("*.yaml"):
        assert f"`{recipe.stem}`" in listed


def test_blocks_that_do_not_run_are_few_and_say_why() -> None:
    skipped = [
        one
        for file in (REPOSITORY / "README.md", *TUTORIALS)
        for one in code(file)
        if one.reason is not None
    ]
    assert 0 < len(skipped) <= 12
    for one in skipped:
        assert re.search(r"GPU|hub", one.reason or ""), one


@pytest.mark.parametrize("page", pages(), ids=named)
def test_a_tutorial_links_its_notebook_which_is_made_of_it(page: Path) -> None:
    assert LINK.format(name=page.stem) in page.read_text()
    made = page.with_suffix(".ipynb").read_text()
    assert made == notebook(page), "run `make notebooks`"
    cells = [one for one in nbformat.reads(made, 4).cells if one.cell_type == "code"]
    blocks = [*code(page)]
    for one, block in zip(cells, blocks, strict=True):
        assert one.source.endswith(block.text.strip())
    skipped = ["skip-execution" in one.metadata.get("tags", ()) for one in cells]
    assert skipped == [block.reason is not None for block in blocks]


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name in GENERATED:
        assert (tmp_path / "reference" / name).with_suffix(".html").is_file()
    commands = (tmp_path / "reference" / "commands.html").read_text()
    assert "didgen import isic2018" in commands and "--drop-copies" in commands
    recipes = (tmp_path / "reference" / "recipes.html").read_text()
    assert "attention_reduction" in recipes and "FinetuneRecipe" in recipes
    python = (tmp_path / "reference" / "python.html").read_text()
    assert "LesionPairPipeline" in python
    # Nothing is asked of another host when a page is read.
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r'(?:src|<link[^>]*href)="https?://', page.read_text()), page
