"""The registry: every use by its name. A new one is a line here."""

from didgen.downstream.benchmark.arms.copy_paste import CopyPaste
from didgen.downstream.benchmark.arms.first import First
from didgen.downstream.benchmark.arms.half import Half
from didgen.downstream.benchmark.arms.mixup import Mixup
from didgen.downstream.benchmark.arms.only import Only
from didgen.downstream.benchmark.arms.original import Original, OriginalEpochs
from didgen.downstream.benchmark.arms.replace import Replace
from didgen.downstream.benchmark.arms.reweighted import ClassWeighted, Focal, Oversampled
from didgen.downstream.benchmark.arms.shared_network import SharedNetwork
from didgen.downstream.benchmark.arms.twin import Twin
from didgen.downstream.benchmark.arms.union import Filter, Union
from didgen.downstream.benchmark.arms.use import Use

# The uses of a run stand in the order of their simplicity: of equals, validation takes the first.
_EVERY: tuple[Use, ...] = (
    Original(),
    OriginalEpochs(),
    SharedNetwork(),
    Oversampled(),
    ClassWeighted(),
    Focal(),
    Mixup(),
    CopyPaste(),
    Union(),
    Half(),
    Replace(),
    First(),
    Filter(),
    Twin(),
    Only(),
)

USES: dict[str, Use] = {use.name: use for use in _EVERY}

SIMPLICITY: tuple[str, ...] = tuple(use.name for use in _EVERY if use.role == "use")
"""Uses of a run, the simplest first."""
