"""The summary of a run's reviews in words, for the terminal."""

from collections.abc import Iterator

from didgen.downstream.review.desk import Desk
from didgen.downstream.review.pages import agreement_text, reasons_text
from didgen.downstream.review.verdicts import agreements, outcomes, reasons
from didgen.downstream.stats.detection import Detection


def summary(desk: Desk) -> Iterator[str]:
    """What the reviewers say together, how they agree, and how well they see what is synthetic."""
    words = desk.words()
    if not words:
        yield "No sample is reviewed."
    for config, counts in outcomes(words).items():
        total = sum(sample.config == config for sample in desk.job.samples.values())
        yield (
            f"{config}: {counts.total()} of {total} samples are reviewed: {counts['accepted']} "
            f"accepted, {counts['rejected']} rejected, {counts['disputed']} disputed."
        )
    if given := reasons(words):
        yield reasons_text(given)
    labels = {identity: sample.label for identity, sample in desk.job.samples.items()}
    for one in agreements(words, labels):
        yield f"{agreement_text(one)}."
    guesses = desk.log.guesses()
    if guesses and desk.job.source is not None:
        for name, figures in desk.test().results(guesses).items():
            yield f"Blind test, {name}: {_detection_text(figures)}."


def _detection_text(one: Detection) -> str:
    return (
        f"{one.right} of {one.n} right, accuracy {one.accuracy:.2f} ({one.low:.2f} to "
        f"{one.high:.2f}), p of guessing {one.p:.3f}, d' {one.d_prime:.2f} ({one.d_low:.2f} to "
        f"{one.d_high:.2f})"
    )
