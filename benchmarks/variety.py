"""Settings of the sampling for variety, side by side: how near, how varied, how useful.

    python -m benchmarks.variety runs/isic2018 --weights weights/lite0.safetensors \\
        --judges runs/judge/classify --judges runs/judge/segment --out runs/variety

Each setting draws the images of `mini-images` and the pairs of `mini-pairs`, by the same prompts,
layouts and seeds. `quality` holds them against validation images. `only` trains the networks of
`isic2018-classify-cpu` and `isic2018-segment-cpu` on them alone, and judges these by validation
images: no test image is looked at.

Notable choices:
- A part whose row stands in `OUT/variety.jsonl` is not measured again. A drawing that was stopped
  begins anew, so that its seconds are those of all its samples.
- Variations of real images are measured where they are named alone (`--settings "variations 0.4"`).
  How near they are to the images that they start from is told beside them.
- Seconds are of the drawing alone, with the model loaded: by the clock, and of the processor.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine
from benchmarks.records import Records, Row
from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.generation.run import augment
from didgen.downstream.benchmark.carry_out import Rounds
from didgen.downstream.benchmark.classification.benchmark import Classification
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import BenchmarkRecipe, ClassifyRecipe, SegmentRecipe
from didgen.downstream.benchmark.segmentation.benchmark import Segmentation
from didgen.downstream.benchmark.segmentation.job import prepare_segmentation
from didgen.downstream.benchmark.task import Task
from didgen.downstream.quality.assess import (
    RealImages,
    assess,
    counted,
    look_at_real,
    prepare_quality,
)
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import LEFT_OUT, AugmentRecipe
from didgen.manifests.recipes.reading import read_recipe

SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    # What is cheapest to try: less guidance, or none.
    "cfg 2": {"cfg": 2.0},
    "cfg 1": {"cfg": 1.0},
    "unipc": {"scheduler": "unipc"},
    "dpm++-sde": {"scheduler": "dpm++-sde"},
    # The ends of SDXL in the paper, and all but the highest noise.
    "interval 0.28 to 5.42": {"cfg_interval": [0.28, 5.42]},
    "interval 0 to 5.42": {"cfg_interval": [0, 5.42]},
    "cads 0.1": {"cads": {"noise": 0.1}},
    "cads 0.25": {"cads": {"noise": 0.25}},
    "cads 0.5": {"cads": {"noise": 0.5}},
    "apg": {"apg": {"parallel": 0, "momentum": -0.5}},
    "apg, norm 7.5": {"apg": {"parallel": 0, "norm": 7.5, "momentum": -0.5}},
    "autoguidance": {},
    "interval and cads": {"cfg_interval": [0, 5.42], "cads": {"noise": 0.1}},
}
"""Changes of `sampling`, by name; `autoguidance` takes the weaker model of `--weaker`."""

STRENGTHS = {f"variations {strength}": strength for strength in (0.2, 0.4, 0.6, 0.8)}
"""Variations of real images by their strength, which are measured where they are named."""

FIGURES = {
    "fid_inf": "distance",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "class_fidelity": "class fidelity",
    "mask_fidelity": "mask fidelity",
    "layout_iou": "IoU",
}
"""What is told of an assessment, by its name there; judges' figures are means over the judges."""

RECIPES: dict[Config, str] = {"images": "mini-images", "pairs": "mini-pairs"}


