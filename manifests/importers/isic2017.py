"""ISIC 2017: 2000 training, 150 validation and 600 test images with masks and diagnoses.

The layout is that of the challenge's archives: images with maps of superpixels among them, masks
(Part 1), and a table of two 0/1 columns (Part 3). An image that is neither melanoma nor seborrheic
keratosis is a nevus (Codella et al., arXiv:1710.05006). There are no ids of lesions. CC0-1.0.
"""

from didgen.manifests.choices import Split
from didgen.manifests.importers.collection import Collection, OneHot, Part, Table


def _part(name: str, split: Split | None) -> Part:
    truth = Table(
        (f"ISIC-2017_{name}_Part3_GroundTruth.csv",),
        "image_id",
        OneHot(("melanoma", "seborrheic_keratosis"), otherwise="nevus"),
    )
    return Part(
        name.replace("_v2", ""),
        images=(f"ISIC-2017_{name}_Data", f"ISIC-2017_{name.replace('_v2', '')}_Data"),
        masks=(f"ISIC-2017_{name}_Part1_GroundTruth",),
        labels=(truth,),
        split=split,
    )


COLLECTION = Collection(
    name="isic2017",
    title="ISIC 2017",
    licence="CC0-1.0",
    labels={"melanoma": "MEL", "seborrheic_keratosis": "BKL", "nevus": "NV"},
    parts=(_part("Training", None), _part("Validation", "val"), _part("Test_v2", "test")),
)
