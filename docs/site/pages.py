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
import html
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

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

RECIPES_HEAD = """# Recipes

A recipe is a YAML 1.2 file. `kind` names its command, and a field that is left out has the default
that is given here. `didgen COMMAND RECIPE --dry-run` prints a recipe with every default.
[Bundled recipes](bundled-recipes.md) may be copied.

Kinds of values:"""

FACE_HEAD = """# Python

What `from didgen import NAME` gives; a name is loaded when it is asked for. The fields of recipes
are on [a page of their own](recipes.md)."""

FENCED = re.compile(r"(^```.*?^```$)", re.M | re.S)
LINK = re.compile(
    r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)"
)


def commands() -> str:
    """Every command with its options, as Typer writes them down."""
    call = [sys.executable, "-m", "typer", "didgen.cli", "utils", "docs", "--name", "didgen"]
    written = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # Typer escapes apostrophes for HTML, and `[a][, b]` would be a link by reference.
    written = html.unescape(written).replace("][", "]\\[")
    written = re.sub(r"^Example: (.*(?:\n(?!\n).+)*)", example, written, flags=re.M)
    return written.replace("# `didgen`", "# Commands", 1)


def example(found: re.Match[str]) -> str:
    """An example of a command's help as a block of code, in one line."""
    return f"\n```sh\n{' '.join(found[1].split())}\n```"


def recipes() -> str:
    """Every section of a recipe with its fields: each room's, the recipe before its parts."""
    lines = [RECIPES_HEAD]
    fields = ast.parse((ROOT / "manifests" / "recipes" / "fields.py").read_text()).body
    lines += [
        f"- `{ast.unparse(node.targets[0])}`: `{ast.unparse(node.value)}`"
        for node in fields
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
    ]
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            found = [node for node in ast.parse(file.read_text()).body if is_section(node)]
            for node in sorted(found, key=lambda node: not node.name.endswith("Recipe")):
                lines += section(node)
    return "\n\n".join(lines)


def is_section(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    """Whether a statement defines a section of a recipe."""
    bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return any(base == "Section" or base.endswith("Recipe") for base in bases)


def section(node: ast.ClassDef) -> Iterator[str]:
    """A section's heading, what it is, and each field with kind, default and reason."""
    yield f"## {node.name}"
    yield ast.get_docstring(node) or ""
    (base,) = (ast.unparse(base) for base in node.bases)
    if base != "Section":
        yield f"It has the fields of [{base}](#{base.lower()}), and:"
    for place, field in enumerate(node.body):
        if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) != "model_config":
            behind = node.body[place + 1] if place + 1 < len(node.body) else None
            reason = ""
            if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                reason = " ".join(str(behind.value.value).split())
            yield f"- `{ast.unparse(field)}`" + (f"<br>{reason}" if reason else "")


def face() -> str:
    """The public names, by the module that holds them."""
    lines = [FACE_HEAD]
    for node in ast.parse((ROOT / "didgen" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if not alias.name.endswith("Recipe")]
            lines += [f"::: didgen.{node.module}.{name}" for name in names]
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
    config.nav = [{"Home": "index.md"}]
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
