"""Training samples: which samples of a run may stand in the training set of a source."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.fields import DRAWN, FOREIGN
from didgen.manifests.reviews.consensus import Consensus, SampleId
from didgen.manifests.reviews.record import Curves
from didgen.manifests.runs.copy_scores import is_copy
from didgen.manifests.runs.finish import read_trained_on
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import Sidecar
from didgen.manifests.sources.records import SourceManifest


@dataclass(frozen=True)
class SyntheticSample:
    """A synthetic sample in the tar `shard` of its run.

    `guide` is the training record whose mask guided it; empty for images, for drawn layouts, and
    for pairs of other generators. `start` is the training record that it is a variation of; empty
    where it began from noise alone. `made_as` is the class that it was made for, where reviewers
    gave it another `label`; `curves` are the outline that they drew.
    """

    key: str
    label: str
    shard: str
    layout: str
    guide: str
    made_as: str = ""
    curves: Curves = ()
    start: str = ""


def check_run(
    path: Path,
    run: Manifest,
    folder: Path,
    source: SourceManifest,
    config: Config | None = None,
) -> None:
    """Raise a `DidgenError` where the run in `path` cannot go with the source in `folder`.

    That is a mix, which holds real samples, a run for a class that the source lacks, one without
    the config that is asked for, and one whose model was trained on what the source holds out.
    """
    if run.recipe.get("kind") == "mix":
        raise DidgenError(f"{path} is a mix already; give the run that `augment` made.")
    if unknown := sorted({*run.classes} - {*source.header.classes}):
        raise DidgenError(
            f"{path} was made for the class {unknown[0]}, which {folder} does not have; use it "
            "with the source it was made from."
        )
    if config and config not in run.configs:
        raise DidgenError(f"{path} holds no {config}; make some, or give another run.")
    read_trained_on(path, run).check(f"The model of {path}", folder, source)


def training_samples(
    path: Path,
    run: Manifest,
    config: Config,
    sidecars: Sequence[Sidecar],
    source: SourceManifest,
    *,
    drop_copies: bool = False,
) -> Iterator[SyntheticSample]:
    """The samples of a config of the run in `path`, in its order.

    One of a class that its run does not list, a pair guided by a mask that is no training mask of
    the source, and a variation of an image that is none are a `DidgenError`.
    `drop_copies` leaves out what the copy check found to be one; a sample that it has not scored is
    then a `DidgenError` too.
    """
    training = {record.key for record in source.select(split="train")}
    for sidecar in sidecars:
        for key, row in sidecar.kept.items():
            if drop_copies and is_copy(path, sidecar, row):
                continue
            label, layout = str(row.get("label", "")), str(row.get("layout", ""))
            if label not in run.classes and (label or (config == "images" and run.classes)):
                raise DidgenError(
                    f"{sidecar.shard} of {path} has the sample {key} of the class "
                    f"{label or 'none'}, which its run does not list; make the run again."
                )
            guided = config == "pairs" and layout not in (DRAWN, FOREIGN)
            if guided and layout not in training:
                raise DidgenError(
                    f"{path} has the pair {key}, guided by the mask of "
                    f"{layout or 'an unnamed image'}, which is no training image of "
                    f"{source.folder}; use it with the source it was made from."
                )
            start = str(row.get("start", ""))
            if start and start not in training:
                raise DidgenError(
                    f"{path} has the sample {key}, a variation of {start}, which is no training "
                    f"image of {source.folder}; use it with the source it was made from."
                )
            guide = layout if guided else ""
            yield SyntheticSample(key, label, sidecar.shard, layout, guide, start=start)


def accepted_samples(
    samples: Iterable[SyntheticSample], config: Config, found: Mapping[SampleId, Consensus]
) -> Iterator[SyntheticSample]:
    """Those of the samples of a config that reviewers accept, as they correct them."""
    for one in samples:
        consensus = found.get((config, one.key))
        if consensus is None or consensus.verdict != "accepted":
            continue
        label = consensus.label or one.label
        made_as = one.label if label != one.label else ""
        yield replace(one, label=label, made_as=made_as, curves=consensus.curves)