@dataclass
class Study:
    """What is measured: the source, how many samples, by which networks, and what is there."""

    source: Path
    out: Path
    weights: Path
    weaker: Path | None
    judges: Sequence[Path]
    counts: Mapping[Config, int]
    instead: Mapping[str, Any]
    steps: int
    records: Records
    seen: RealImages | None = field(default=None)

    def recipe(self, config: Config, setting: str) -> AugmentRecipe:
        """The recipe of a setting's images or pairs."""
        plain = read_recipe(RECIPES[config], AugmentRecipe)
        changes = dict(SETTINGS.get(setting, {}))
        if setting == "autoguidance":
            changes["autoguidance"] = self.weaker
        sampling = plain.sampling.model_dump(exclude_unset=True) | changes
        classes = 7 - len(LEFT_OUT)
        plans: dict[Config, dict[str, Any]] = {
            "images": {"images": {"per_class": max(1, self.counts["images"] // classes)}},
            "pairs": {"pairs": {"count": self.counts["pairs"], "layouts": "source", "exclude": []}},
        }
        given = {"source": self.source, "sampling": sampling} | plans[config] | dict(self.instead)
        if setting in STRENGTHS:
            given["variations"] = {"strength": STRENGTHS[setting]}
        return read_recipe(RECIPES[config], AugmentRecipe, given)

    def folder(self, setting: str, part: str) -> Path:
        """Where a part of a setting lies."""
        return self.out / setting.replace(" ", "-").replace(",", "") / part

    def find(self, setting: str, part: str) -> Row | None:
        """The row of a part, if it was measured."""
        rows = (
            r for r in self.records.rows if (r.get("kind"), r.get("setting")) == (part, setting)
        )
        return next(rows, None)

    def measure(self, setting: str, part: str, measured: Callable[[], Row]) -> None:
        """Measure a part of a setting unless its row is there."""
        if self.find(setting, part) is None:
            self.records.add([{"kind": part, "setting": setting} | measured()])

    def draw(self, config: Config, setting: str) -> Row:
        """Draw a setting's samples; their seconds, and how many were kept."""
        out = self.folder(setting, config)
        shutil.rmtree(out, ignore_errors=True)
        job = prepare_generation(self.recipe(config, setting))
        clock, processor = time.perf_counter(), time.process_time()
        manifest = augment(job, out)
        assert manifest is not None
        return {
            "seconds": round(time.perf_counter() - clock, 1),
            "processor": round(time.process_time() - processor, 1),
            "samples": manifest.totals.samples,
            "failures": manifest.totals.failures,
            "redraws": manifest.totals.redraws,
            "fingerprint": manifest.fingerprint,
        }

    def quality(self, config: Config, setting: str) -> Row:
        """Hold a setting's samples against validation images."""
        recipe = QualityRecipe(
            real=self.source,
            synthetic=self.folder(setting, config),
            extractor="timm:tf_efficientnet_lite0/2",
            weights=str(self.weights),
            size=128,
            against="val",
            judges=tuple(self.judges),
        )
        job = prepare_quality(recipe)
        # The real images are looked at once for all settings.
        self.seen = self.seen or look_at_real(job, counted(job, None))
        found = assess(job, self.folder(setting, f"quality-{config}"), seen=self.seen)
        row: Row = {"copies": found["copies"]["count"]}
        if varied := found["copies"]["origins"].get("variations"):
            row["copies of the start"] = varied["of_start"]["count"]
            row["similarity to the start"] = round(varied["start_similarity"], 3)
        for name in FIGURES:
            values = [
                one["value"]
                for one in found["figures"]
                if (one["figure"], one["class"]) == (name, None) and one["value"] is not None
            ]
            if values:
                row[name] = statistics.fmean(values)
        return row

    def only(self, config: Config, setting: str) -> Row:
        """Networks that learn from a setting's samples alone, by validation images."""
        name = {"images": "isic2018-classify-cpu", "pairs": "isic2018-segment-cpu"}[config]
        kind: type[BenchmarkRecipe] = ClassifyRecipe if config == "images" else SegmentRecipe
        networks = [network.model_dump() for network in read_recipe(name, kind).networks]
        for network in networks:
            if network["weights"] != "none":
                network["weights"] = str(self.weights)
        given = {
            "source": self.source,
            "runs": {"varied": self.folder(setting, config)},
            "arms": [{"name": "only", "run": "varied", "use": "only"}],
            "networks": networks,
            "real": [None],
            "seeds": [0, 1, 2],
            "search": None,
            "max_steps": self.steps,
            "evaluate_every": self.steps,
        }
        task: Task[Any, Any]
        if config == "images":
            chosen = read_recipe(name, ClassifyRecipe, given)
            task = Classification(prepare_classification(chosen))
        else:
            task = Segmentation(prepare_segmentation(read_recipe(name, SegmentRecipe, given)))
        out = self.folder(setting, f"only-{config}")
        rounds: Rounds[Any] = Rounds(task, out, None)
        rounds.go_on(task.job.trainings)
        # Only their figures on validation images were made: nothing was tested.
        figure = task.told["balanced_accuracy" if config == "images" else "dice"]
        by_network: dict[str, list[float]] = {}
        for training, result in rounds.results.items():
            value = figure(result.figures)
            assert value is not None
            by_network.setdefault(training.network.called, []).append(value)
        return {name: statistics.fmean(values) for name, values in by_network.items()}

    def part(self, name: str, setting: str) -> None:
        """Measure one of `draw`, `quality` and `only`, of images and pairs."""
        for config in RECIPES:
            if self.counts[config]:
                self.measure(setting, f"{name} {config}", self._measured(name, config, setting))

    def _measured(self, name: str, config: Config, setting: str) -> Callable[[], Row]:
        return lambda: {"draw": self.draw, "quality": self.quality, "only": self.only}[name](
            config, setting
        )


def told(study: Study, config: Config, settings: Sequence[str]) -> Table:
    """A table of the settings that were measured, of images or of pairs."""
    rows = {s: _row(study, config, s) for s in settings if study.find(s, f"draw {config}")}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table("setting", *columns, title=config)
    for setting, row in rows.items():
        table.add_row(setting, *(row.get(name, "-") for name in columns))
    return table


def _row(study: Study, config: Config, setting: str) -> dict[str, str]:
    drawn = study.find(setting, f"draw {config}") or {}
    quality = study.find(setting, f"quality {config}") or {}
    only = study.find(setting, f"only {config}") or {}
    row = {word: f"{quality[name]:.3f}" for name, word in FIGURES.items() if name in quality}
    for name in ("copies", "copies of the start", "similarity to the start"):
        if name in quality:
            row[name] = str(quality[name])
    row |= {f"only, {n}": f"{v:.3f}" for n, v in only.items() if n not in ("kind", "setting")}
    row["samples"], row["redraws"] = str(drawn["samples"]), str(drawn["redraws"])
    return row | {name: f"{drawn[name]:.0f}" for name in ("processor", "seconds")}


def chosen_settings(named: str | None, weaker: Path | None) -> list[str]:
    """The settings to measure; DidgenError for one that there is not, or that lacks its model."""
    settings = [name.strip() for name in named.split(";")] if named else list(SETTINGS)
    if named is None and weaker is None:
        settings.remove("autoguidance")
    for name in settings:
        if name not in SETTINGS | STRENGTHS:
            there = "; ".join([*SETTINGS, *STRENGTHS])
            raise DidgenError(f"{name} is none of the settings {there}.")
    if "autoguidance" in settings and weaker is None:
        raise DidgenError("autoguidance takes a weaker model; name its folder by `--weaker`.")
    return settings


def main(
    source: Path,
    weights: Annotated[Path, typer.Option(help="EfficientNet-Lite0's, by `didgen weights lite0`.")],
    out: Annotated[Path, typer.Option()],
    settings: Annotated[str | None, typer.Option(help="Names of settings, by semicolons.")] = None,
    parts: Annotated[str, typer.Option(help="Of draw, quality and only.")] = "draw,quality,only",
    weaker: Annotated[Path | None, typer.Option(help="An earlier checkpoint's model.")] = None,
    judges: Annotated[list[Path] | None, typer.Option(help="Trainings on real images.")] = None,
    images: int = 240,
    pairs: int = 150,
    steps: Annotated[int, typer.Option(help="Of the trainings of `only`.")] = 150,
) -> None:
    """Measure settings of the sampling for variety, and print what is there."""
    counts: dict[Config, int] = {"images": images, "pairs": pairs}
    chosen = chosen_settings(settings, weaker)
    records = Records(out / "variety.jsonl", {"counts": counts, "steps": steps, "of": str(source)})
    study = Study(source, out, weights, weaker, judges or [], counts, {}, steps, records)
    console = Console()
    for setting in chosen:
        for part in parts.split(","):
            study.part(part.strip(), setting)
    for config in RECIPES:
        console.print(told(study, config, [*SETTINGS, *STRENGTHS]))
    console.print(machine())


if __name__ == "__main__":
    typer.run(main)
