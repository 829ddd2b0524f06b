"""Whether a generator really learned: by a run of it, and a run of its untrained twin.

    python -m benchmarks.rival_contract RUN UNTRAINED SOURCE --judges DIR --judges DIR --out DIR

It learned where all of these hold, each by its 95 % interval:
- Its distance to the validation images is smaller than that of its untrained twin, a run of a
  model that the same recipe trained for a step, and than that of a Gaussian of each class. The
  distance is KID (Binkowski et al. 2018) of all images at once; resamples draw units of the real
  images, the same for both sides, and generated images.
- Two classifiers that were trained on real images alone name the class of its images more often
  than chance.
- Of pairs, a segmentation net's masks overlap with the pairs' own more than with those of others.

Notable choices:
- The Gaussian is that of the training images of a class, in the space of their principal components
  at `SIDE` pixels a side: what is learned without a network.
- No run is ranked by a distance of a network that was in its loss: choose another extractor.
- A condition without judges is open, and then whether it learned is too.
- The cost is read from records: seconds of training from the log's times, in which pauses between
  processes do not count; peak memory from `cost.json`; seconds a kept sample from the sidecars.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor

from didgen.downstream.benchmark.segmentation.benchmark import predict as predicted_masks
from didgen.downstream.data.pairs import load_synthetic_pairs
from didgen.downstream.metrics.segmentation import overlaps
from didgen.downstream.quality.assess import QualityJob, prepare_quality
from didgen.downstream.quality.embed import Collection, embed, real_collection
from didgen.downstream.quality.extractors import BATCH, Extractor
from didgen.downstream.quality.fidelity import class_fidelity
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.downstream.stats.bootstrap import bootstrap_mean
from didgen.downstream.stats.paired import LEVEL, Interval
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_bytes, write_json
from didgen.manifests.shards.index import read_manifest

Floats = NDArray[np.float64]

SIDE = 64
"""Side of the Gaussian's images, in pixels."""

COMPONENTS = 64
"""Most principal components of a class."""

FITTED = 500
"""Most training images of a class that its Gaussian is fitted to."""

LEAST = 20
"""Images on each side below which no distance is formed."""

RESAMPLES = 1000

INCEPTION = "weights/inception.safetensors"


@dataclass(frozen=True)
class Grams:
    """Kernels of generated images among themselves (N, N), and with real ones (N, M)."""

    generated: Floats
    across: Floats

    @classmethod
    def of(cls, generated: NDArray[np.floating[Any]], real: NDArray[np.floating[Any]]) -> "Grams":
        """Those of features (N, D) and (M, D)."""
        return cls(kernel(generated, generated), kernel(generated, real))


