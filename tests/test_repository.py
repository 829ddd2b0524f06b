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
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ROOMS = ("augment", "downstream", "manifests")
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


def imports(file: Path) -> Iterator[str]:
    """Top-level names of all that a module imports anywhere, also inside its functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


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
    for requirement in declared("test"):
        for pin in pins.get(canonicalize_name(requirement.name), [None]):
            assert pin, f"{requirement} is not in requirements.lock; run `make lock`"
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version), f"{pin}: run `make lock`"
    text = (REPOSITORY / "requirements.lock").read_text()
    wanted = re.findall(r"^([\w.-]+)==\S+.*\n(?:    #.*\n)*?    #.*didgen \(", text, re.M)
    assert {canonicalize_name(name) for name in wanted} == {
        canonicalize_name(requirement.name) for requirement in declared("test")
    }


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    own = {*ROOMS, "cli", "tests"}
    for file in sorted((REPOSITORY / room).rglob("*.py")):
        assert own.intersection(imports(file)) <= MAY_IMPORT[room], file


def test_manifests_name_no_heavy_library() -> None:
    for file in sorted((REPOSITORY / "manifests").rglob("*.py")):
        assert not HEAVY.intersection(imports(file)), file


def test_manifests_load_no_torch_through_others() -> None:
    modules = [f"manifests.{file.stem}" for file in sorted((REPOSITORY / "manifests").glob("*.py"))]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    loaded = set(result.stdout.split())
    assert set(modules) - {"manifests.__init__"} <= loaded
    assert not HEAVY & loaded


def test_what_is_imported_is_declared() -> None:
    known = {canonicalize_name(need.name) for need in declared(*PROJECT["optional-dependencies"])}
    distributions = packages_distributions()
    for file in [*room_modules(), REPOSITORY / "cli.py"]:
        for name in set(imports(file)) - {*ROOMS, *sys.stdlib_module_names}:
            makers = {canonicalize_name(maker) for maker in distributions.get(name, [name])}
            assert makers & known, f"{file.name} imports {name}, not declared in pyproject.toml"


def test_modules_are_short() -> None:
    lengths = {str(file): len(file.read_text().splitlines()) for file in room_modules()}
    assert not {file: length for file, length in lengths.items() if length > 400}


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
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert Path(hook["entry"].split()[0]).name in locked()


@pytest.mark.slow
def test_the_wheel_carries_the_rooms_whole_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "sources"
    for file in own_files():
        target = copy / file.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, copy], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    rooms = {file.relative_to(REPOSITORY) for file in own_files()}
    assert packed == {str(path) for path in rooms if path.parts[0] in (*ROOMS, "cli.py")}
