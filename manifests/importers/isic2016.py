"""ISIC 2016: 900 training and 379 test images with masks (Part 1) and malignancy (Part 3).

The layout is that of the challenge's archives. Parts 1, 3 and 3B hold the same images, which are
taken once. The training table has no line of names and says benign or malignant; the test table
says 0.0 or 1.0. Malignant is melanoma there, and benign any other lesion, so that the classes are
MEL and `benign` (Gutman et al., arXiv:1605.01397). There are no ids of lesions. CC0-1.0.
"""

from didgen.manifests.choices import Split
from didgen.manifests.importers.collection import Collection, Part, Table

TRUTH = "ISBI2016_ISIC_Part{}_{}_GroundTruth"


def _part(name: str, split: Split | None) -> Part:
    folders = [f"ISBI2016_ISIC_Part{part}_{name}_Data" for part in ("3", "1", "3B")]
    return Part(
        name,
        images=tuple(folders),
        masks=(TRUTH.format("1", name), folders[2]),
        labels=(
            Table(
                tuple(f"{TRUTH.format(part, name)}.csv" for part in ("3", "3B")),
                "image",
                "label",
                header=("image", "label"),
            ),
        ),
        split=split,
    )


COLLECTION = Collection(
    name="isic2016",
    title="ISIC 2016",
    licence="CC0-1.0",
    labels={"benign": "benign", "malignant": "MEL", "0": "benign", "1": "MEL"},
    parts=(_part("Training", None), _part("Test", "test")),
)
