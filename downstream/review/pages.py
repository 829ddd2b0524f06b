"""Pages: the review as HTML, made by the server."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from didgen.downstream.review.desk import Desk, ShownPage, address
from didgen.downstream.review.pictures import View
from didgen.downstream.review.queue import Filter, Words, progress
from didgen.downstream.review.samples import ReviewJob, ReviewSample
from didgen.downstream.review.verdicts import Agreement, agreements, outcomes, reasons
from didgen.downstream.stats.agreement import Kappa
from didgen.manifests.recipes.fields import DRAWN, FOREIGN
from didgen.manifests.reviews.record import NAME_LENGTH, NOTE_LENGTH, REASONS, Reason, Review

_TEMPLATES = Path(__file__).parent / "templates"

STATES = {
    "open": "not yet decided by me",
    "accepted": "accepted by me",
    "rejected": "rejected by me",
    "disputed": "disputed between reviewers",
    "all": "all",
}


def name_page(name: str = "", fault: str = "") -> str:
    """The page that asks who reviews."""
    return _render("name.html", title="Who reviews?", name=name, fault=fault, longest=NAME_LENGTH)


def error_page(sentence: str) -> str:
    """The page of a fault."""
    return _render("error.html", title="That did not work", sentence=sentence)


def samples_page(desk: Desk, shown: ShownPage, saved: str) -> str:
    """A page of thumbnails, with the filter and how far the reviewer is."""
    return _render(
        "samples.html",
        title="Samples",
        shown=shown,
        job=desk.job,
        states=STATES,
        orders=_orders(desk.job),
        progress=progress(desk.job, shown.words, shown.reviewer),
        saved=_saved(shown.words, shown.reviewer, saved),
        address=address,
        reviewer=shown.reviewer,
        run=desk.job.directory.name,
        origin=desk.job.origin,
    )


def sample_page(
    desk: Desk, sample: ReviewSample, asked: Filter, reviewer: str, saved: str = ""
) -> str:
    """The page of one sample: its pictures, what is known of it, and the form of the decision."""
    words = desk.words()
    before, after = desk.around(sample, asked, words, reviewer)
    said = words.get((sample.config, sample.key), {})
    width, height = desk.pictures.size(sample)
    views = desk.pictures.views(sample)
    return _render(
        "sample.html",
        title=sample.key,
        sample=sample,
        asked=asked,
        before=before,
        after=after,
        width=width,
        height=height,
        captions={view: _caption(desk.job, sample, view) for view in views},
        mine=said.get(reviewer),
        others=[review for name, review in said.items() if name != reviewer],
        classes=desk.job.labels,
        reasons=_reasons(desk.job),
        note_length=NOTE_LENGTH,
        facts=_facts(desk.job, sample),
        missing=_missing(desk.job, sample),
        saved=_saved(words, reviewer, saved),
        address=address,
        reviewer=reviewer,
        run=desk.job.directory.name,
        origin=desk.job.origin,
    )


def agreement_page(desk: Desk, reviewer: str) -> str:
    """How much is accepted, why samples are rejected, and how the reviewers agree."""
    words = desk.words()
    labels = {identity: sample.label for identity, sample in desk.job.samples.items()}
    return _render(
        "agreement.html",
        title="Agreement",
        outcomes=outcomes(words),
        reasons=reasons(words),
        agreements=[(one, kappa_text(one.kappa)) for one in agreements(words, labels)],
        reviewer=reviewer,
        run=desk.job.directory.name,
        origin=desk.job.origin,
    )


def blind_page(desk: Desk, reviewer: str) -> str:
    """The next image of the blind test; after the last, the results of all who finished it."""
    test, guesses = desk.test(), desk.log.guesses()
    place = len(test.answers(guesses, reviewer))
    done = place >= len(test.images)
    return _render(
        "blind.html",
        title="Blind test",
        place=place,
        count=len(test.images),
        done=done,
        results=test.results(guesses) if done else {},
        reviewer=reviewer,
        run=desk.job.directory.name,
        origin=desk.job.origin,
    )


def agreement_text(one: Agreement) -> str:
    """Which reviewers agree how well on what, in words and figures."""
    return (
        f"{one.statistic} of {', '.join(one.reviewers)} on the {one.about} of "
        f"{one.kappa.n} {one.config}: {kappa_text(one.kappa)}"
    )


def reasons_text(given: Counter[str]) -> str:
    """Why samples were rejected, the commonest reason first."""
    return "Reasons: " + ", ".join(f"{name} {count}" for name, count in given.most_common())


def kappa_text(kappa: Kappa) -> str:
    """A kappa with its interval where it has one, in figures."""
    if kappa.value is None:
        return "undefined: one category alone"
    interval = "" if kappa.low is None else f" ({kappa.low:.2f} to {kappa.high:.2f})"
    return f"{kappa.value:.2f}{interval}"


def _orders(job: ReviewJob) -> dict[str, str]:
    """What samples can be ordered by, in words."""
    orders = {"plan": "order of the run"}
    for name in job.scores:
        words = _words(name)
        orders |= {name: f"{words}, least first", f"-{name}": f"{words}, largest first"}
    return orders


def _caption(job: ReviewJob, sample: ReviewSample, view: View) -> str:
    named = {DRAWN: "drawn", FOREIGN: "not known"}
    layout = named.get(sample.layout, f"the mask of {sample.layout}")
    captions: Mapping[View, str] = {
        "mask": "Mask: white is lesion",
        "layout": f"Layout that guided it, {layout}",
        "nearest": f"Nearest training image, {sample.nearest}",
        "attention": "Attention to the lesion while it was drawn; Eq. 7 last",
    }
    return captions[view]


def _missing(job: ReviewJob, sample: ReviewSample) -> str:
    """Why the nearest real image is not shown."""
    if job.origin == "real":
        return ""
    if not sample.nearest:
        return "The nearest real image is known after `didgen quality --write-scores`."
    if sample.nearest not in job.records:
        return "The nearest real image is shown where `--real` names the source."
    return ""


def _reasons(job: ReviewJob) -> list[Reason]:
    """Why a sample may be rejected: of a photograph, on account of its mask."""
    of_synthetic = ("wrong class", "copy of a real image")
    return [one for one in REASONS if job.origin == "synthetic" or one not in of_synthetic]


def _facts(job: ReviewJob, sample: ReviewSample) -> dict[str, str]:
    if job.origin == "real":
        drawn = job.records[sample.key].mask_by or "none"
        facts = {"Class": sample.label or "none", "Mask by": drawn}
    else:
        facts = {"Class it was made for": sample.label or "none", "Prompt": sample.prompt or "none"}
    return facts | {_words(name): f"{value:.3g}" for name, value in sorted(sample.scores.items())}


def _words(name: str) -> str:
    """The name of a score as it is read."""
    return name.replace("_", " ").replace(" iou", " IoU")


def _saved(words: Words, reviewer: str, saved: str) -> Review | None:
    """The reviewer's last word on the sample that was decided just now."""
    config, _, key = saved.partition("/")
    said: Mapping[str, Review] = words.get((config, key), {})  # type: ignore[arg-type]
    return said.get(reviewer)


def _render(template: str, **values: Any) -> str:
    defaults = {"reviewer": "", "run": "", "origin": ""}
    return _environment().get_template(template).render(**defaults | values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
