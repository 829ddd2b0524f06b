"""What tutorials show runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.fixtures.documents import executed

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "pair-in-python.md"


def test_a_pair_takes_fifteen_lines() -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.slow
def test_the_notebook_leaves_a_pair_whose_mask_is_near_its_layout(tmp_path: Path) -> None:
    executed(PAGE, tmp_path)
    image, found = Image.open(tmp_path / "lesion.jpg"), Image.open(tmp_path / "lesion.png")
    assert image.size == found.size == (256, 256)
    layout = Image.new("L", (256, 256))
    ImageDraw.Draw(layout).ellipse((70, 60, 190, 180), fill=255)
    one, other = np.asarray(found) > 0, np.asarray(layout) > 0
    assert (one & other).sum() / (one | other).sum() > 0.6
    # The lesion that was drawn is darker than the skin around it.
    grey = np.asarray(image.convert("L"), float)
    assert grey[one].mean() < grey[~one].mean() - 10
