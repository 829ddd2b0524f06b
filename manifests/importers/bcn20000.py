"""BCN20000: 12,413 labelled images of the Hospital Clinic of Barcelona, of eight classes.

The layout is that of its figshare archive: `BCN_20k_train` beside `bcn_20k_train.csv`, which has
the lesion of each image (Hernandez-Perez et al., Sci. Data 11:641, 2024). AK is AKIEC, SCC a class
of its own. The test images have no diagnosis, and are passed by. CC-BY-NC-4.0.
"""

from didgen.manifests.importers.collection import Collection, Part, Table
from didgen.manifests.importers.finding.diagnoses import DIAGNOSES

CODES = ("MEL", "NV", "BCC", "BKL", "DF", "VASC", "SCC")

COLLECTION = Collection(
    name="bcn20000",
    title="BCN20000",
    licence="CC-BY-NC-4.0",
    labels={**DIAGNOSES, **{code.lower(): code for code in CODES}, "ak": "AKIEC", "scar": None},
    parts=(
        Part(
            images=("BCN_20k_train",),
            labels=(Table(("bcn_20k_train.csv",), "bcn_filename", "diagnosis"),),
            needs="label",
        ),
    ),
)
