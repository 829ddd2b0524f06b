"""Training curves: of a benchmark's trainings by their results, of a model by its log."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from didgen.downstream.benchmark.training_result import RESULT_NAME, Result
from didgen.downstream.pages.document import Heading, Paragraph
from didgen.downstream.report.blocks import Content, Notice
from didgen.downstream.report.plots import Curve, curves
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json

TRAININGS = 400
"""Trainings of a benchmark whose curves are drawn."""

POINTS = 150
"""Points of a curve; where there are more, each is the mean of its neighbours."""

Scalars = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def results(folder: Path) -> list[Path]:
    """The records of a benchmark's trainings, by name."""
    places = ("runs/*/*/seed-*", "runs/*/*/real-*/seed-*")
    return sorted(path for place in places for path in folder.glob(f"{place}/{RESULT_NAME}"))


def training_curves(folder: Path) -> Iterator[Content]:
    """Validation scores by step of a benchmark's trainings: a plot a network, a colour an arm."""
    yield Heading("Training curves")
    paths = results(folder)
    if not paths:
        yield Paragraph("There are none: the folder has no results of trainings.")
        return
    panels: dict[str, list[Curve]] = {}
    for path in paths[:TRAININGS]:
        try:
            result = Result.model_validate(read_json(path))
            history = result.training["history"]
            steps = [float(one["step"]) for one in history]
            scores = [float(one["score"]) for one in history]
        except (DidgenError, ValidationError, KeyError, TypeError, ValueError):
            yield Notice(f"{path} is not the result of a training; train it again.")
            continue
        network, arm, *scale = path.parent.relative_to(folder / "runs").parts[:-1]
        # The judges of a quality filter are no arms.
        if not arm.startswith("judge-"):
            title = ", ".join((network, *scale))
            panels.setdefault(title, []).append(Curve(arm, steps, scores))
    if not panels:
        return
    yield Paragraph(
        "Score on the validation images by step, a curve a seed; the weights with the best one "
        "are tested. Trainings end early where it does not rise."
    )
    reported = "; ".join(
        f"{title}: best "
        + ", ".join(
            f"{arm} {max(max(c.values, default=0) for c in every if c.group == arm):.3f}"
            for arm in dict.fromkeys(c.group for c in every)
        )
        for title, every in panels.items()
    )
    yield curves(panels, "step", f"Validation scores by step. {reported}.", "")
    if len(paths) > TRAININGS:
        yield Paragraph(f"{len(paths) - TRAININGS} more trainings are not drawn.")


def read_log(folder: Path) -> Scalars:
    """The scalars of TensorBoard's event files in a folder: (steps, values) by name.

    Where a resumed training wrote a step twice, the last value counts. A folder without any, or
    one whose files cannot be read, gives none.
    """
    # Here, since it takes a while and most reports have no log to read.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(folder.glob("events.out.tfevents*")):
        return {}
    try:
        # 0 is all: fewer would be drawn by chance.
        log = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 1})
        log.Reload()
        names = sorted(log.Tags()["scalars"])
        by_step = {name: {e.step: e.value for e in log.Scalars(name)} for name in names}
    except Exception as error:  # noqa: BLE001 - a broken log has many ways to fail
        raise DidgenError(f"{folder} holds a log that cannot be read ({error}).") from None
    return {
        name: (
            [float(step) for step in sorted(reported)],
            [reported[step] for step in sorted(reported)],
        )
        for name, reported in by_step.items()
    }


def log_curves(scalars: Scalars) -> Iterator[Content]:
    """The scalars of a training's log, a plot a stage, a small plot a scalar."""
    stages = dict.fromkeys(name.partition("/")[0] for name in scalars)
    for stage in stages:
        mine = {
            name.partition("/")[2] or name: _thinned(*values)
            for name, values in scalars.items()
            if name.partition("/")[0] == stage
        }
        reported = "; ".join(
            f"{name} from {values[0]:.4g} to {values[-1]:.4g}"
            for name, (_, values) in mine.items()
            if values
        )
        panels = {name: [Curve(stage, *values)] for name, values in mine.items()}
        yield Heading(stage, 3)
        yield curves(panels, "step", f"Curves of {stage} by step: {reported}.", "")


def _thinned(
    steps: Sequence[float], values: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """Means of neighbours, so that no more than POINTS are left; values that are none are out."""
    pairs = [(s, v) for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
    if len(pairs) <= POINTS:
        return [s for s, _ in pairs], [v for _, v in pairs]
    parts = np.array_split(np.array(pairs), POINTS)
    means = [part.mean(0).tolist() for part in parts]
    return [s for s, _ in means], [v for _, v in means]
