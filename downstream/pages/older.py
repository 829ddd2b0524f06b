"""Older records of benchmarks, as the pages of today read them.

Records without a `format` are of benchmarks whose uses were compared on the test images. Their
units were lesions, and their arms have neither scope nor figures on validation images.
"""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "lesions": "units",
    "over_lesions": "over_units",
    "balanced_accuracy_over_lesions": "interval",
    "dice_over_lesions": "interval",
}


def of_today(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """What `benchmark.json` holds, in the names of today."""
    if "format" in benchmark:
        return dict(benchmark)
    arms = [{"scope": "-", **_renamed(arm)} for arm in benchmark["arms"]]
    comparisons = [_renamed(one) for one in benchmark["comparisons"]]
    told = _renamed(benchmark) | {"unit": "lesion", "arms": arms, "comparisons": comparisons}
    if "scales" in benchmark:
        told["scales"] = [
            {**scale, "filters": [scale["filter"]] if scale.get("filter") else []}
            for scale in benchmark["scales"]
        ]
    return told


def _renamed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in record.items()}
