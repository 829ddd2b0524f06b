"""Tests of tidy: strays go, nothing of them is lost, and a run's own files stay."""

from pathlib import Path

from didgen.manifests.locks import claimed
from didgen.manifests.runs.tidy import strays, tidy


def names(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def lay(directory: Path, *files: str) -> None:
    for name in files:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


OWN = (
    "images/_info.json",
    "images/images-000000.json",
    "images/images-000000.tar",
    "manifest.json",
    "run.json",
)


def test_a_clean_run_has_no_strays(tmp_path: Path) -> None:
    lay(tmp_path, *OWN)
    assert strays(tmp_path, {"images": 1}) == []


def test_strays_are_removed_or_set_aside(tmp_path: Path) -> None:
    lay(tmp_path, *OWN)
    lay(
        tmp_path,
        "manifest.json.host-1-ab.tmp",
        "sheets/images.png.host-1-ab.tmp",
        "images/images-000000.tar.host-1-ab.tmp",
        "images/images-000001.tar",
        "images/notes.txt",
        "pairs/deep/notes.txt",
        "pairs/pairs-000000.json",
        "set-aside/images/notes.txt",
        ".locks/images-000000.lock",
    )
    found = strays(tmp_path, {"images": 1})
    assert len(found) == 8
    # What a killed export left there is a folder.
    folder = tmp_path / "images" / "out.host-1-ab.tmp"
    folder.mkdir()
    tidy(tmp_path, [*found, folder])
    assert (tmp_path / "set-aside" / "images" / folder.name).is_dir()
    assert names(tmp_path) == sorted(
        [
            *OWN,
            "set-aside/images/images-000001.tar",
            "set-aside/images/notes.txt",
            "set-aside/images/notes.txt-2",
            "set-aside/pairs/deep/notes.txt",
            "set-aside/pairs/pairs-000000.json",
        ]
    )
    assert (tmp_path / "set-aside/images/notes.txt-2").read_text() == "images/notes.txt"
    assert strays(tmp_path, {"images": 1}) == []


def test_a_file_in_anothers_hand_stays(tmp_path: Path) -> None:
    lay(tmp_path, *OWN, "images/images-000000.tar.host-1-ab.tmp")
    with claimed(tmp_path, "images-000000"):
        before = names(tmp_path)
        tidy(tmp_path, strays(tmp_path, {"images": 1}))
        assert names(tmp_path) == before
    tidy(tmp_path, strays(tmp_path, {"images": 1}))
    assert strays(tmp_path, {"images": 1}) == []
