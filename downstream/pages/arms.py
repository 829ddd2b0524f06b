"""What every benchmark says of its arms: the choice, validation figures, scarcity, scope, cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from didgen.downstream.pages.document import Block, Heading, Listing, Paragraph, Picture, Table
from didgen.downstream.pages.tables import (
    dropped,
    interval,
    looked_at,
    networks,
    number,
    spread,
    units_of,
    verdicts,
)

Row = Mapping[str, Any]

SEEN = (
    "These figures are of an older didgen, which compared all arms on the test images: whatever "
    "was chosen by them has seen these images."
)

SCOPES = (
    "Scope: `closed` where all that an arm rests on lies within its own real images; `open` where "
    "more of the source's training images stand behind the run; `unknown` where nobody lists what "
    "its model was trained on. No arm has seen a tested lesion or patient."
)


def history(benchmark: Mapping[str, Any]) -> list[Block]:
    """What to know first: whether the choice among uses saw the test images, and too few seeds."""
    seen = [] if benchmark.get("format") == 2 else [SEEN]
    return [Paragraph(sentence) for sentence in (*seen, *benchmark.get("cautions", ()))]


def compared(
    benchmark: Mapping[str, Any], samples: str, crossed: str, figures: Sequence[Block]
) -> list[Block]:
    """What a benchmark says from its test images to its costs; samples: `images` or `pairs`."""
    return [
        Paragraph(
            f"The test images show {benchmark['units']['test']} {units_of(benchmark)}. Synthetic "
            f"{samples} are in training only."
        ),
        *dropped(benchmark["near_duplicates"]),
        Paragraph(networks(benchmark)),
        *verdicts(benchmark, crossed),
        *chosen_uses(benchmark),
        *scarcity(benchmark),
        *figures,
        *validation_figures(benchmark),
        *costs(benchmark),
    ]


def count(real: int | None) -> str:
    """A scale of scarcity in a cell."""
    return "all" if real is None else str(real)


def known_interval(ends: Sequence[float] | None) -> str:
    """The ends of an interval; a dash where there is none."""
    return "-" if ends is None else interval(ends)


def tested(arms: Iterable[Row]) -> list[Row]:
    """The arms that test images were shown to."""
    return [arm for arm in arms if arm["figures"] is not None]


def chosen_uses(benchmark: Mapping[str, Any]) -> list[Block]:
    """How validation images ranked the uses of each run, and which one was tested."""
    choices = benchmark.get("choices") or {}
    if elsewhere := benchmark.get("recipe", {}).get("chosen"):
        taken = ", ".join(
            f"`{one['name']}` for the run {run}" for run, every in choices.items() for one in every
        )
        return [
            Heading("Which use of a run?"),
            Paragraph(
                f"The validation images of another benchmark chose {taken} before any test image "
                f"was looked at: `{elsewhere}` ranks all uses."
            ),
        ]
    rows = [
        [
            run,
            one["name"],
            number(one["mean"]),
            known_interval(one["interval"]),
            number(one["behind"]),
            number(one["error"]),
            "chosen" if one["chosen"] else "",
        ]
        for run, every in choices.items()
        for one in every
    ]
    if not rows:
        return []
    return [
        Heading("Which use of a run?"),
        Paragraph(
            f"Mean {benchmark['score']} on the validation images over networks, scales and seeds, "
            f"with the 95 % interval over {units_of(benchmark)}. Uses stand in the "
            "order of their simplicity: the first that lies within one standard error of the best "
            f"is chosen, and it alone {'is' if looked_at(benchmark) else 'may be'} tested."
        ),
        Table(
            ["run", "arm", "mean", "interval", "behind the best", "standard error", "choice"],
            rows,
            "Uses on the validation images",
        ),
    ]


def validation_figures(benchmark: Mapping[str, Any]) -> list[Block]:
    """The deciding score of every arm on the validation images."""
    arms = [arm for arm in benchmark["arms"] if arm.get("validation")]
    return _scored("Figures on the validation images", arms, "validation", benchmark)


def _scored(title: str, arms: Sequence[Row], part: str, benchmark: Row) -> list[Block]:
    if not arms:
        return []
    units = units_of(benchmark)
    return [
        Heading(title),
        Paragraph(f"Mean over {units} and seeds, with the 95 % interval over {units}."),
        Table(
            ["network", "real", "arm", "scope", benchmark["score"], "interval"],
            [
                [
                    *labels(arm),
                    number(arm[part]["score"]),
                    known_interval(arm[part]["interval"]),
                ]
                for arm in arms
            ],
            title,
        ),
    ]


def tested_on(benchmark: Mapping[str, Any]) -> list[tuple[str, list[Row]]]:
    """Each part of the images that arms were tested on: a title, and a row of figures an arm."""
    arms = tested(benchmark["arms"])
    if not arms:
        return []
    found: list[tuple[str, list[Row]]] = [("Figures on the test images", arms)]
    if any(arm.get("outside") for arm in arms):
        title = f"Figures on {outside_name(benchmark['recipe']['outside'])}"
        found.append((title, [{**arm, **arm["outside"]} for arm in arms]))
    return found


def outside_name(outside: Any) -> str:
    """Another source in words: its folder, and the part of it that was taken."""
    if not isinstance(outside, Mapping):
        return str(outside)
    parts = [outside["split"], *(outside["collections"] or ())]
    named = ", ".join(part for part in parts if part)
    return f"{outside['source']} ({named})" if named else str(outside["source"])


def labels(arm: Row) -> list[str]:
    """The cells that name an arm: network, real images, arm and scope."""
    return [arm["network"], count(arm.get("real")), arm["arm"], arm["scope"]]


def scarcity(benchmark: Mapping[str, Any]) -> list[Block]:
    """The deciding score of each arm by the number of real images."""
    scales = benchmark["recipe"].get("real") or [None]
    if benchmark.get("format") != 2 or len(scales) < 2:
        return []
    blocks: list[Block] = [Heading("By the number of real images")]
    for part, images in (("validation", "validation"), ("test", "test"), ("outside", "outside")):
        rows = []
        for network, name in dict.fromkeys((a["network"], a["arm"]) for a in benchmark["arms"]):
            mine = [a for a in benchmark["arms"] if (a["network"], a["arm"]) == (network, name)]
            by_scale = {a["real"]: a if part == "test" else a.get(part) for a in mine}
            if (part == "test" and not tested(mine)) or not all(by_scale.values()):
                continue
            cells = [
                f"{number(by_scale[real]['score'])} ({known_interval(by_scale[real]['interval'])})"
                for real in scales
            ]
            scopes = ", ".join(dict.fromkeys(arm["scope"] for arm in mine))
            rows.append([network, name, scopes, *cells])
        header = ["network", "arm", "scope", *map(count, scales)]
        title = f"{benchmark['score']} on {images} images by the number of real images"
        if rows:
            blocks += [
                Paragraph(f"{title}, with 95 % intervals over {units_of(benchmark)}."),
                Table(header, rows, title),
            ]
    return blocks


def costs(benchmark: Mapping[str, Any]) -> list[Block]:
    """What each arm took, and what it rests on."""
    arms = [arm for arm in benchmark["arms"] if "images_seen" in arm]
    if not arms:
        return []
    reasons = {f"{arm['arm']}: {arm['scope_because']}" for arm in arms if arm["scope_because"]}
    return [
        Heading("What the arms took, and what they rest on"),
        Paragraph(
            f"{SCOPES} Steps, images seen and seconds of one training, the mean over seeds; peak "
            "memory is that of the GPU, or else of the process."
        ),
        Table(
            [
                "network",
                "real",
                "arm",
                "scope",
                "steps",
                "images seen",
                "seconds",
                "peak memory, MB",
            ],
            [
                [
                    *labels(arm),
                    str(arm["steps"]),
                    f"{arm['images_seen']:.0f}",
                    f"{arm['seconds']:.0f}",
                    f"{arm['peak_memory'] / 1e6:.0f}",
                ]
                for arm in arms
            ],
            "Cost and scope of each arm",
        ),
        *([Listing(sorted(reasons))] if reasons else []),
    ]


def plots(benchmark: Mapping[str, Any]) -> list[Block]:
    """The pictures of a benchmark."""
    pictures = [
        Picture(plot["file"], plot["title"], plot["caption"]) for plot in benchmark.get("plots", [])
    ]
    return [Heading("Plots"), *pictures] if pictures else []


def figure_cells(figures: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The mean and deviation of some figures."""
    return [spread(figures[name]) for name in names]
