"""Eq. 5 as the paper prints it beside Eq. 5 as didgen has it, on layouts of several sizes.

    python -m benchmarks.normaliser runs/isic2018 --out runs/normaliser

The folder gets `records.jsonl`, one figure a line, and `table.md`. A measurement that was stopped
goes on where it stopped.

Notable choices:
- Layouts are masks of validation images, one a lesion, nearest to each area. A layout has the same
  prompt and the same noise with each normaliser and each eta.
- A failure is a mask whose IoU with its layout is below one half; an empty mask has an IoU of 0.
- Gradients are those of the first step of the sampling, where all latents are noise yet: of L_SA
  alone, and of L_CA + L_SA, which moves the latents.
- Batches are fixed before the work. A pair's last bits hang on its batch, and guided pairs on them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Annotated, get_args

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.heldout import ious
from benchmarks.measure import machine
from benchmarks.records import Records, Row
from didgen.augment.diffusion.denoising import frozen
from didgen.augment.diffusion.guidance import LayoutGuidance, Moment, looking
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.map_reader import MapReader
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.noise import initial_noise
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.prompts.prompt import compose
from didgen.augment.seeds import derived_seed
from didgen.downstream.stats.bootstrap import bootstrap_mean
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.provenance.models import model_hashes, trained_on
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.sampling import Normaliser, Sampling
from didgen.manifests.sources.records import SourceManifest, SourceRecord

NORMALISERS: tuple[Normaliser, ...] = get_args(Normaliser)

FAILURE = 0.5
"""The IoU with its layout below which a mask has failed."""


@dataclass(frozen=True)
class Case:
    """A layout, the area that it was chosen for and its own, as shares of the image."""

    target: float
    area: float
    record: SourceRecord
    layout: Tensor

    @property
    def seed(self) -> int:
        """That of the noise, for each normaliser and eta."""
        return derived_seed("normaliser", self.record.key)

    def row(self) -> Row:
        """What names a layout in a record."""
        return {"target": self.target, "key": self.record.key, "area": round(self.area, 4)}


def choose(source: SourceManifest, side: int, targets: Sequence[float], count: int) -> list[Case]:
    """The `count` validation masks nearest to each area, no lesion twice."""
    records = [r for r in source.select(split="val", masked=True) if r.caption]
    layouts = {r.key: load_mask(source, r, side) for r in records}
    areas = {key: float((layout > 0.5).float().mean()) for key, layout in layouts.items()}
    cases: list[Case] = []
    taken: set[str] = set()
    for target in targets:
        found = 0
        for record in sorted(records, key=lambda r: (abs(areas[r.key] - target), r.key)):
            if found < count and areas[record.key] > 0 and record.lesion_id not in taken:
                layout = layouts[record.key]
                cases.append(Case(target, areas[record.key], record, layout))
                taken.add(record.lesion_id)
                found += 1
    if not cases:
        raise DidgenError("The source has no validation image with a mask and a caption.")
    return cases


def gradient_rows(
    pipeline: LesionPairPipeline, sampling: Sampling, cases: Sequence[Case]
) -> list[Row]:
    """How the gradients of both normalisers lie at the first step, and what each term weighs."""
    pipeline.scheduler = scheduler_of(pipeline, sampling.scheduler)
    pipeline.scheduler.set_timesteps(sampling.steps)
    timestep = pipeline.scheduler.timesteps[0]
    layouts = torch.stack([case.layout for case in cases])
    prompts = [compose(case.record.caption) for case in cases]
    with torch.no_grad():
        embeds, _ = pipeline.texts(prompts)
        condition = pipeline.condition(prompts, embeds, layouts)
    side = pipeline.unet.config.sample_size
    noise = initial_noise(
        [case.seed for case in cases], (pipeline.unet.config.in_channels, side, side)
    )
    latents = noise * pipeline.scheduler.init_noise_sigma
    reader = MapReader(pipeline.unet, pipeline.scheduler, sampling.maps)
    found: dict[tuple[bool, Normaliser], Tensor] = {}
    with frozen(pipeline.unet):
        for both, normaliser in product((False, True), NORMALISERS):
            changed = {"cross_attention": both, "self_attention": True, "normaliser": normaliser}
            guidance = LayoutGuidance(sampling.guidance.model_copy(update=changed))
            moment = Moment(timestep, 1.0)
            with looking(reader, guidance, latents, moment, condition) as look:
                gradient = guidance.gradient(look)
            found[both, normaliser] = gradient.flatten(1).double()
    ours, printed = found[False, "region"], found[False, "paper"]
    cosine = F.cosine_similarity(ours, printed)
    together = F.cosine_similarity(found[True, "region"], found[True, "paper"])
    length = printed.norm(dim=1) / ours.norm(dim=1)
    return [
        {
            "kind": "gradient",
            **case.row(),
            "cosine": float(cosine[place]),
            "cosine_with_l_ca": float(together[place]),
            "length": float(length[place]),
            "lesion_weight": case.area / (1 - case.area),
            "skin_weight": (1 - case.area) / case.area,
        }
        for place, case in enumerate(cases)
    ]


def pair_rows(pipeline: LesionPairPipeline, sampling: Sampling, cases: Sequence[Case]) -> list[Row]:
    """Each layout drawn once as the sampling says, and the IoU of its mask."""
    layouts = torch.stack([case.layout for case in cases])
    prompts = [compose(case.record.caption) for case in cases]
    drawn = draw(pipeline, prompts, [case.seed for case in cases], sampling, layouts)
    assert drawn.separability is not None
    guidance = sampling.guidance
    return [
        {
            "kind": "pair",
            "normaliser": guidance.normaliser,
            "eta": guidance.eta,
            **case.row(),
            "iou": overlap,
            "mask_area": float(drawn.masks[place].mean()),
            "separability": float(drawn.separability[place]),
        }
        for place, (case, overlap) in enumerate(
            zip(cases, ious(drawn.masks, layouts[:, 0].numpy() > 0.5), strict=True)
        )
    ]


def measure(
    pipeline: LesionPairPipeline,
    sampling: Sampling,
    cases: Sequence[Case],
    etas: Sequence[float],
    records: Records,
) -> None:
    """Measure all that is not on record yet, a batch at a time."""
    batches = [
        cases[n : n + sampling.batch_size] for n in range(0, len(cases), sampling.batch_size)
    ]
    for batch in batches:
        if not {case.record.key for case in batch} <= records.of("gradient").keys():
            records.add(gradient_rows(pipeline, sampling, batch))
    for normaliser, eta, batch in product(NORMALISERS, etas, batches):
        named = {"normaliser": normaliser, "eta": eta}
        if {case.record.key for case in batch} <= records.of("pair", **named).keys():
            continue
        begin = perf_counter()
        guidance = sampling.guidance.model_copy(update=named)
        asked = sampling.model_copy(update={"guidance": guidance})
        records.add(pair_rows(pipeline, asked, batch))
        seconds = (perf_counter() - begin) / len(batch)
        print(f"{normaliser}, eta {eta:g}: {seconds:.1f} s a pair", file=sys.stderr)


PAIRS = (
    "layouts of",
    "n",
    "eta",
    *(f"IoU, {normaliser}" for normaliser in NORMALISERS),
    "paper - region (95 %)",
    *(f"failures, {normaliser}" for normaliser in NORMALISERS),
)
GRADIENTS = {
    "area": "area",
    "cosine": "cosine of the gradients, L_SA",
    "cosine_with_l_ca": "L_CA + L_SA",
    "length": "length, paper / region",
    "lesion_weight": "weight of the lesion",
    "skin_weight": "of the skin",
}


def table(records: Records, targets: Sequence[float], etas: Sequence[float]) -> str:
    """The records as two tables of Markdown: masks by area and eta, gradients by area."""
    lines = [PAIRS, ("---",) * len(PAIRS)]
    for target, eta in product((*targets, None), etas):
        wanted = {} if target is None else {"target": target}
        pairs = {n: records.of("pair", normaliser=n, eta=eta, **wanted) for n in NORMALISERS}
        keys = sorted(set.intersection(*({*rows} for rows in pairs.values())))
        if keys:
            overlaps = [np.array([pairs[n][key]["iou"] for key in keys]) for n in NORMALISERS]
            name = "all areas" if target is None else f"{target:.0%}"
            lines.append((name, str(len(keys)), f"{eta:g}", *compared(*overlaps)))
    text = [f"| {' | '.join(cells)} |" for cells in lines] + [""]
    lines = [("layouts of", "n", *GRADIENTS.values()), ("---",) * (len(GRADIENTS) + 2)]
    for target in targets:
        if rows := records.of("gradient", target=target).values():
            means = (float(np.mean([row[name] for row in rows])) for name in GRADIENTS)
            lines.append((f"{target:.0%}", str(len(rows)), *(f"{mean:.3g}" for mean in means)))
    text += [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join(text) + "\n"


def compared(ours: NDArray[np.float64], printed: NDArray[np.float64]) -> tuple[str, ...]:
    """Two normalisers' IoUs of the same layouts, (N,) each, as cells."""
    gained = printed - ours
    interval = bootstrap_mean(gained)
    within = "" if interval is None else f" ({interval[0]:+.3f} to {interval[1]:+.3f})"
    return (
        *(f"{overlaps.mean():.3f}" for overlaps in (ours, printed)),
        f"{gained.mean():+.3f}{within}",
        *(f"{(overlaps < FAILURE).mean():.0%}" for overlaps in (ours, printed)),
    )


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(part) for part in text.split(",")]


