"""Tests of the part of a model: finished or not, with its log and its last sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didgen.downstream.report.blocks import Facts, Figure, Fold, Notice
from didgen.downstream.report.training import newest_sheets, training_part
from didgen.manifests.files import write_json
from didgen.manifests.runs.claim import start_run
from tests.fixtures.logs import write_log


def test_a_model_has_its_recipe_curves_and_last_sheet(tmp_path: Path) -> None:
    recipe = {"kind": "finetune", "model": "some/model", "steps": 20, "lora": None}
    start_run(tmp_path, fingerprint="f", recipe=recipe)
    write_log(
        tmp_path / "logs", {"autoencoder/loss": [(1, 2.0)], "unet/loss": [(1, 1.0), (2, 0.5)]}
    )
    write_json(tmp_path / "decisions.json", {"device": "cpu, because"})
    (tmp_path / "sheets").mkdir()
    for step, level in ((10, 0), (20, 200)):
        pixels = np.full((8, 8, 3), level, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "sheets" / f"step-{step:07d}.png")

    blocks = training_part(tmp_path).blocks
    (notice,) = [b.text for b in blocks if isinstance(b, Notice)]
    assert notice.startswith("This training is not finished")
    folded = [inner for b in blocks if isinstance(b, Fold) for inner in b.blocks]
    facts = dict(i for b in (*blocks, *folded) if isinstance(b, Facts) for i in b.items)
    assert facts == {"model": "some/model", "steps": "20", "device": "cpu, because"}
    shown = [block for block in blocks if isinstance(block, Figure)]
    assert shown[1].alt == "Curves of unet by step: loss from 1 to 0.5."
    assert "with the weights of step 20" in shown[2].alt

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    (tmp_path / "sheets" / "step-0000020.png").write_bytes(b"torn")
    (notice,) = [b.text for b in training_part(tmp_path).blocks if isinstance(b, Notice)]
    assert "step-0000020.png is truncated or not an image" in notice


@pytest.mark.parametrize(
    ("method", "files", "newest", "told"),
    [
        (
            "stylegan",
            [
                "stylegan-0-step-0000010.png",
                "stylegan-0-step-0000020.png",
                "stylegan-1-step-0000010.png",
            ],
            {
                "stylegan-0": "stylegan-0-step-0000020.png",
                "stylegan-1": "stylegan-1-step-0000010.png",
            },
            "Images of each class",
        ),
        (
            "pgan",
            [f"pgan-0-level-{level}-step-{9 - level:07d}.png" for level in (0, 1, 2)],
            {"pgan-0": "pgan-0-level-2-step-0000007.png"},
            "Images of each class",
        ),
        ("pix2pixhd", ["step-0000010.png"], {"": "step-0000010.png"}, "Images of training masks"),
        ("controlnet", ["step-0000010.png"], {"": "step-0000010.png"}, "masks of the validation"),
    ],
)
def test_rivals_have_the_newest_sheet_of_each_net(
    tmp_path: Path, method: str, files: list[str], newest: dict[str, str], told: str
) -> None:
    start_run(tmp_path, fingerprint="f", recipe={"kind": "finetune", "method": method})
    (tmp_path / "sheets").mkdir()
    for name in files:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "sheets" / name)
    found = newest_sheets(tmp_path / "sheets")
    assert {net: path.name for net, path in found.items()} == newest
    shown = [block for block in training_part(tmp_path).blocks if isinstance(block, Figure)]
    assert len(shown) == len(newest) and all(told in one.alt for one in shown)
    assert not any("white" in one.caption for one in shown)
    for net, figure in zip(newest, shown, strict=True):
        assert figure.caption.startswith(f"{net}, after step" if net else "After step")
