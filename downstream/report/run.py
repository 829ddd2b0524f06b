"""A run in a report: its pictures, what did not come out, what experts say, and the settings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from didgen.downstream.pages.document import Heading, Listing, Paragraph, Table
from didgen.downstream.report.blocks import Beside, Code, Content, Facts, Fold, Notice, Part, Way
from didgen.downstream.report.gallery import attention, images_by_class, pairs, titled
from didgen.downstream.report.plots import balance
from didgen.downstream.review.pages import agreement_text, reasons_text
from didgen.downstream.review.verdicts import agreements, outcomes, reasons
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.privacy.paths import restored
from didgen.manifests.provenance.licence import strictest
from didgen.manifests.reviews.consensus import last_words
from didgen.manifests.reviews.log import LOG_NAME, ReviewLog
from didgen.manifests.shards.tally import Tally
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.contents import RunContents, run_contents

LISTED = 40
"""Failures that are told one by one."""

FOLDERS = {"source", "outside", "run", "runs", "model", "real", "synthetic"}
"""Fields that name folders: of real images, of runs, of models."""

ASKED = (
    *("kind", "model", "revision", "source", "run", "ratio", "config", "captions"),
    *("images", "pairs", "gates", "seed"),
)


def run_part(folder: Path) -> Part:
    """What a run directory says, finished or not."""
    contents = run_contents(folder)
    source, missing = _source(contents)
    title = "Mix" if contents.recipe.get("kind") == "mix" else "Run"
    return Part(
        f"{title}: {folder.resolve().name}",
        str(folder),
        [
            *_state(contents),
            *_way(contents, source),
            *images_by_class(contents),
            *pairs(contents, source),
            *attention(contents),
            *_balance(contents, source, missing),
            *_failures(contents),
            *reviews(contents),
            *_made(contents),
            *recipe_blocks(contents.recipe, ASKED),
        ],
        named_folders(contents.recipe, folder),
    )


def recipe_blocks(recipe: Mapping[str, Any], names: Sequence[str]) -> Iterator[Content]:
    """The fields of a recipe that matter most, and the whole of it, folded."""
    known = [name for name in names if recipe.get(name) not in (None, [], {})]
    yield Heading("What was asked")
    yield Fold(
        "Settings",
        [
            Facts([(name.replace("_", " "), _said(recipe[name])) for name in known]),
            Fold("The whole recipe", [Code(yaml.safe_dump(dict(recipe), allow_unicode=True))]),
        ],
    )


def named_folders(recipe: Any, directory: Path, named: bool = False) -> list[Path]:
    """The folders of a recipe recorded in `directory`: what stands under the names of FOLDERS."""
    if isinstance(recipe, Mapping):
        inner = [(value, named or name in FOLDERS) for name, value in recipe.items()]
    elif isinstance(recipe, list):
        inner = [(value, named) for value in recipe]
    else:
        path = restored(recipe, directory) if named and isinstance(recipe, str) else None
        return [path] if path is not None and path.is_dir() else []
    return [path for value, asked in inner for path in named_folders(value, directory, asked)]


def _way(contents: RunContents, source: SourceManifest | None) -> Iterator[Content]:
    """From real images to shards: what went in, what was planned, thrown away and kept."""
    tally, recipe = contents.tally, contents.recipe
    kept = Counter[Config]()
    for (config, _, _), count in contents.counts.items():
        kept[config] += count
    held = ", ".join(counted(count, config.removesuffix("s")) for config, count in kept.items())
    stations = []
    if source is not None:
        train = len(source.select(split="train"))
        stations.append(("Real images", f"{counted(train, 'image')} to train on"))
    if recipe.get("model"):
        stations.append(("Model", f"`{Path(str(recipe['model'])).name}`"))
    if recipe.get("kind") == "augment":
        thrown = tally.redraws + tally.failures
        stations.append(("Drawn", counted(kept.total() + thrown, "try", "tries")))
        stations.append(("Gates", f"{thrown} of them thrown away"))
    size = f"{tally.bytes / 1e6:.1f} MB"
    shards = counted(tally.shards.total(), "shard")
    stations.append(("Shards", f"{held or 'no sample'} in {shards}, {size}"))
    yield Heading("The way from real images to shards")
    yield Way(stations)


def reviews(contents: RunContents) -> Iterator[Content]:
    """What reviewers say of the samples of a finished run, and how they agree."""
    if contents.manifest is None or not (contents.directory / LOG_NAME).is_file():
        return
    shards = (one.sha256 for entries in contents.manifest.configs.values() for one in entries)
    words = last_words(ReviewLog(contents.directory).reviews(), shards)
    yield Heading("Reviews")
    if not words:
        yield Paragraph("No sample is reviewed as it is now.")
        return
    yield Table(
        ["config", "accepted", "rejected", "disputed"],
        [
            [config, *(str(counts[one]) for one in ("accepted", "rejected", "disputed"))]
            for config, counts in outcomes(words).items()
        ],
        "Reviewed samples by what the reviewers say together",
    )
    if given := reasons(words):
        yield Paragraph(reasons_text(given))
    yield Listing([agreement_text(one) for one in agreements(words, {})])


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _said(value: Any) -> str:
    """A value of a recipe in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_said(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return "null" if value is None else str(value)


def _source(contents: RunContents) -> tuple[SourceManifest | None, str]:
    """The source that the recipe of a run names, or why there is none."""
    if not contents.recipe.get("source"):
        return None, "The recipe names no source of real images."
    folder = restored(str(contents.recipe["source"]), contents.directory)
    if folder is None:
        return None, "The run does not record where its source of real images lies."
    try:
        return SourceManifest.read(folder), ""
    except (DidgenError, OSError, ValueError) as error:
        return None, f"The source of real images cannot be read here: {error}"


def _state(contents: RunContents) -> Iterator[Content]:
    if contents.manifest is None:
        count = sum(contents.counts.values())
        yield Notice(
            "This run is not finished: it has no manifest.json. What the shards that are there "
            f"hold is shown, {counted(count, 'sample')}; run the command that began it again to go "
            "on."
        )
    for fault in contents.faults:
        yield Notice(fault)


def _made(contents: RunContents) -> Iterator[Content]:
    """Counts of samples by class, and, folded, what they were made of and with."""
    yield Heading("What was made")
    manifest, counts, tally = contents.manifest, contents.counts, contents.tally
    facts = [
        ("samples", str(sum(counts.values()))),
        ("shards", f"{tally.shards.total()}, {tally.bytes / 1e6:.1f} MB"),
        ("not made", str(tally.failures)),
        ("redraws", str(tally.redraws)),
        ("seconds of making", f"{tally.seconds:.0f}"),
    ]
    if manifest is not None:
        facts += [(name, _said(value)) for name, value in sorted(manifest.decisions.items())]
        facts += [
            ("licence", strictest(manifest.made_from).name) if manifest.made_from else ("", ""),
            ("fingerprint", manifest.fingerprint[:12]),
            ("versions", _said({"didgen": manifest.didgen} | manifest.versions)),
        ]
    folded: list[Content] = [Facts([(name, reported) for name, reported in facts if name])]
    if manifest is not None and manifest.made_from:
        folded.append(
            Table(
                ["made from", "name", "licence", "SHA-256"],
                [
                    [one.kind, one.name, one.licence or "not named", one.sha256[:12] or "-"]
                    for one in manifest.made_from
                ],
                "Model and data that the run is made from",
            )
        )
    columns = list(dict.fromkeys((config, split) for config, split, _ in counts))
    if columns:
        rows = [
            [titled(label), *(str(counts[config, split, label]) for config, split in columns)]
            for label in contents.classes
        ]
        sums = [
            str(sum(n for (c, s, _), n in counts.items() if (c, s) == column)) for column in columns
        ]
        header = ["class", *(f"{config}, {split}" for config, split in columns)]
        yield Table(header, [*rows, ["all", *sums]], "Samples by class")
    yield Fold("Settings and versions", folded)


def _balance(
    contents: RunContents, source: SourceManifest | None, missing: str
) -> Iterator[Content]:
    """Training images of each class without and with what was made."""
    if not contents.counts:
        return
    yield Heading("Class balance before and after")
    mixed = contents.recipe.get("kind") == "mix"
    for config in contents.sidecars:
        generated, before = _training_counts(contents, config, source)
        labels = [
            label
            for label in dict.fromkeys([*contents.classes, *(before or {})])
            if generated[label] or (before or {}).get(label)
        ]
        if source is not None:
            known = [name for name in source.header.classes if name in labels]
            labels = known + [label for label in labels if label not in known]
        if not labels:
            continue
        yield Heading(config, 3)
        if before is None:
            yield Paragraph(f"Only what was made is shown. {missing}")
        else:
            what = "images with a label" if config == "images" else "images with a mask"
            where = "of this mix" if mixed else "of the source"
            yield Paragraph(f"Before: the {what} in the training split {where}.")
        table = Table(
            ["class", "before", "added", "after"],
            [
                [
                    titled(label),
                    "-" if before is None else str(before.get(label, 0)),
                    str(generated[label]),
                    "-" if before is None else str(before.get(label, 0) + generated[label]),
                ]
                for label in labels
            ],
            f"Class balance of the {config}",
        )
        yield Beside([balance(labels, before, generated), table])


def _training_counts(
    contents: RunContents, config: Config, source: SourceManifest | None
) -> tuple[Counter[str], Counter[str] | None]:
    """Synthetic training samples by label, and real ones, None where these are not known."""
    if contents.recipe.get("kind") == "mix":
        sides: dict[str, Counter[str]] = {"real": Counter(), "synthetic": Counter()}
        for (kind, split, origin, label), count in contents.tally.samples.items():
            if (kind, split) == (config, "train"):
                sides["real" if origin == "real" else "synthetic"][label] += count
        return sides["synthetic"], sides["real"]
    generated: Counter[str] = Counter()
    for (kind, _, label), count in contents.counts.items():
        if kind == config:
            generated[label] += count
    if source is None:
        return generated, None
    asked = {"labelled": True} if config == "images" else {"masked": True}
    return generated, Counter(r.label or "" for r in source.select(split="train", **asked))


def _failures(contents: RunContents) -> Iterator[Content]:
    yield Heading("Failures, and what was drawn again")
    tally = contents.tally
    if tally.failures:
        yield Table(
            ["sample", "config", "shard", "reason"],
            [[one.key, one.config, one.shard, one.reason] for one in tally.failed[:LISTED]],
            "Planned samples that were not made",
        )
        if tally.failures > LISTED:
            yield Paragraph(f"{tally.failures - LISTED} more are in the sidecars.")
    else:
        yield Paragraph("Every planned sample of these shards was made.")
    if tally.rejections:
        yield Paragraph("Tries that the gates threw away, those of samples made later too:")
        reported = tally.rejections.most_common()
        yield Table(["reason", "tries"], [[r, str(n)] for r, n in reported], "Rejected tries")
        yield Listing(_examples(tally))


def _examples(tally: Tally) -> list[str]:
    """The first rejected tries by name."""
    reported = [f"{key}: {'; '.join(reasons)}" for key, reasons in tally.examples]
    more = tally.tried - len(reported)
    return reported + ([f"and {more} more"] if more else [])