def main(
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the records and the table.")],
    model: Annotated[str, typer.Option(help="`mini`, a folder or a hub id.")] = "mini",
    recipe: Annotated[str, typer.Option(help="Recipe whose sampling is taken.")] = "mini-pairs",
    count: Annotated[int, typer.Option(min=1, help="Layouts of each area.")] = 30,
    areas: Annotated[str, typer.Option(help="Areas of layouts, in percent.")] = "2,8,17,39",
    etas: Annotated[str, typer.Option(help="Step lengths of the guidance.")] = "5,20,80",
    steps: Annotated[int | None, typer.Option(min=2, help="Else the recipe's.")] = None,
) -> None:
    """Draw the same layouts with either normaliser of L_SA, and compare the masks."""
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    sampling = read_recipe(recipe, AugmentRecipe).sampling
    if steps is not None:
        sampling = sampling.model_copy(update={"steps": steps})
    pipeline = load_pipeline(model)
    targets, lengths = [area / 100 for area in numbers(areas)], numbers(etas)
    cases = choose(manifest, pipeline.image_size, targets, count)
    setting = {
        "model": fingerprint(model_hashes(model, None)),
        "sampling": sampling.model_dump(mode="json"),
        "layouts": [case.row() for case in cases],
    }
    records = Records(out / "records.jsonl", setting)
    measure(pipeline, sampling, cases, lengths, records)
    reported = f"{model}, {len(cases)} layouts of validation images, {sampling.steps} steps"
    text = f"{reported}; {machine()}\n\n{table(records, targets, lengths)}"
    write_bytes(out / "table.md", text.encode())
    print(text)


if __name__ == "__main__":
    typer.run(main)
