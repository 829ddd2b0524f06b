"""The remake: one sample of a run drawn again from its record, to the same bytes."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from didgen.augment.device import choose_device
from didgen.augment.generation.prepare import GenerationJob, check_begun
from didgen.augment.generation.samples import draw_batch, pack
from didgen.augment.methods.generator import Planned
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.privacy.paths import restored_recipe
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.shards.index import read_run
from didgen.manifests.shards.shard import Sample, read_sidecars

PLANNED = [field.name for field in fields(Planned)]
"""What a row keeps of the plan."""


def recipe_of(out: Path) -> AugmentRecipe:
    """The recipe that a run directory was begun with; its batch size is the default one.

    A run that does not record where its inputs lie is a `DidgenError`.
    """
    recipe = restored_recipe(read_run(out).recipe, out)
    if recipe is None:
        raise DidgenError(
            f"{out} does not record where its inputs lie; name the recipe it was made with."
        )
    try:
        return AugmentRecipe.model_validate(recipe)
    except ValidationError:
        raise DidgenError(
            f"{out} holds no recipe of `didgen augment`; name the recipe it was made with."
        ) from None


def remake(job: GenerationJob, out: Path, key: str) -> Sample:
    """Draw a sample of the run directory `out` again, from its row and the recipe.

    The whole batch that its row names is drawn, at the try that was kept: a sample's bits hang on
    what it is multiplied together with. They are those in the shard on the same stack (the
    versions, device and threads that its sidecar lists). The shard itself is not read.

    Raises DidgenError for a run of another recipe or model, and for a key that no sample has.
    """
    check_begun(out)
    if read_run(out).fingerprint != job.fingerprint:
        raise DidgenError(
            f"{out} is a run of another recipe, model or data; name the recipe it was made with "
            "and restore its inputs."
        )
    for config in job.plan:
        for sidecar in read_sidecars(out, config):
            rows = {row["key"]: row for row in sidecar.rows}
            if row := rows.get(key):
                if row["status"] == "failed":
                    raise DidgenError(f"{key} is in no shard of {out}: {row['reason']}.")
                return _redrawn(job, rows, row)
    raise DidgenError(f"{out} has no sample {key}; `didgen inspect` tells of its keys.")


def _redrawn(job: GenerationJob, rows: dict[str, dict[str, Any]], row: dict[str, Any]) -> Sample:
    batch = [planned_of(rows[key]) for key in row["batch"]]
    device = choose_device(job.recipe.sampling.mixed_precision)
    job.generator.to(device)
    drawn = draw_batch(job, batch, row["redraws"], device)
    one = next(one for one in drawn if one.planned.key == row["key"])
    return pack(one, row["rejected"], job)


def planned_of(row: dict[str, Any]) -> Planned:
    """The plan of a sample that its row keeps; of a row without `start`, one from noise alone."""
    return Planned(**{name: row[name] for name in PLANNED if name != "start" or name in row})


def write_members(sample: Sample, folder: Path) -> list[Path]:
    """Write a sample as files of a folder, named as in its shard."""
    paths = [folder / f"{sample.key}.{extension}" for extension in sorted(sample.members)]
    for path in paths:
        write_bytes(path, sample.members[path.name.removeprefix(f"{sample.key}.")])
    return paths
