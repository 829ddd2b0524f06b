"""The page of an assessment: its figures with their floors, and its copies, as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.pages.document import Block, Heading, Listing, Paragraph, Table
from didgen.downstream.pages.tables import in_order, number

FIGURES: Mapping[str, tuple[str, str]] = {
    "fid": ("FID", "lower"),
    "fid_inf": ("FID, bias removed", "lower"),
    "kid": ("KID x 1000", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "density": ("density", "higher"),
    "coverage": ("coverage", "higher"),
    "feature_distance": ("feature distance", "lower"),
    "ms_ssim": ("MS-SSIM to real", "higher"),
    "lpips": ("LPIPS to real", "lower"),
    "feature_distance_within": ("feature distance within", "as the floor"),
    "ms_ssim_within": ("MS-SSIM within", "as the floor"),
    "lpips_within": ("LPIPS within", "as the floor"),
    "class_fidelity": ("class fidelity", "higher"),
    "mask_fidelity": ("mask fidelity", "higher"),
    "layout_iou": ("IoU of mask and layout", "higher"),
}
"""What the page calls each figure, and which way it is better."""

RECORD_NAME, SHEET_NAME = "quality.json", "copies.png"

PARTS = ("train", "held-out", "images", "pairs")

SCALES = {"kid": 1000.0}
"""KID is usually told times 1000."""


def quality_page(record: Mapping[str, Any]) -> list[Block]:
    """The page of what `quality.json` holds."""
    against, rest = record["against"], "train"
    if against == "train":
        rest = "held-out"
    weights = record["weights"]
    if record["extractor_sha256"]:
        weights += f", SHA-256 {record['extractor_sha256'][:12]}"
    labels = [*record["classes"], *sorted(_classes(record) - {*record["classes"]})]
    blocks: list[Block] = [
        Heading("Quality", 1),
        Paragraph(
            f"Features of {record['extractor']} ({record['features']} of them; {weights}) at "
            f"{record['size']} px, {record['resize']}. Figures compare with the {against} images; "
            f"the floor is what {rest} images get against the same ones. Both are matched: as many "
            "of each class on both sides, drawn by seed."
        ),
        Table(
            ["images", *(label or "no class" for label in labels), "all"],
            [
                [name, *(str(counts.get(label, 0)) for label in labels), str(sum(counts.values()))]
                for name, counts in in_order(record["images"], PARTS)
            ],
            "Images by class",
        ),
    ]
    for config in dict.fromkeys(row["config"] for row in record["figures"]):
        rows = [row for row in record["figures"] if row["config"] == config]
        overall = [row for row in rows if row["class"] is None]
        blocks += [Heading(config), *_overall(overall, config)]
        if by_class := [row for row in rows if row["class"] is not None]:
            said = "Of each class with enough images, with its floor behind the stroke:"
            blocks += [Paragraph(said), _by_class(by_class, config)]
    return [*blocks, *_copies(record["copies"])]


def _classes(record: Mapping[str, Any]) -> set[str]:
    return {label for counts in record["images"].values() for label in counts}


def _overall(rows: Sequence[Mapping[str, Any]], config: str) -> list[Block]:
    cells = []
    notes: dict[str, list[str]] = {}
    for row in rows:
        name, better = figure_name(row), FIGURES[row["figure"]][1]
        baseline = row["floor"]
        if row["value"] is None:
            notes.setdefault(row["note"], []).append(name)
        cells.append(
            [
                name,
                figure_value(row),
                _interval(row),
                figure_value(baseline, row["figure"]),
                _interval(baseline, row["figure"]),
                better,
                _counted(row),
                _counted(baseline),
                str(row["size"] or "-"),
            ]
        )
    header = ["figure", "value", "95 %", "floor", "95 %", "better", "n", "n floor", "px"]
    said = Paragraph(
        "n is synthetic and real images, or those of the pairs that were compared. KID has the "
        "deviation over its subsets, FID without its bias an interval by the jackknife over "
        "images. The interval of precision and density is over synthetic images, that of "
        "recall and coverage over real lesions, that of distances over pairs. Feature distance "
        "is 1 less the cosine of two images' features. Within: two images of one class, a "
        "measure of diversity. Class fidelity is the balanced accuracy of a classifier, mask "
        "fidelity the mean IoU of a segmentation net's masks with the annotated ones. Both "
        "nets learned from real images, and their floor is what they reach on the real test "
        "images. A net that learned from the image whose mask guided a pair may know that "
        "mask, which flatters the pair."
    )
    listed = [f"{', '.join(names)}: {note}." for note, names in notes.items()]
    figures = Table(header, cells, f"Figures of the {config}, each beside its floor")
    return [figures, said, *([Listing(listed)] if listed else [])]


def _by_class(rows: Sequence[Mapping[str, Any]], config: str) -> Table:
    names = list(dict.fromkeys(map(figure_name, rows)))
    labels = list(dict.fromkeys(row["class"] for row in rows))
    found = {(figure_name(row), row["class"]): row for row in rows}
    return Table(
        ["figure", *(label or "no class" for label in labels)],
        [
            [
                name,
                *(
                    f"{figure_value(row)} / {figure_value(row['floor'], row['figure'])}"
                    if (row := found.get((name, label)))
                    else "-"
                    for label in labels
                ),
            ]
            for name in names
        ],
        f"Figures of the {config} by class, value / floor",
    )


def figure_name(row: Mapping[str, Any]) -> str:
    """What a figure is called; one of a judge with the judge's name."""
    name = FIGURES[row["figure"]][0]
    return f"{name} ({row['extractor']})" if row["basis"] == "judge" else name


