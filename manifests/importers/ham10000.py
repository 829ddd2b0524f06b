"""HAM10000: 10,015 images of 7,470 lesions, as Kaggle or the Harvard Dataverse ships them.

The layout is `HAM10000_images_part_1` and `_2` beside `HAM10000_metadata.csv` (Kaggle's archive
holds both folders twice, in lower case too); masks and the test images of ISIC 2018 come from the
Dataverse. Lesion ids are the metadata's (Tschandl et al., Sci. Data 5:180161, 2018). CC-BY-NC-4.0.
"""

from didgen.manifests.importers.collection import Collection, OneHot, Part, Table
from didgen.manifests.importers.isic2018 import METADATA
from didgen.manifests.sources.records import CLASSES

TEST = ("ISIC2018_Task3_Test_GroundTruth.csv",)
"""The Dataverse's table has `dx`, the challenge's seven 0/1 columns."""

COLLECTION = Collection(
    name="ham10000",
    title="HAM10000",
    licence="CC-BY-NC-4.0",
    labels={code.lower(): code for code in CLASSES},
    parts=(
        Part(
            images=("HAM10000_images_part_*", "HAM10000_images"),
            masks=("HAM10000_segmentations_lesion_tschandl",),
            labels=(Table(METADATA, "image_id", "dx"),),
            lesions=(Table(METADATA, "image_id"),),
            lesions_needed=True,
            needs="label",
        ),
        Part(
            "Test",
            images=("ISIC2018_Task3_Test_Images", "ISIC2018_Task3_Test_Input"),
            labels=(Table(TEST, "image_id", "dx"), Table(TEST, "image", OneHot(CLASSES))),
            needs="label",
            split="test",
        ),
    ),
)
