"""PH2: 200 images of melanocytic lesions with masks, of the Hospital Pedro Hispano.

The layout is that of its archive: `IMD002/IMD002_Dermoscopic_Image/IMD002.bmp`, the mask in
`IMD002_lesion`, and `PH2_dataset.txt`, a table parted by double bars whose clinical diagnosis is 0
(common nevus), 1 (atypical nevus) or 2 (melanoma) (Mendonca et al., EMBC 2013). Its terms allow
research and education, and no redistribution. There are no ids of patients.
"""

from pathlib import Path

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_file
from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.tables import Line, RawTable, Row

NAMES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}


def read_ph2(path: Path) -> RawTable:
    """Read the lines between double bars that name an image and its diagnosis."""
    rows = []
    for number, line in enumerate(read_file(path).decode("latin-1").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) > 3 and cells[1].upper().startswith("IMD"):
            label = NAMES.get(cells[3], cells[3])
            rows.append(Row({"name": cells[1], "diagnosis": label}, Line(path, number)))
    if not rows:
        raise DidgenError(f"{path} has no line of an image IMD...; restore it as PH2 ships it.")
    return RawTable(path, {"name": "Name", "diagnosis": "Clinical Diagnosis"}, rows)


COLLECTION = Collection(
    name="ph2",
    title="PH2",
    licence="PH2: research and education only, no redistribution",
    labels={"common nevus": "NV", "atypical nevus": "NV", "melanoma": "MEL"},
    parts=(
        Part(
            images=("*_Dermoscopic_Image",),
            masks=("*_lesion",),
            labels=(Table(("PH2_dataset.txt",), "name", "diagnosis", read=read_ph2),),
            needs="label",
        ),
    ),
)
