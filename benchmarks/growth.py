"""Growth: what each stage of a run takes as its samples grow in number, each in its own process.

python -m benchmarks.growth --samples 100 10000 1000000 --out /path/on/the/disk/to/measure

The samples are about 1 kB each and nothing is drawn: what remains is the work around the drawing.
A stage's processor time begins after its imports, so that ratios between sizes are those of the
work. Its peak memory is the largest resident set of its process, the program included; where Ray
has workers, it and the processor time are those of the process that hands out the shards. The stage
`augment-ray` needs a cluster: `ray start --head --num-cpus 2`.
"""

import argparse
import json
import math
import multiprocessing
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from didgen.manifests.choices import Config, ExportForm, Split
from didgen.manifests.images import encoded
from didgen.manifests.shards.shard import Failure, Sample, Stamp, write_shard

if TYPE_CHECKING:
    from didgen.augment.device import Device
    from didgen.augment.diffusion.noise import TrySeed
    from didgen.augment.generation.prepare import GenerationJob
    from didgen.augment.methods.generator import Drawing, Planned

SIDE = 16
"""Pixels of an image's side."""

SHARD_SIZE = 256
"""Samples of a shard, the default of the recipes."""

CLASSES = ("MEL", "BCC", "AKIEC", "BKL", "DF", "VASC")

PARTS = 64
"""Processes that share a run."""

REAL = 60
"""Images of the source that a run is mixed with; the seventh and eighth of ten are held out."""

FINGERPRINT = "f00d" * 16

RECIPE = {"kind": "augment", "model": "mini"}


@dataclass(frozen=True)
class Figures:
    """What a stage took at one size.

    cpu: seconds of processor time without imports; wall: seconds with them; first: seconds until
    the first sample, or the first shard of a stage that reads; peak and base: MiB of memory at
    most, and with the imports alone; taken: the samples that it took in hand, 0 for all.
    """

    stage: str
    samples: int
    cpu: float
    wall: float
    first: float | None
    peak: float
    base: float
    taken: int = 0

    @property
    def each(self) -> float:
        """Microseconds of processor time for a sample."""
        return self.cpu / (self.taken or self.samples) * 1e6


@dataclass
class Watch:
    """Takes the times of a stage in its own process; `spawned` is when that was asked for."""

    spawned: float
    cpu: float = 0.0
    base: float = 0.0
    first: float | None = field(default=None)
    taken: int = 0

    def begin(self) -> None:
        """Say that the imports are done."""
        self.cpu, self.base = time.process_time(), _memory("VmRSS")

    def note(self, *_: object) -> None:
        """Say that a sample is in hand; only the first time counts."""
        if self.first is None:
            self.first = time.time() - self.spawned

    def figures(self, stage: str, samples: int) -> Figures:
        """What was taken until now."""
        cpu, wall = time.process_time() - self.cpu, time.time() - self.spawned
        peak = _memory("VmHWM")
        return Figures(stage, samples, cpu, wall, self.first, peak, self.base, self.taken)


def _memory(name: str) -> float:
    """A figure of this process in MiB; that of getrusage is handed down from the parent."""
    (kibibytes,) = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) / 2**10


@dataclass(frozen=True)
class FixedImage:
    """A `Generator` that draws nothing: the same few pixels each time, the layout as the mask."""

    watch: Watch

    def to(self, device: "Device") -> None:
        """There is no model to bring anywhere."""

    def draw(
        self,
        planned: "Sequence[Planned]",
        seeds: "Sequence[TrySeed]",
        layouts: NDArray[np.bool_] | None,
        device: "Device",
        watched: int = 0,
    ) -> "Drawing":
        """The same image for each planned sample, as large as its layout where there is one."""
        from didgen.augment.methods.generator import Drawing

        self.watch.note()
        image = pixels(SIDE if layouts is None else layouts.shape[-1])
        return Drawing(np.broadcast_to(image, (len(planned), *image.shape)), layouts)


def pixels(side: int) -> NDArray[np.uint8]:
    """A slope of grey, (side, side, 3), which no gate takes for blank."""
    slope = np.linspace(0, 255, side, dtype=np.uint8)
    return np.broadcast_to(slope[:, None, None], (side, side, 3))


