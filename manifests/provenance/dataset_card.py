"""The dataset card: a README.md with a YAML header that says what a set holds and comes from."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import DatasetCardData
from jinja2 import Environment, FileSystemLoader

from didgen.manifests.choices import Config, ExportForm, Split
from didgen.manifests.privacy.paths import shareable
from didgen.manifests.provenance.licence import Licence, strictest
from didgen.manifests.recipes.fields import FOREIGN
from didgen.manifests.shards.index import Manifest, layouts_are_masks
from didgen.manifests.shards.tally import Tally
from didgen.manifests.sources.records import SPLITS

TITLES = {
    "augment": "Synthetic dermoscopic images made with didgen",
    "mix": "Real and synthetic dermoscopic images, mixed with didgen",
    "synthetic": "Synthetic dermoscopic images of another generator, imported with didgen",
}
"""The title of a set by the kind of its recipe."""

Form = Literal["shards", ExportForm]
"""The shapes a set comes in: the run's own shards, and what `didgen export` writes."""

_FILES: dict[Form, str] = {
    "shards": "{config}/{config}-{part}*.tar",
    "parquet": "{config}/{split}-*.parquet",
    "imagefolder": "{config}/{split}/**",
}

_TASKS: dict[Config, str] = {"images": "image-classification", "pairs": "image-segmentation"}

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")

_TEMPLATES = Path(__file__).parent / "templates"


class Block(str):
    """Text that is Markdown already."""


def card(
    manifest: Manifest,
    tally: Tally,
    form: Form = "shards",
    seen: int = 0,
) -> str:
    """The card of a finished run, or of its export in another form, of which the tally is.

    `seen` is the number of real images in the list beside it that the model was trained on, if any.

    The same run always gives the same text. Names, reasons and prompts come from outside and are
    escaped, so that none of them can be markup.
    """
    kind = kind_of(manifest)
    cells = _cells(tally)
    columns = list(dict.fromkeys(column for _, column in cells))
    labels = [*manifest.classes, *sorted({label for label, _ in cells} - {*manifest.classes})]
    table = {
        label: {column: cells[label, column] for column in columns}
        for label in labels
        if any(cells[label, column] for column in columns)
    }
    licence = strictest(manifest.made_from)
    template = environment().get_template("card.md")
    return template.render(
        header=Block(f"---\n{_header(manifest, tally, licence, form)}\n---"),
        title=TITLES[kind],
        kind=kind,
        manifest=manifest,
        configs=tally.configs,
        columns=columns,
        table=table,
        totals={column: sum(row[column] for row in table.values()) for column in columns},
        licence=licence,
        prompts=tally.prompts,
        masks=_masks(tally, manifest),
        settings=_flat(manifest.recipe.get("sampling")) | _flat(manifest.decisions),
        recipe=recipe_block(manifest.recipe),
        failures=tally.reasons.most_common(20),
        form=form,
        seen=seen,
        missing=tally.missing("images") if form == "imagefolder" else {},
        real_pairs=tally.layouts["real"],
    )


def kind_of(manifest: Manifest) -> str:
    """What a run is by its recipe: one of `TITLES`."""
    kind = str(manifest.recipe.get("kind"))
    return kind if kind in TITLES else "augment"


def recipe_block(recipe: Mapping[str, Any]) -> Block:
    """A recipe as indented YAML, its fields sorted: one that was read back has another order.

    Absolute paths are left out: they name a home or a machine.
    """
    lines = yaml.safe_dump(shareable(recipe, None)).splitlines()
    return Block("".join(f"    {line}\n" for line in lines))


def licence_fields(licence: Licence) -> dict[str, Any]:
    """How a header of the Hugging Face Hub names a licence."""
    if licence.hub != "other":
        return {"license": licence.hub}
    name = re.sub(r"[^a-z0-9.]+", "-", licence.name.lower()).strip("-")
    return {"license": "other", "license_name": name or "unknown"}


