"""The hook of mkdocs that makes what docs/ holds into a site: generated pages, links, navigation.

Notable choices:
- Commands, recipes and the public face are documented where they are written. Their pages are made
  anew at each build, and lie in no commit.
- README, ARCHITECTURE and the other documents of the root are pages too, from the one file.
- A link to a document becomes a link to its page. A link to code keeps its text alone, because
  the site does not hold code.
- The order of a folder's pages is that in which its README names them.
"""

import ast
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("manifests", "augment", "downstream")

ROOTED = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "UPGRADING.md": "project/upgrading.md",
    "CHANGELOG.md": "project/changelog.md",
    "augment/mini/README.md": "results/bundled-model.md",
    "benchmarks/README.md": "reference/benchmarks.md",
}
"""Documents outside docs/, and where their pages stand."""

SECTIONS = {
    "Tutorials": "tutorials",
    "How to": "how-to",
    "Reference": "reference",
    "Explanation": "explanation",
    "Results": "results",
    "Experiments": "experiments",
    "Decisions": "decisions",
    "Extend": "extend",
    "Project": "project",
}

FENCED = re.compile(r"(^```.*?^```$)", re.M | re.S)
LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")


def commands() -> str:
    """Every command with its options, as Typer writes them down."""
    call = [sys.executable, "-m", "typer", "didgen.cli", "utils", "docs", "--name", "didgen"]
    written = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return written.replace("# `didgen`", "# Commands", 1).replace("Example: ", "\nExample: ")


def recipes() -> str:
    """Every section of a recipe with its fields, in the order of the rooms."""
    found = re.compile(r"^class (\w+)\((?:Section|\w+Recipe)\):", re.M)
    lines = [
        "# Recipes",
        "A recipe is a YAML 1.2 file. `kind` names its command, and a field that is left out has "
        "the default below. `didgen COMMAND RECIPE --dry-run` prints a recipe with every default.",
    ]
    for file in (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))):
        module = ".".join(("didgen", *file.relative_to(ROOT).with_suffix("").parts))
        for name in found.findall(file.read_text()):
            lines.append(f"::: {module}.{name}\n    options:\n      filters: [public]\n")
    return "\n\n".join(lines)


def face() -> str:
    """The public names, by the module that holds them."""
    lines = ["# Python", "What `from didgen import NAME` gives. Each name is loaded when asked for."]
    for node in ast.parse((ROOT / "didgen" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            lines += [f"::: didgen.{node.module}.{alias.name}" for alias in node.names]
    return "\n\n".join(lines)


GENERATED = {
    "reference/commands.md": commands,
    "reference/recipes.md": recipes,
    "reference/python.md": face,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/, and set the order of all."""
    for source, place in ROOTED.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, place, content=(ROOT / source).read_text()))
    for place, write in GENERATED.items():
        files.append(File.generated(config, place, content=write()))
    pages = [file.src_uri for file in files.documentation_pages()]
    config.nav = [{"didgen": "index.md"}]
    config.nav += [{title: ordered(folder, pages)} for title, folder in SECTIONS.items()]
    config.nav.append({"Glossary": "glossary.md"})
    return files


def ordered(folder: str, pages: list[str]) -> list[str]:
    """The pages of a folder: its README, those that it names in its order, and the others."""
    index = ROOT / "docs" / folder / "README.md"
    text = index.read_text() if index.exists() else ""

    def place(page: str) -> tuple[bool, int, str]:
        name = posixpath.basename(page)
        at = text.find(name)
        return name != "README.md", at if at >= 0 else len(text), page

    return sorted((page for page in pages if page.startswith(f"{folder}/")), key=place)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    here = page.file.src_uri
    sources = {place: source for source, place in ROOTED.items()}
    source = sources.get(here, f"docs/{here}")
    if source == "augment/mini/README.md" or here in sources:
        markdown = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S)

    def linked(found: re.Match[str]) -> str:
        target, anchor = found["target"], found["anchor"] or ""
        if not target or ":" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = ROOTED.get(path) or path.removeprefix("docs/")
        if path not in ROOTED and not path.startswith("docs/"):
            return found["text"].strip("[]")
        if posixpath.join(place, "README.md") in files.src_uris:
            place = posixpath.join(place, "README.md")
        way = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{found['text']}({way}{anchor})"

    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(linked, part) for part in parts[::2]]
    markdown = "".join(parts)
    if here == "reference/README.md":
        for made in GENERATED:
            name = posixpath.basename(made)
            markdown = markdown.replace(f"`{name}`", f"[{name.removesuffix('.md')}]({name})")
    return markdown
