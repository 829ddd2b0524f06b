"""The house itself: licence, lock, layers, Makefile, and what the wheel carries."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import didgen
from tests.fixtures.imports import ROOMS, imports, module_of

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
MAY_IMPORT = {
    "manifests": {"manifests"},
    "augment": {"augment", "manifests"},
    "downstream": {"downstream", "manifests"},
}
HEAVY = {"accelerate", "diffusers", "timm", "torch", "torchmetrics", "torchvision", "transformers"}


def own_files() -> list[Path]:
    """Every file git tracks or would track; without git, as in an sdist, the test is skipped."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this copy of the sources is no git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [REPOSITORY / name for name in listed.split("\0") if name]
    return [file for file in files if file.is_file()]


def lines_with(pattern: str) -> list[str]:
    found = []
    for file in own_files():
        data = file.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    return found


def room_modules() -> list[Path]:
    return [file for room in ROOMS for file in sorted((REPOSITORY / room).rglob("*.py"))]


def import_graph() -> dict[str, set[str]]:
    """Who imports whom among the modules of the rooms."""
    files = {module_of(file): file for file in room_modules()}
    return {
        name: {
            target if target in files else target.rpartition(".")[0]
            for target in imports(file)
            if target in files or target.rpartition(".")[0] in files
        }
        for name, file in files.items()
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some circle of a graph; empty where it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def declared(*extras: str) -> list[Requirement]:
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


def locked() -> dict[str, list[Requirement]]:
    """Pins of the lock by canonical name; one name may have a pin for each platform."""
    pins: dict[str, list[Requirement]] = {}
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            pin = Requirement(line)
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def test_no_file_names_a_package_registry() -> None:
    # In pieces, so that this file does not name them itself.
    pieces = [
        ("pypi", "org"),
        ("pypi", "nvidia", "com"),
        ("pythonhosted", "org"),
        ("anaconda", "org"),
        ("download", "pytorch", "org"),
    ]
    assert not lines_with("|".join(re.escape(".".join(host)) for host in pieces))


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert not lines_with(r"(?<![\w.:/-])/(home/|root/\.|Users/|work/)")


def test_the_lock_holds_pins_and_nothing_else() -> None:
    for pins in locked().values():
        for pin in pins:
            assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is no pin"
            assert not pin.url


def test_the_lock_is_made_from_this_pyproject() -> None:
    pins = locked()
    for requirement in declared("test", "docs"):
        for pin in pins.get(canonicalize_name(requirement.name), [None]):
            assert pin, f"{requirement} is not in requirements.lock; run `make lock`"
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version), f"{pin}: run `make lock`"
    text = (REPOSITORY / "requirements.lock").read_text()
    wanted = re.findall(r"^([\w.-]+)==\S+.*\n(?:    #.*\n)*?    #.*didgen \(", text, re.M)
    assert {canonicalize_name(name) for name in wanted} == {
        canonicalize_name(requirement.name) for requirement in declared("test", "docs")
    }


def test_the_import_package_is_one_tree_with_the_rooms() -> None:
    """`didgen/ROOM` is a link, so that there is no second copy and no import hook."""
    for name in (*ROOMS, "cli.py"):
        assert (REPOSITORY / "didgen" / name).readlink() == Path("..") / name
    own = {"__init__.py", "__init__.pyi", "py.typed"}
    assert {f.name for f in own_files() if f.parent == REPOSITORY / "didgen"} - {"cli.py"} == own