def _header(manifest: Manifest, tally: Tally, licence: Licence, form: Form) -> str:
    size = min(max(len(str(tally.samples.total())) - 3, 0), len(_SIZES) - 1)
    kind = kind_of(manifest)
    fields = licence_fields(licence)
    if form in _FILES:
        fields["configs"] = [
            {
                "config_name": config,
                "data_files": [
                    {"split": split, "path": _pattern(form, config, split, kind == "mix")}
                    for split in SPLITS
                    if tally.shards[config, split]
                ],
                # Without one, `load_dataset(FOLDER)` asks for a name.
                **({"default": True} if config == tally.configs[0] else {}),
                # Of itself `datasets` takes the folder of a single class for no label.
                **({"drop_labels": False} if (form, config) == ("imagefolder", "images") else {}),
            }
            for config in tally.configs
        ]
    if form == "shards":
        fields["dataset_info"] = [
            {"config_name": config, "features": _features(config, manifest.classes)}
            for config in tally.configs
        ]
    return DatasetCardData(
        pretty_name=TITLES[kind],
        size_categories=[_SIZES[size]],
        task_categories=[_TASKS[config] for config in tally.configs],
        tags=["dermoscopy", "medical", "synthetic", "not-for-diagnosis", "didgen"],
        **fields,
    ).to_yaml()


def _features(config: Config, classes: list[str]) -> list[dict[str, Any]]:
    """The columns that `datasets` makes of shards, as its own header names them.

    Classes are read by name so, and the record of a sample whatever its fields.
    """
    names = {"names": {str(index): name for index, name in enumerate(classes)}}
    label = {"name": "cls", "dtype": {"class_label": names} if classes else "int64"}
    mask = {"name": "mask.png", "dtype": "image"}
    return [
        {"name": "jpg", "dtype": "image"},
        label if config == "images" else mask,
        {"name": "json", "dtype": "json"},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]


def _pattern(form: Form, config: Config, split: Split, mixed: bool) -> str:
    return _FILES[form].format(config=config, split=split, part=f"{split}-" if mixed else "")


def _cells(tally: Tally) -> Counter[tuple[str, str]]:
    """Samples by (class, column); a column is a config, in a mix with split and origin."""
    cells: Counter[tuple[str, str]] = Counter()
    for (config, split, origin, label), count in tally.samples.items():
        cells[label, f"{config} {split} {origin}" if origin else config] += count
    return cells


def _masks(tally: Tally, manifest: Manifest) -> list[str]:
    """Where the masks of pairs come from, in sentences; none where there are no pairs.

    Reviewers, where there are any, may have drawn some of them anew.
    """
    corrected = "reviews" in manifest.decisions
    real, drawn, source = (tally.layouts[origin] for origin in ("real", "drawn", "source"))
    generated, foreign = drawn + source, tally.layouts[FOREIGN]
    sentences = [f"The masks of {real} pairs are those of the real images."] if real else []
    if generated:
        guides = f"{drawn} drawn shapes", f"{source} training masks of the source"
        guided = " and ".join(guide for guide in guides if not guide.startswith("0 "))
        origin = (
            "read off the model's own attention as it drew them (Eq. 7 of the paper), guided by"
        )
        if layouts_are_masks(manifest.recipe, manifest.decisions):
            origin = "the layouts that these were drawn for, made of"
        sentences.append(
            f"The masks of {generated} pairs are {origin} {guided}; "
            f"{'reviewers' if corrected else 'nobody'} corrected them."
        )
    if foreign:
        sentences.append(
            f"The masks of {foreign} pairs came with them; which real masks guided them, if any, "
            "is not known."
        )
    return sentences


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted names, in their order."""
    if not isinstance(value, Mapping):
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for name, inner in sorted(value.items()):
        flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat


@cache
def environment() -> Environment:
    """Jinja's environment of the cards, in which every value is plain text."""
    # Jinja's own escaping is for HTML; in Markdown other characters are special too.
    return Environment(  # noqa: S701
        loader=FileSystemLoader(_TEMPLATES),
        finalize=_inline,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _inline(value: Any) -> str:
    """Any value as one line of Markdown that is text and nothing else."""
    if isinstance(value, Block):
        return value
    text = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in str(value))
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)