@dataclass(frozen=True)
class Place:
    """Where the runs of one size lie, and how large they are."""

    folder: Path
    samples: int

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def source(self) -> Path:
        return self.folder.parent / "source"

    @property
    def gan(self) -> Path:
        return self.folder.parent / "gan"

    @property
    def counts(self) -> dict[Config, int]:
        """Samples of each config: half are images, half are pairs."""
        return {"images": self.samples - self.samples // 2, "pairs": self.samples // 2}

    @property
    def shards(self) -> dict[Config, int]:
        """Shards of each config."""
        return {config: math.ceil(count / SHARD_SIZE) for config, count in self.counts.items()}


def results(place: Place, config: Config, index: int) -> Iterator[Sample | Failure]:
    """The samples of a shard, with rows like those of `augment`; one in a hundred has failed."""
    image = encoded(pixels(SIDE), "JPEG", quality=95, subsampling=0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[SIDE // 4 : SIDE // 2, SIDE // 4 : SIDE // 2] = 255
    members = {"jpg": image} | ({"mask.png": encoded(mask, "PNG")} if config == "pairs" else {})
    first = index * SHARD_SIZE
    for number in range(first, min(first + SHARD_SIZE, place.counts[config])):
        row = planned(config, number)
        key = row.pop("key")
        batch = number - number % 16
        row |= {
            "scores": {"contrast": 75.0},
            "redraws": int(number % 20 == 0),
            "rejected": ["near-blank image: grey levels deviate by 1.50"] * (number % 20 == 0),
            "batch": [planned(config, other)["key"] for other in range(batch, batch + 16)],
        }
        if number % 100 == 50:
            yield Failure(key, f"drawn once, at last near-blank image: {number / 7:.2f}", row)
            continue
        label = CLASSES.index(row["label"])
        record = {name: row[name] for name in ("prompt", "seed", "redraws", "layout", "scores")}
        record |= {"key": key, "label": label, "class": row["label"], "run": FINGERPRINT}
        known = {"json": json.dumps(record, sort_keys=True).encode()}
        kind = {"cls": str(label).encode()} if config == "images" else {}
        yield Sample(key, members | known | kind, row)


def planned(config: Config, number: int) -> dict[str, Any]:
    """A sample as its plan has it."""
    label = CLASSES[number % len(CLASSES)]
    return {
        "config": config,
        "key": f"{label if config == 'images' else 'pair'}-{number:08d}",
        "label": label,
        "index": number,
        "seed": 2**60 + number,
        "prompt": f"An image of <lesion> on <skin>. A {number % 977} mm brown patch of {label}, "
        "with an irregular outline and two colours, in the middle of pale skin with some hairs.",
        "layout": "drawn" if config == "pairs" else "",
    }


def write(place: Place, watch: Watch) -> None:
    """Write the plan and every shard, one process alone."""
    from didgen.manifests.runs.claim import start_run

    watch.begin()
    plan = (planned(c, number) for c, count in place.counts.items() for number in range(count))
    start_run(place.run, fingerprint=FINGERPRINT, recipe=RECIPE, plan=plan)
    for config, count in place.shards.items():
        for index in range(count):
            made = results(place, config, index)
            write_shard(
                place.run,
                config,
                index,
                _noted(made, watch),
                Stamp(FINGERPRINT, {"python": "3"}),
            )


def _noted(made: Iterator[Sample | Failure], watch: Watch) -> Iterator[Sample | Failure]:
    for one in made:
        watch.note()
        yield one


def undrawn(place: Place, watch: Watch) -> "GenerationJob":
    """The job of a run of a size, whose generator draws nothing and notes each batch."""
    from dataclasses import replace

    from didgen.augment.generation.layouts import Layouts
    from didgen.augment.generation.prepare import prepare_generation
    from didgen.manifests.recipes.augment import AugmentRecipe

    recipe = AugmentRecipe.model_validate(
        {
            "images": {"per_class": math.ceil(place.counts["images"] / len(CLASSES))},
            "pairs": {"count": place.counts["pairs"], "layouts": "drawn"},
            "gates": {"mask_area": [0, 1], "components": None, "redraws": 0},
            "shard_size": SHARD_SIZE,
        }
    )
    job = prepare_generation(recipe)
    return replace(job, generator=FixedImage(watch), layouts=Layouts(SIDE))


def augment(place: Place, watch: Watch) -> None:
    """Plan, write and finish a run as `didgen augment` does, but draw nothing."""
    from didgen.augment.generation.run import augment as carry_out

    watch.begin()
    carry_out(undrawn(place, watch), place.folder / "augmented")


def augment_part(place: Place, watch: Watch) -> None:
    """Plan and write the first of `PARTS` parts of a run, as one of as many processes does."""
    from didgen.augment.generation.part import Part
    from didgen.augment.generation.run import augment as carry_out

    watch.begin()
    job, part = undrawn(place, watch), Part(1, PARTS)
    shards = [(config, index) for config, count in job.shards.items() for index in range(count)]
    ours = [shard for number, shard in enumerate(shards) if part.has(number)]
    watch.taken = sum(len(job.plan[config].places(index)) for config, index in ours)
    carry_out(job, place.folder / "part", part)


def augment_ray(place: Place, watch: Watch) -> None:
    """Plan a run of images alone, have it drawn and written by Ray's workers, and finish it.

    A worker makes its own job of the recipe, so here a small GAN draws, of next to no training.
    """
    from didgen.augment.generation.prepare import prepare_generation
    from didgen.augment.generation.run import augment as carry_out
    from didgen.manifests.recipes.augment import AugmentRecipe

    watch.begin()
    recipe = AugmentRecipe.model_validate(
        {
            "model": str(place.gan / "model"),
            "prompt": "class",
            "images": {"per_class": math.ceil(place.samples / len(CLASSES))},
            "pairs": None,
            "gates": {"contrast": 0, "redraws": 0},
            "sampling": {"batch_size": 64},
            "shard_size": SHARD_SIZE,
            "cluster": {"cpus": 1},
        }
    )
    out = place.folder / "on-ray"
    carry_out(prepare_generation(recipe), out, engine="ray")
    watch.first = min(tar.stat().st_mtime for tar in out.glob("images/*.tar")) - watch.spawned


def write_gan(place: Place) -> None:
    """Train a GAN of `SIDE` px for a few steps on the source."""
    from didgen.augment.rivals.pgan import train_pgan
    from didgen.manifests.recipes.rivals import PganNetwork, PganRecipe

    recipe = PganRecipe(
        source=place.source,
        image_size=SIDE,
        fade_kimg=0.004,
        stable_kimg=0.004,
        batch_sizes=(2, 2, 2),
        conditional=True,
        network=PganNetwork(latent=8, channels=(8, 8, 4), group=2),
    )
    train_pgan(recipe, place.gan)


def finish(place: Place, watch: Watch) -> None:
    """Write documents and manifest of the run."""
    from didgen.manifests.runs.finish import finish_run

    watch.begin()
    finish_run(place.run, place.shards, decisions={}, versions={}, classes=list(CLASSES))


def verify(place: Place, watch: Watch) -> None:
    """Hash and open every member, and print the verdicts."""
    from rich.console import Console

    from didgen.manifests.runs.verify import verify as judge
    from didgen.manifests.views.terminal import verdict_table

    watch.begin()
    verdicts = judge(place.run, watch.note)
    assert all(verdict.status == "ok" for verdict in verdicts)
    with open("/dev/null", "w") as nowhere:
        Console(file=nowhere).print(verdict_table(verdicts))


def mix(place: Place, watch: Watch) -> None:
    """Mix half of the samples of each class with a source of `REAL` images."""
    from didgen.manifests.recipes.mix import MixRecipe
    from didgen.manifests.runs.mix import mix as carry_out
    from didgen.manifests.runs.mix import prepare_mix

    watch.begin()
    real = sum(split_of(number) == "train" for number in range(REAL))
    recipe = MixRecipe(
        source=place.source,
        run=place.run,
        ratio=place.samples / 4 / real,
        shard_size=SHARD_SIZE,
    )
    carry_out(prepare_mix(recipe), place.folder / "mix", watch.note)


def export(place: Place, watch: Watch, to: ExportForm) -> None:
    """Export the run."""
    from didgen.manifests.exports.export import export as carry_out
    from didgen.manifests.exports.sound_run import prepare_export

    watch.begin()
    name = "Dataset501_Growth" if to == "nnunet" else to
    carry_out(prepare_export(place.run, to, place.folder / name), watch.note)


def export_parquet(place: Place, watch: Watch) -> None:
    """Export the run to Parquet."""
    export(place, watch, "parquet")


def export_imagefolder(place: Place, watch: Watch) -> None:
    """Export the run to an ImageFolder, a file a member."""
    export(place, watch, "imagefolder")


def export_nnunet(place: Place, watch: Watch) -> None:
    """Export the pairs to nnU-Net's raw format, which encodes each image anew."""
    export(place, watch, "nnunet")


def report(place: Place, watch: Watch) -> None:
    """Write the page of the run."""
    from didgen.downstream.report.page import report as carry_out

    watch.begin()
    carry_out([place.run], place.folder / "report.html")


def inspect(place: Place, watch: Watch) -> None:
    """Count the run, and print the counts."""
    from rich.console import Console

    from didgen.manifests.views.contents import inspect as look
    from didgen.manifests.views.terminal import contents_listing

    watch.begin()
    with open("/dev/null", "w") as nowhere:
        Console(file=nowhere).print(*contents_listing(look(place.run)), sep="\n")


STAGES: dict[str, Callable[[Place, Watch], None]] = {
    "augment": augment,
    "augment-part": augment_part,
    "augment-ray": augment_ray,
    "write": write,
    "finish": finish,
    "verify": verify,
    "mix": mix,
    "export-parquet": export_parquet,
    "export-imagefolder": export_imagefolder,
    "export-nnunet": export_nnunet,
    "report": report,
    "inspect": inspect,
}
"""In their order: those after `write` read what it wrote, and those after `finish` its manifest."""

USUAL = tuple(
    stage for stage in STAGES if stage not in ("augment-ray", "export-imagefolder", "export-nnunet")
)
"""Those that write no file a sample, and need no extra."""


def split_of(number: int) -> Split:
    """The split of a real image."""
    return {7: "val", 8: "test"}.get(number % 10, "train")  # type: ignore[return-value]


def write_source(folder: Path) -> None:
    """Write a source of `REAL` images with masks."""
    import hashlib

    from didgen.manifests.sources.records import SourceHeader, SourceManifest, SourceRecord

    photos = folder / "photos"
    photos.mkdir(parents=True)
    records = []
    for number in range(REAL):
        image = encoded(np.roll(pixels(SIDE), number, axis=0) // (1 + number // SIDE), "JPEG")
        mask = encoded(np.eye(SIDE, dtype=np.uint8) * 255, "PNG")
        (photos / f"{number}.jpg").write_bytes(image)
        (photos / f"{number}.png").write_bytes(mask)
        records.append(
            SourceRecord(
                key=f"photo-{number}",
                image=f"{number}.jpg",
                width=SIDE,
                height=SIDE,
                sha256=hashlib.sha256(image).hexdigest(),
                mask=f"{number}.png",
                label=CLASSES[number // 10],
                lesion_id=f"lesion {number}",
                split=split_of(number),
                source="slopes",
                licence="CC0-1.0",
            )
        )
    header = SourceHeader(
        importer="growth",
        didgen_version="0",
        root=str(photos.resolve()),
        classes=CLASSES,
        seed=0,
        fractions=(0.8, 0.1, 0.1),
    )
    SourceManifest(header, tuple(records)).write(folder)


def measured(stage: str, place: Place) -> Figures:
    """The figures of a stage in a process of its own."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_carry_out, args=(theirs, stage, place, time.time())
    )
    process.start()
    theirs.close()
    try:
        figures: Figures = ours.recv()
    except EOFError:
        raise SystemExit(f"The stage {stage} of {place.samples} samples failed.") from None
    finally:
        process.join()
    return figures


def _carry_out(pipe: Connection, stage: str, place: Place, spawned: float) -> None:
    watch = Watch(spawned)
    STAGES[stage](place, watch)
    pipe.send(watch.figures(stage, place.samples))


def table(found: Sequence[Figures]) -> str:
    """Figures as Markdown: a row a stage and size, with ratios to the size before it."""
    lines = [
        "| stage | samples | CPU, µs a sample | ratio | peak, MiB | imports, MiB | first, s | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before: dict[str, float] = {}
    for one in sorted(found, key=lambda one: ([*STAGES].index(one.stage), one.samples)):
        ratio = f"{one.each / before[one.stage]:.2f}" if one.stage in before else ""
        before[one.stage] = one.each
        first = "" if one.first is None else f"{one.first:.1f}"
        lines.append(
            f"| {one.stage} | {one.samples:,} | {one.each:,.0f} | {ratio} | {one.peak:,.0f} "
            f"| {one.base:,.0f} | {first} | {one.wall:,.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure stages at sizes, and write `growth.jsonl` and `growth.md`."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--out", type=Path, required=True, help="A new folder.")
    parser.add_argument("--stages", nargs="+", choices=[*STAGES], default=[*USUAL])
    parser.add_argument("--keep", action="store_true", help="Keep the runs.")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True)
    write_source(asked.out / "source")
    found: list[Figures] = []
    for samples in sorted(asked.samples):
        place = Place(asked.out / f"samples-{samples}", samples)
        if "augment-ray" in asked.stages and not place.gan.exists():
            write_gan(place)
        for stage in (name for name in STAGES if name in asked.stages):
            found.append(measured(stage, place))
            print(json.dumps(asdict(found[-1])), flush=True)
            with open(asked.out / "growth.jsonl", "a") as lines:
                lines.write(json.dumps(asdict(found[-1])) + "\n")
        if not asked.keep:
            shutil.rmtree(place.folder)
    (asked.out / "growth.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