def test_the_public_face_names_what_is_there_and_loads_it_late() -> None:
    assert len(didgen.__all__) == len({*didgen.__all__}) > 10
    for name in didgen.__all__:
        assert getattr(didgen, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        getattr(didgen, "nothing")  # noqa: B009 - the type checker knows that there is none
    code = "import sys, didgen; print(sorted({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    own = {*ROOMS, "cli", "tests", "benchmarks"}
    for file in sorted((REPOSITORY / room).rglob("*.py")):
        for name in imports(file):
            top, _, inner = name.partition(".")
            assert top not in own, f"{file} imports {name}, not didgen.{name}"
            if top == "didgen":
                assert inner.partition(".")[0] in MAY_IMPORT[room], f"{file} imports {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circle(import_graph())


def test_no_packages_import_each_other_in_a_circle() -> None:
    packages: dict[str, set[str]] = {}
    for name, targets in import_graph().items():
        # A room's door stands above its inner rooms, and its other modules below them.
        here = name if name.endswith(".commands") else name.rpartition(".")[0]
        there = {target.rpartition(".")[0] for target in targets}
        packages.setdefault(here, set()).update(there - {here})
    assert not circle(packages)


def test_manifests_name_no_heavy_library() -> None:
    for file in sorted((REPOSITORY / "manifests").rglob("*.py")):
        assert not HEAVY.intersection(name.partition(".")[0] for name in imports(file)), file


def test_manifests_load_no_torch_through_others() -> None:
    files = sorted((REPOSITORY / "manifests").rglob("*.py"))
    modules = {module_of(file) for file in files}
    code = f"import sys, {', '.join(sorted(modules))}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    loaded = set(result.stdout.split())
    assert modules <= loaded and len(modules) > 40
    assert not HEAVY & loaded


def test_what_is_imported_is_declared() -> None:
    known = {canonicalize_name(need.name) for need in declared(*PROJECT["optional-dependencies"])}
    distributions = packages_distributions()
    for file in [*room_modules(), REPOSITORY / "cli.py"]:
        tops = {name.partition(".")[0] for name in imports(file)}
        for name in tops - {"didgen", *sys.stdlib_module_names}:
            makers = {canonicalize_name(maker) for maker in distributions.get(name, [name])}
            assert makers & known, f"{file.name} imports {name}, not declared in pyproject.toml"


def test_a_folder_has_few_modules() -> None:
    folders = Counter(file.parent for file in room_modules() if file.name != "__init__.py")
    assert not {str(folder): count for folder, count in folders.items() if count > 15}


def test_every_package_says_what_it_holds() -> None:
    for file in room_modules():
        assert ast.get_docstring(ast.parse(file.read_text())), f"{file} has no docstring"
        assert (file.parent / "__init__.py").is_file(), f"{file.parent} is no package"


def test_modules_are_short() -> None:
    lengths = {str(file): len(file.read_text().splitlines()) for file in room_modules()}
    assert not {file: length for file, length in lengths.items() if length > 400}
    assert len((REPOSITORY / "cli.py").read_text().splitlines()) <= 150


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function of the rooms as `FILE:NAME`."""
    for file in room_modules():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{file.relative_to(REPOSITORY)}:{node.name}", node


def test_functions_are_short() -> None:
    lengths = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}  # type: ignore[operator]
    assert not {name: length for name, length in lengths.items() if length > 60}


FIXED = {"augment/diffusion/pipeline.py:__call__", "augment/diffusion/kinds.py:__init__"}
"""Functions whose parameters diffusers fixed: the call of a pipeline, and its parts."""


def test_functions_take_few_parameters() -> None:
    over = {}
    for name, node in functions():
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(one.arg not in ("self", "cls") for one in given)
        # Typer's options are parameters.
        if count > 6 and "/commands.py:" not in name and name not in FIXED:
            over[name] = count
    assert not over


def test_tests_mirror_the_rooms() -> None:
    for room in ROOMS:
        for file in sorted((REPOSITORY / "tests" / room).rglob("test_*.py")):
            place = file.relative_to(REPOSITORY / "tests")
            module = REPOSITORY / place.with_name(place.name.removeprefix("test_"))
            assert module.is_file(), f"{file} tests no module: there is no {module}"


def test_the_licence_is_the_whole_apache_text() -> None:
    digest = hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PROJECT["license-files"] == ["LICENSE"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"].split(" AND ")[0]
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == [
        "Shentu",
        "Watson",
        "Al Moubayed",
    ]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with this repository's Makefile in a folder that holds a copy of what it needs."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        if not (folder / name).exists():
            shutil.copy(REPOSITORY / name, folder)
    # A make that runs these tests hands its own flags down in the environment.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)


def test_make_alone_lists_every_target(tmp_path: Path) -> None:
    result = make(tmp_path)
    phony = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert phony
    listed = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert listed.keys() == set(phony[1].split())
    assert all(listed.values())


@pytest.mark.parametrize(
    ("script", "found"),
    [("#!/bin/sh\n[ $1 = --version ] && echo Python 3.9.2\n", "Python 3.9.2"), (None, "not found")],
)
def test_an_old_or_missing_python_is_one_clear_sentence(
    script: str | None, found: str, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    result = make(tmp_path, "install", f"PYTHON={python}")
    assert result.returncode != 0
    sentence = result.stderr.splitlines()[0]
    assert sentence.startswith("didgen needs Python 3.11 or newer")
    assert found in sentence
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("source", ["requirements.lock", "pyproject.toml"])
def test_install_is_due_once_and_again_when_its_source_changes(source: str, tmp_path: Path) -> None:
    assert make(tmp_path, "--question", "install").returncode == 1
    stamp = tmp_path / ".venv" / ".installed"
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "uv").touch()
    stamp.touch()
    assert make(tmp_path, "--question", "install").returncode == 0
    later = stamp.stat().st_mtime + 10
    os.utime(tmp_path / source, (later, later))
    assert make(tmp_path, "--question", "install").returncode == 1


def test_the_ci_script_parses_and_may_run() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_pre_commit_runs_tools_the_lock_names() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    makers = {
        script.name: canonicalize_name(script.dist.name)
        for script in entry_points(group="console_scripts")
        if script.dist
    }
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            tool = Path(hook["entry"].split()[0]).name
            assert makers.get(tool, tool) in locked()


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.name
)
def test_workflows_run_targets_that_there_are(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    targets = set(re.findall(r"^([a-z-]+):.*##", (REPOSITORY / "Makefile").read_text(), re.M))
    # Rights are given one by one; `on` is the truth to YAML 1.1.
    assert workflow["permissions"] == {"contents": "read"} and workflow[True]
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            called = re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
            assert targets.issuperset(called), f"{file.name} runs {called}"
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[\w./-]+", step["uses"])


def test_the_release_of_this_version_is_told() -> None:
    for name in ("CHANGELOG.md", "UPGRADING.md"):
        headings = re.findall(r"^## (.*)$", (REPOSITORY / name).read_text(), re.M)
        assert any(PROJECT["version"] in heading for heading in headings), name
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    dated = rf"^## \[{re.escape(PROJECT['version'])}\] - {citation['date-released']}$"
    assert re.search(dated, (REPOSITORY / "CHANGELOG.md").read_text(), re.M)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of all that git tracks, links as links."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "sources"
    for file in own_files():
        target = copy / file.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target, follow_symlinks=False)
    for room in ROOMS:
        (copy / "didgen" / room).symlink_to(Path("..") / room)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, copy], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_carries_the_rooms_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {file.relative_to(REPOSITORY) for file in own_files()}
    inside = {f"didgen/{path}" for path in files if path.parts[0] in (*ROOMS, "cli.py")}
    assert packed == inside | {
        f"didgen/{name}" for name in ("__init__.py", "__init__.pyi", "py.typed")
    }


@pytest.mark.slow
def test_the_wheel_works_among_modules_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """Whoever has a folder `manifests` of his own imports and runs didgen beside it."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Dependencies come from this environment; didgen itself is found in the new one first.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others))
    work = tmp_path / "work"
    (work / "manifests").mkdir(parents=True)
    for name in ("manifests/__init__.py", "augment.py", "cli.py", "downstream.py"):
        (work / name).write_text(f"OWN = {name!r}\n")
    code = (
        "import augment, cli, downstream, manifests, didgen, didgen.cli\n"
        "from didgen import LesionPairPipeline, read_recipe\n"
        "assert manifests.OWN == 'manifests/__init__.py' and augment.OWN == 'augment.py'\n"
        "print(didgen.__file__)\n"
    )
    python = environment / "bin" / "python"

    def run(*arguments: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        result = subprocess.run(
            [python, *arguments], cwd=work, env=clean, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert Path(run("-c", code).strip()).is_relative_to(packages)
    assert "Synthetic samples" in run("-m", "didgen.cli", "--help")
    assert "images: 24 samples" in run("-m", "didgen.cli", "augment", "demo", "--dry-run")
