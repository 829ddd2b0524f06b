"""ISIC 2019: 25,331 training and 8,238 test images of eight classes.

The layout is that of the challenge's archives: images, a table of nine 0/1 columns, and metadata
with the lesion of most training images. HAM10000 and BCN20000 are among them, some images scaled
down and named so. AK is AKIEC; SCC is a class of its own, invasive carcinomas and Bowen's disease
alike. UNK, of test images alone, is no class. CC-BY-NC-4.0.
"""

from didgen.manifests.choices import Split
from didgen.manifests.importers.collection import Collection, OneHot, Part, Table

COLUMNS = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def _part(name: str, split: Split | None) -> Part:
    return Part(
        name,
        images=(f"ISIC_2019_{name}_Input",),
        labels=(Table((f"ISIC_2019_{name}_GroundTruth.csv",), "image", OneHot(COLUMNS)),),
        lesions=(Table((f"ISIC_2019_{name}_Metadata.csv",), "image"),) if split is None else (),
        split=split,
        needs="label",
    )


COLLECTION = Collection(
    name="isic2019",
    title="ISIC 2019",
    licence="CC-BY-NC-4.0",
    labels={name.lower(): name for name in COLUMNS} | {"ak": "AKIEC", "unk": None},
    parts=(_part("Training", None), _part("Test", "test")),
)