def _scaled(value: float | None, figure: str) -> str:
    return number(None if value is None else value * SCALES.get(figure, 1.0))


def figure_value(row: Mapping[str, Any], figure: str | None = None) -> str:
    """The value of a figure in a cell, with its deviation if it has one."""
    name = figure or row["figure"]
    reported = _scaled(row["value"], name)
    return (
        reported if row["deviation"] is None else f"{reported} ± {_scaled(row['deviation'], name)}"
    )


def _interval(row: Mapping[str, Any], figure: str | None = None) -> str:
    if row["interval"] is None:
        return "-"
    low, high = (_scaled(end, figure or row["figure"]) for end in row["interval"])
    return f"{low} to {high}"


def _counted(row: Mapping[str, Any]) -> str:
    counts = [row["n_synthetic"], row["n_real"]] if row["n_real"] else [row["n_synthetic"] or "-"]
    return ", ".join(map(str, counts))


def share(reported: Mapping[str, Any], name: str = "rate") -> str:
    """A share in percent with its interval and what it counts."""
    if reported[name] is None:
        return "-"
    low, high = reported["interval"]
    return (
        f"{100 * reported[name]:.1f} % ({100 * low:.1f} to {100 * high:.1f}; "
        f"{reported['count']} of {reported['n']})"
    )


def _copies(copies: Mapping[str, Any]) -> list[Block]:
    origins = in_order(copies["origins"], ())
    blocks: list[Block] = [
        Heading("Copies"),
        Paragraph(
            f"A sample is a copy where its similarity to a training image is above "
            f"{copies['threshold']:.4f}, or its perceptual hash differs in {copies['bits']} of 256 "
            f"bits at most, in any of its {copies['orientations']} orientations. The threshold is "
            f"{_quantile(copies)} held-out images' similarity to training images of other lesions. "
            f"{_left_out(copies)} {_beyond(copies.get('trained_on', {'images': 0}))}"
        ),
        Table(
            ["samples", "copies", "by features", "by hash"],
            [
                ["all", share(copies), share(copies["by_features"]), share(copies["by_hash"])],
                ["held-out images, to compare", share(copies["held_out"]), "", ""],
                *(
                    [origin, share(reported), "", ""]
                    for origin, reported in origins
                    if len(origins) > 1 or reported.keys() & {"nearest_is_layout", "of_start"}
                ),
            ],
            "Copies of training images",
        ),
        *(
            Paragraph(
                "The nearest training image is the very one whose mask was the layout of "
                f"{share(reported['nearest_is_layout'])} of the pairs."
            )
            for _, reported in origins
            if "nearest_is_layout" in reported
        ),
        *(
            Paragraph(
                f"Copies of the very image that they start from are {share(reported['of_start'])} "
                "of the variations; their other copies are of another one. Their similarity to the "
                f"image that they start from has a median of {reported['start_similarity']:.3f}."
            )
            for _, reported in origins
            if "of_start" in reported
        ),
        Paragraph("Training images that were changed and looked for again:"),
        Table(
            ["change", "found as a copy", "and the right image"],
            [
                [kind, share(reported, "recall"), share(reported["right_image"])]
                for kind, reported in in_order(copies["planted"], ())
            ],
            "Planted copies that were found",
        ),
    ]
    within = [
        f"Nearly another sample of {config}, by hash: {share(reported)}."
        for config, reported in in_order(copies["duplicates_within"], PARTS)
    ]
    last = "The closest pairs are in copies.png, every sample in copies.jsonl."
    return [*blocks, *([Listing(within)] if within else []), Paragraph(last)]


def _quantile(copies: Mapping[str, Any]) -> str:
    n, quantile = copies["calibrated_on"], copies["quantile"]
    if n * (1 - quantile) < 1:
        return f"the largest of {n}"
    return f"the {100 * quantile:g} % quantile of {n}"


def _beyond(trained_on: Mapping[str, int]) -> str:
    """What of the model's training images no sample was compared with."""
    if not trained_on["images"]:
        return "What the model was trained on is not recorded: it may have copied other images."
    reported = f"Of {trained_on['images']} images that the model is known to be trained on, "
    if not trained_on["beyond"]:
        return f"{reported}all are in the source's training split."
    return (
        f"{reported}{trained_on['beyond']} are not in the source's training split, so that "
        "copies of those are not found."
    )


def _left_out(copies: Mapping[str, Any]) -> str:
    near = copies["held_out_duplicates"]
    if not near:
        return "None of them is nearly one by hash."
    first = near[0]
    return (
        f"{len(near)} more are nearly training images of other names by hash, the first "
        f"{first['key']} ({first['nearest']}), and were left out."
    )
