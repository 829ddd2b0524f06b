"""ISIC 2018: Task 1 masks and Task 3 (HAM10000) diagnoses, from the challenge's own archives.

The layout is that of the archives of challenge.isic-archive.com: a folder of images and one of
ground truth for each task and part. HAM10000's masks and metadata come from its Dataverse. Task 1
is CC0-1.0, Task 3 CC-BY-NC-4.0. Only Task 3's training images show lesions more than once, and only
they have lesion ids.
"""

from pathlib import Path

from didgen.manifests.choices import Split
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.collection import Collection, OneHot, Part, Table
from didgen.manifests.importers.gathering import import_collection
from didgen.manifests.sources.records import CLASSES

PARTS: dict[str, Split | None] = {"Training": None, "Validation": "val", "Test": "test"}
"""The official parts and the split each goes to; the training images are dealt to all three."""

METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")


def _task1(part: str, split: Split | None) -> Part:
    return Part(
        f"Task 1 {part}",
        images=(f"ISIC2018_Task1-2_{part}_Input",),
        masks=(f"ISIC2018_Task1_{part}_GroundTruth",),
        needs="mask",
        split=split,
        source="isic2018-task1",
        licence="CC0-1.0",
    )


def _task3(part: str, split: Split | None) -> Part:
    truth = Table((f"ISIC2018_Task3_{part}_GroundTruth.csv",), "image", OneHot(CLASSES))
    # The metadata describe all of HAM10000, of which a part may lie here.
    metadata = Table(METADATA, "image_id", "dx", complete=False)
    groupings = Table((f"ISIC2018_Task3_{part}_LesionGroupings.csv",), "image")
    training = part == "Training"
    return Part(
        f"Task 3 {part}",
        images=(f"ISIC2018_Task3_{part}_Input",),
        masks=("HAM10000_segmentations_lesion_tschandl",),
        labels=(truth, metadata) if training else (truth,),
        lesions=(groupings, Table(METADATA, "image_id")) if training else (),
        lesions_needed=training,
        needs="label",
        split=split,
        source="isic2018-task3",
        licence="CC-BY-NC-4.0",
    )


COLLECTION = Collection(
    name="isic2018",
    title="ISIC 2018",
    licence="CC-BY-NC-4.0",
    labels={code.lower(): code for code in CLASSES},
    parts=tuple(make(*part) for part in PARTS.items() for make in (_task1, _task3)),
)


def import_isic2018(root: Path, options: ImportOptions | None = None) -> Import:
    """Import whatever official folders `root` holds.

    Task 1 images need a mask, have no label, and each is its own lesion. Task 3 images need a label
    and, in training, a lesion id; a HAM10000 mask is used where there is one, and a faulty mask
    rejects its image in either task. Official validation and test images go to those splits;
    training images are dealt. No such folder, or nothing sound in them, is a `DidgenError`.
    """
    return import_collection(COLLECTION, root, options)