def kernel(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> Floats:
    """KID's kernel (x y / D + 1)^3 of features (N, D) and (M, D), (N, M)."""
    x, y = (np.asarray(part, np.float64) for part in (one, other))
    gram: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return gram


def distance(grams: Grams, real: Floats, drawn: Floats, seen: Floats) -> float:
    """KID, without bias, of images that are drawn as often as `drawn` (N,) and `seen` (M,) say.

    real: kernels (M, M) of the real images. No image is compared with itself, however often drawn.
    """
    across = drawn @ grams.across @ seen / (drawn.sum() * seen.sum())
    return float(_among(grams.generated, drawn) + _among(real, seen) - 2 * across)


def _among(gram: Floats, times: Floats) -> float:
    """The mean of a kernel (N, N) over pairs of different images, each drawn so many times."""
    pairs = times.sum() ** 2 - (times**2).sum()
    return float((times @ gram @ times - (times**2 * np.diag(gram)).sum()) / pairs)


def nearer(
    run: Grams, other: Grams, real: Floats, units: Sequence[str], seed: int = 0
) -> tuple[float, Interval]:
    """How much nearer a run is to real images than another: KID less KID, and its interval.

    units: of the real images (M,), which resamples draw as a whole and for both alike.
    """
    rng = np.random.default_rng(seed)
    _, places = np.unique(np.asarray(units), return_inverse=True)
    count = int(places.max()) + 1

    def difference(seen: Floats, mine: Floats, theirs: Floats) -> float:
        return distance(run, real, mine, seen) - distance(other, real, theirs, seen)

    ones = [np.ones(len(part)) for part in (real, run.generated, other.generated)]
    found = []
    for _ in range(RESAMPLES):
        seen = np.bincount(rng.integers(count, size=count), minlength=count)[places]
        mine, theirs = (
            np.bincount(rng.integers(size, size=size), minlength=size)
            for size in (len(run.generated), len(other.generated))
        )
        found.append(difference(*(times.astype(np.float64) for times in (seen, mine, theirs))))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return difference(*ones), (float(low), float(high))


def gaussian_images(pixels: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """Images (count, 3, S, S) of the Gaussian of images (N, 3, S, S) in their principal components.

    A single image has no spread, and is drawn as it is.
    """
    rng = np.random.default_rng(seed)
    flat = pixels.reshape(len(pixels), -1).astype(np.float64)
    mean = flat.mean(0)
    away = flat - mean
    # Of N images of more pixels, N x N is the smaller of the two matrices of products.
    values, vectors = np.linalg.eigh(away @ away.T)
    kept = np.flatnonzero(values > 1e-9 * max(values.max(), 1))[-COMPONENTS:]
    numbers = rng.standard_normal((count, len(kept))) / np.sqrt(max(len(pixels) - 1, 1))
    drawn = mean + numbers @ (vectors[:, kept].T @ away)
    images: NDArray[np.uint8] = np.rint(drawn.clip(0, 255)).astype(np.uint8)
    return images.reshape(count, *pixels.shape[1:])


def chosen(
    labels: Sequence[Sequence[str]], seed: int
) -> tuple[list[NDArray[np.int64]], dict[str, int]]:
    """Places in several samples such that each class has as many in all, and how many these are."""
    rng = np.random.default_rng(seed)
    classes = sorted(set.intersection(*(set(part) for part in labels)))
    counts = {label: min(sum(one == label for one in part) for part in labels) for label in classes}
    places = []
    for part in labels:
        named = np.asarray(part)
        taken = [
            rng.permutation(np.flatnonzero(named == label))[:count]
            for label, count in counts.items()
        ]
        places.append(np.sort(np.concatenate([np.empty(0, np.int64), *taken])))
    return places, counts


def distances(job: QualityJob, twin: QualityJob, config: Config) -> dict[str, Any]:
    """How near a run is to the validation images, beside its twin and beside the Gaussian."""
    seed, extractor, size = job.recipe.seed, job.extractor, job.size
    records = job.source.select(split="val")
    run, other = job.synthetic[config], twin.synthetic[config]
    real = real_collection(job.source, records)
    if not any(run.labels):
        # A run that looked at no labels is held against images of all classes.
        real = Collection(real.keys, ("",) * len(real), real.units, real.files)
    places, counts = chosen([real.labels, run.labels, other.labels], seed)
    if len(places[0]) < LEAST:
        raise DidgenError(
            f"{job.recipe.synthetic}, {twin.recipe.synthetic} and the validation images of "
            f"{job.recipe.real} have {len(places[0])} images of common classes; at least {LEAST} "
            "are needed."
        )
    real, run, other = (
        part.take(chosen_places.tolist())
        for part, chosen_places in zip((real, run, other), places, strict=True)
    )
    features = [embed(part, extractor, size).features for part in (real, run, other)]
    features.append(_features(extractor, size, _gaussians(job, counts)))
    grams = [Grams.of(part, features[0]) for part in features[1:]]
    among = kernel(features[0], features[0])
    seen, drawn = np.ones(len(real)), np.ones(len(run))
    found: dict[str, Any] = {"images": len(real), "extractor": extractor.name}
    found["kid"] = distance(grams[0], among, drawn, seen)
    for name, gram in zip(("untrained", "gaussian"), grams[1:], strict=True):
        less, interval = nearer(grams[0], gram, among, real.units, seed)
        found[name] = {"kid": distance(gram, among, drawn, seen), "less": less}
        found[name] |= {"interval": interval, "beaten": interval[1] < 0}
    return found


def _gaussians(job: QualityJob, counts: Mapping[str, int]) -> Iterator[Tensor]:
    """As many images of each class's Gaussian, (N, 3, SIDE, SIDE) uint8 a class."""
    training = job.real["train"]
    rng = np.random.default_rng(job.recipe.seed)
    for number, (label, count) in enumerate(counts.items()):
        named = [n for n, one in enumerate(training.labels) if one == label or label == ""]
        if not named:
            raise DidgenError(f"{job.recipe.real} has no training image of {label}; give its own.")
        taken = np.sort(rng.permutation(named)[:FITTED])
        pixels = training.pictures(taken, SIDE).numpy()
        yield torch.from_numpy(gaussian_images(pixels, count, job.recipe.seed + number))


def _features(extractor: Extractor, size: int, images: Iterator[Tensor]) -> NDArray[np.float32]:
    """Features (N, D) of images in memory, brought to the size of the others."""
    found = []
    for batch in torch.cat(list(images)).split(BATCH):
        shape = (size, size)
        scaled = F.interpolate(batch.float(), shape, mode="bicubic", antialias=True)
        found.append(extractor(scaled.round().clamp(0, 255).to(torch.uint8)))
    return np.concatenate(found)


def named_classes(job: QualityJob, config: Config) -> list[dict[str, Any]]:
    """Whether each classifier names the classes of a run above chance; none of a single class."""
    images, rows = job.synthetic[config], []
    for judge in job.judges:
        known = {label for label in images.labels if label in judge.classes}
        if len(known) > 1:
            row = next(class_fidelity(judge, images))
            chance, interval = 1 / len(known), row["interval"]
            rows.append(
                {"judge": judge.name, "balanced_accuracy": row["value"], "interval": interval}
                | {"chance": chance, "above": interval[0] > chance}
            )
    return rows


def followed_masks(job: QualityJob) -> list[dict[str, Any]]:
    """Whether each net's masks of a run's images fit their own masks better than others'."""
    taken, rows = job.samples.get("pairs", ()), []
    for judge in job.judges:
        if judge.classes or len(taken) < 2:
            continue
        pairs = load_synthetic_pairs(job.recipe.synthetic, taken, job.source, judge.size)
        with torch.no_grad():
            found = predicted_masks(judge.network, pairs.pixels)
        own, others = own_and_others(found, pairs.masks.numpy(), job.recipe.seed)
        interval = bootstrap_mean(own - others)
        assert interval is not None
        rows.append(
            {"judge": judge.name, "iou": float(own.mean()), "shuffled": float(others.mean())}
            | {"interval": interval, "above": interval[0] > 0}
        )
    return rows


def own_and_others(
    found: NDArray[np.bool_], masks: NDArray[np.bool_], seed: int
) -> tuple[Floats, Floats]:
    """IoU of predicted masks (N, S, S) with their own masks, and with the next in a drawn ring."""
    order = np.random.default_rng(seed).permutation(len(masks))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return overlaps(found, masks).iou, overlaps(found, masks[others]).iou


def cost(job: QualityJob, training: Path | None) -> dict[str, float | None]:
    """What a run and its training took: seconds, bytes, and seconds a kept sample."""
    sidecars = [one for part in job.sidecars.values() for one in part]
    kept = sum(one.samples for one in sidecars)
    made = sum(one.timings.get("make", 0.0) for one in sidecars)
    found: dict[str, float | None] = {"seconds_a_sample": made / kept if kept else None}
    memory = training / "cost.json" if training else None
    told = read_json(memory) if memory and memory.is_file() else {}
    found["training_seconds"] = training_seconds(training / "logs") if training else None
    found["training_peak_memory"] = told.get("peak_memory")
    return found


def training_seconds(logs: Path) -> float | None:
    """Seconds from the first logged step to the last, summed over the processes that trained."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    total, files = 0.0, sorted(logs.rglob("events.out.tfevents*"))
    for file in files:
        log = EventAccumulator(str(file), size_guidance={"scalars": 0})
        log.Reload()
        times = [event.wall_time for name in log.Tags()["scalars"] for event in log.Scalars(name)]
        total += max(times) - min(times) if times else 0.0
    return total if files else None


def contract(job: QualityJob, twin: QualityJob, training: Path | None = None) -> dict[str, Any]:
    """The record of a run: each condition with its figures, and whether all hold."""
    both = [config for config in job.synthetic if config in twin.synthetic]
    if not both:
        raise DidgenError(
            f"{job.recipe.synthetic} and {twin.recipe.synthetic} have no kind of samples in "
            "common; draw both by the same recipe."
        )
    config, manifest = both[0], read_manifest(job.recipe.synthetic)
    near, judged = distances(job, twin, config), named_classes(job, config)
    masks = followed_masks(job)
    conditions: dict[str, bool | None] = {
        "untrained": near["untrained"]["beaten"],
        "gaussian": near["gaussian"]["beaten"],
    }
    if len(set(job.synthetic[config].labels)) > 1:
        # One judge is not enough.
        named = [row["above"] for row in judged]
        conditions["classes"] = all(named) if len(named) > 1 or not all(named) else None
    if "pairs" in job.samples:
        conditions["masks"] = all(row["above"] for row in masks) if masks else None
    return {
        "kind": "rival contract",
        "run": job.recipe.synthetic.name,
        "method": str(manifest.decisions.get("method", "didgen")),
        "config": config,
        "conditions": conditions,
        "learned": verdict([*conditions.values()]),
        "distance": near,
        "classes": judged,
        "masks": masks,
        "cost": cost(job, training),
    }


def verdict(held: Sequence[bool | None]) -> bool | None:
    """Whether all conditions hold; None where none fails and one is open."""
    if False in held:
        return False
    return None if None in held else True


HEAD = "| run | method | images | KID | untrained | Gaussian | classes | masks | learned |\n"
COSTS = "| run | training, s | peak memory, GiB | s a kept sample |\n"


def page(record: Mapping[str, Any]) -> str:
    """A record as two tables of one row: the contract, and the cost."""
    near, paid = record["distance"], record["cost"]
    words = {True: "holds", False: "fails", None: "not judged"}
    held = {name: words[value] for name, value in record["conditions"].items()}
    rivals = [f"{near[name]['kid']:.4g} ({held[name]})" for name in ("untrained", "gaussian")]
    cells = [record["run"], record["method"], near["images"], f"{near['kid']:.4g}", *rivals]
    cells += [held.get("classes", "-"), held.get("masks", "-")]
    cells.append({True: "yes", False: "no", None: "open"}[record["learned"]])
    memory = paid["training_peak_memory"]
    costs = [paid["training_seconds"], memory and memory / 2**30, paid["seconds_a_sample"]]
    told = [record["run"], *("-" if value is None else f"{value:.3g}" for value in costs)]
    tables = ((HEAD, cells), (COSTS, told))
    return "\n".join(
        f"{head}|{'---|' * (head.count('|') - 1)}\n| {' | '.join(map(str, row))} |\n"
        for head, row in tables
    )


def main(
    run: Annotated[Path, typer.Argument(help="Folder of the rival's run.")],
    untrained: Annotated[Path, typer.Argument(help="The same of its untrained twin.")],
    source: Annotated[Path, typer.Argument(help="Folder of a source manifest.")],
    out: Annotated[Path, typer.Option(help="Folder for the record.")],
    judges: Annotated[list[Path], typer.Option(help="Trainings on real images.")] = [],  # noqa: B006
    training: Annotated[Path | None, typer.Option(help="Folder of the rival's training.")] = None,
    extractor: Annotated[str, typer.Option(help="As `didgen quality` takes it.")] = "inception",
    weights: Annotated[str, typer.Option(help="Of the extractor.")] = INCEPTION,
    size: Annotated[int | None, typer.Option(help="Side that images are seen at.")] = None,
) -> None:
    """Write contract.json and contract.md: whether a generator learned, and what it cost."""
    fields: dict[str, Any] = {"real": source, "extractor": extractor, "weights": weights}
    fields["size"] = size
    job = prepare_quality(QualityRecipe(**fields, synthetic=run, judges=tuple(judges)))
    twin = prepare_quality(QualityRecipe(**fields, synthetic=untrained))
    record = contract(job, twin, training)
    write_json(out / "contract.json", record)
    write_bytes(out / "contract.md", page(record).encode())
    print(page(record))


if __name__ == "__main__":
    typer.run(main)
