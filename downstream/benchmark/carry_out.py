"""Carrying out: every training of a benchmark, the choice on validation images, and the test.

Notable choices:
- Synthetic samples stand in training sets only; validation and test are real.
- Validation chooses the use of each run; test images are predicted by the chosen uses, the
  controls and the cheap rivals alone.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from didgen.downstream.benchmark.checkpoint import CHECKPOINT_NAME
from didgen.downstream.benchmark.fit import (
    Asked,
    OnStep,
    Place,
    Setup,
    asked_of,
    fit,
    folder_of,
    record_of,
)
from didgen.downstream.benchmark.job import BenchmarkJob, Training
from didgen.downstream.benchmark.plots import FOLDER as PLOTS_FOLDER
from didgen.downstream.benchmark.results import (
    FILTER_FOLDER,
    VALIDATION_NAME,
    WEIGHTS_NAME,
    copy_records,
    find_result,
    find_tested,
    has_weights,
    write_result,
    write_tested,
)
from didgen.downstream.benchmark.task import E, Task, primary_scores
from didgen.downstream.benchmark.training import start_accelerator
from didgen.downstream.benchmark.training_result import Result, Tested
from didgen.downstream.data.images import Pictures
from didgen.downstream.stats.choice import Candidate, choose
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_abandoned, leftovers
from didgen.manifests.locks import claimed
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.runs.order import keep_order

Make: TypeAlias = Callable[[Training, Asked, OnStep], Result]


@dataclass(frozen=True)
class Findings(Generic[E]):
    """What the trainings of a benchmark came to.

    predictions: on each part, by training: val of all, test and outside of the tested ones.
    choices: by run, its uses as validation ranks them.
    """

    results: Mapping[Training, Result]
    judged: Mapping[Training, Result]
    predictions: Mapping[str, Mapping[Training, E]]
    tested: Mapping[Training, Tested]
    choices: Mapping[str, tuple[Candidate, ...]]

    @property
    def chosen(self) -> dict[str, str]:
        """The chosen arm of each run, in the order of the recipe."""
        return {run: next(c.name for c in every if c.chosen) for run, every in self.choices.items()}


class Rounds(Generic[E]):
    """Trainings that are made round by round: those of the search, then those that were chosen.

    The networks of the filter come before the trainings that need what they keep.
    """

    def __init__(self, task: Task[Any, E], out: Path, progress: Progress | None) -> None:
        self.task, self.out, self.progress = task, out, progress
        self.results: dict[Training, Result] = {}
        self.judged: dict[Training, Result] = {}
        self.steps = 0
        self.total = sum(training.steps for training in task.job.at_most())

    def go_on(self, trainings: Sequence[Training]) -> None:
        """Make these trainings; one whose result is there is not made again."""
        task, out = self.task, self.out
        judges = {judge: _asked(task, judge) for judge in task.job.judges_of(trainings)}
        self.judged |= self._made(judges, lambda t, values, step: task.judge(t, out, values, step))
        task.learn(out, judges)
        asked = {t: _asked(task, t) for t in trainings}
        # What the filter decides is known only now.
        finished(asked, out)
        task.tell(out)
        self.results |= self._made(asked, self.make)

    def make(self, training: Training, asked: Asked, on_step: OnStep = None) -> Result:
        """Train a network anew, or from its checkpoint."""
        return _train(self.task, training, Place(folder_of(self.out, training), asked, on_step))

    def again(self, training: Training) -> Result:
        """Train a network whose weights are gone."""
        return self.make(training, _asked(self.task, training))

    def _made(self, asked: Mapping[Training, Asked], make: Make) -> dict[Training, Result]:
        before, report = self.steps, self.progress
        advance = None if report is None else lambda done, _: report(before + done, self.total)
        self.steps += sum(training.steps for training in asked)
        return results_of(asked, self.out, make, advance)


@contextmanager
def alone(job: BenchmarkJob[Any], out: Path) -> Iterator[None]:
    """Keep other processes out of a benchmark's folder, and delete what killed writes left there.

    A DidgenError where another process is at work in it.
    """
    with claimed(out, "benchmark", wait=False) as got:
        if not got:
            raise DidgenError(
                f"Another process is at work in {out}; wait for it, or choose another folder."
            )
        trainings = (*job.judges, *job.trainings)
        parts = [*(folder_of(out, one) for one in trainings), *(out / FILTER_FOLDER).glob("*")]
        found = [path for part in (*parts, out / PLOTS_FOLDER) for path in leftovers(part)]
        if records := job.recipe.records:
            # Other benchmarks may be writing there.
            kept = (path for one in trainings for path in leftovers(folder_of(records, one)))
            found += filter(is_abandoned, kept)
        for path in found:
            path.unlink(missing_ok=True)
        yield


def carry_out(task: Task[Any, E], out: Path, progress: Progress | None = None) -> Findings[E]:
    """Train, choose and test in the folder `out`.

    Trainings whose result is there are not made again; a long one that was stopped goes on.
    `progress` is called with (steps done, steps of all trainings).
    """
    job, rounds = task.job, Rounds(task, out, progress)
    _take_records(job, out)
    waiting = [t for t in job.trainings if not job.recipe.arm(t.arm).filter]
    # A folder of another recipe is refused before anything is trained.
    finished({t: _asked(task, t) for t in (*job.judges, *waiting)}, out)
    keep_order(out, job.recipe.kind, job.recipe.model_dump(mode="json"))
    rounds.go_on([t for t in job.trainings if job.in_search(t)])
    validation = {t: task.read(folder_of(out, t), "val") for t in rounds.results}
    choices = choices_of(task, validation)
    chosen = {one.name for every in choices.values() for one in every if one.chosen}
    # Further seeds are for the test alone.
    left = [t for t in job.trainings if t not in rounds.results] if job.recipe.test else []
    others = [t for t in left if t.arm in chosen]
    rounds.go_on(others)
    validation |= {t: task.read(folder_of(out, t), "val") for t in others}
    tested = _tested(task, out, rounds.results, choices, rounds.again)
    predictions: dict[str, Mapping[Training, E]] = {"val": validation}
    for part in _parts(job):
        predictions[part] = {t: task.read(folder_of(out, t), part) for t in tested}
    _leave(job, out)
    if progress:
        # The chosen use may have cost less than another one.
        progress(rounds.total, rounds.total)
    return Findings(rounds.results, rounds.judged, predictions, tested, choices)


def results_of(
    asked: Mapping[Training, Asked], out: Path, make: Make, progress: Progress | None = None
) -> dict[Training, Result]:
    """The results of trainings in their order: those that are there, and the others by `make`.

    `progress` is called with (steps done, all steps).
    """
    results = finished(asked, out)
    total = sum(training.steps for training in asked)
    done = 0
    for training, values in asked.items():
        if training not in results:
            advance = None if progress is None else _offset(progress, done, total)
            results[training] = make(training, values, advance)
            (folder_of(out, training) / CHECKPOINT_NAME).unlink(missing_ok=True)
        done += training.steps
        if progress:
            progress(done, total)
    return results


def finished(asked: Mapping[Training, Asked], out: Path) -> dict[Training, Result]:
    """The results that are there; one that was asked for otherwise is a `DidgenError`."""
    found = {t: find_result(folder_of(out, t), values) for t, values in asked.items()}
    return {training: result for training, result in found.items() if result is not None}


def _asked(task: Task[Any, Any], training: Training) -> Asked:
    job = task.job
    if training in job.judges:
        return asked_of(job, training, task.asked(training))
    arm, given = job.recipe.arm(training.arm), task.given(training)
    images: dict[str, Any] = {"train": len(given.real)}
    images |= {split: len(job.images[split]) for split in ("val", "test")}
    data = {"real": job.data["real"]}
    if (run := job.run_of(arm, training)) is not None:
        more = given.synthetic if arm.role == "use" else given.shared
        assert more is not None
        images["synthetic" if arm.role == "use" else "shared"] = len(more)
        data["run"] = run.sha256 if arm.role == "use" else fingerprint(list(more.keys))
    settled = {"use": arm.settings(), "images": images, "data": data}
    return asked_of(job, training, settled | task.asked(training))


def train_on(
    task: Task[Any, Any], training: Training, place: Place, made: Callable[[], Any]
) -> tuple[Accelerator, nn.Module, Any]:
    """Train the network of a training on the training set that `made` makes."""
    job = task.job
    arm = next((arm for arm in job.recipe.arms if arm.name == training.arm), None)

    def setup(accelerator: Accelerator) -> Setup:
        network = task.build(training.network, job.starts[training.network.called].weights.file)
        loss = task.loss(arm).to(accelerator.device)

        def loss_of(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            return loss(task.outputs(module, batch["pixels"]), batch)

        return Setup(network, made(), loss_of, lambda m: task.score(m, job.images["val"]))

    return fit(job, training, place, setup)


def _train(task: Task[Any, E], training: Training, place: Place) -> Result:
    arm = task.job.recipe.arm(training.arm)
    accelerator, network, trained = train_on(
        task, training, place, lambda: arm.how.training_set(task.given(training))
    )
    with torch.no_grad(), accelerator.autocast():
        predicted = task.predict(network, task.job.images["val"])
    figures = task.figures(predicted)
    return write_result(
        place.folder,
        {VALIDATION_NAME: task.rows(task.nameless(predicted, "val"))},
        # The bare network, whose weights its library loads again.
        network.get_submodule("network"),
        record_of(task.job, place.asked, (accelerator, trained), figures, task.packages),
    )


def choices_of(
    task: Task[Any, E], validation: Mapping[Training, E]
) -> dict[str, tuple[Candidate, ...]]:
    """The uses of each run as validation images rank them, over networks, scales and seeds."""
    job = task.job
    choices = {}
    for run in job.recipe.runs:
        arms = sorted(
            (arm for arm in job.recipe.arms if arm.run == run and arm.role == "use"),
            key=lambda arm: arm.plain,
        )
        scores = {
            arm.name: [
                primary_scores(task, [validation[t] for t in group])
                for group in groups_of(job, arm.name, validation)
            ]
            for arm in arms
        }
        every = next(iter(validation.values()))
        choices[run] = choose(
            scores, every.units, task.primary.higher_is_better, task.strata(every)
        )
    return choices


def groups_of(job: BenchmarkJob[Any], arm: str, there: Container[Training]) -> list[list[Training]]:
    """The trainings of an arm that are there, by network and scale, each by seed."""
    return [
        [
            t
            for t in job.trainings
            if (t.network, t.real, t.arm) == (network, real, arm) and t in there
        ]
        for real in job.recipe.real
        for network in job.recipe.networks
    ]


def arms_to_test(job: BenchmarkJob[Any], choices: Mapping[str, Iterable[Candidate]]) -> set[str]:
    """The arms that test images are shown to: controls, cheap rivals, each run's chosen use."""
    chosen = {one.name for every in choices.values() for one in every if one.chosen}
    return chosen | {arm.name for arm in job.recipe.arms if arm.role != "use"}


def _parts(job: BenchmarkJob[Any]) -> list[str]:
    if not job.recipe.test:
        return []
    return ["test"] if job.outside is None else ["test", "outside"]


def _tested(
    task: Task[Any, E],
    out: Path,
    results: dict[Training, Result],
    choices: Mapping[str, Iterable[Candidate]],
    again: Callable[[Training], Result],
) -> dict[Training, Tested]:
    """The tests of the arms that are tested; a network whose weights are gone is trained again."""
    job = task.job
    arms, found = arms_to_test(job, choices), {}
    data = {part: fingerprint(_what(task.images_of(part))) for part in _parts(job)}
    for training in (t for t in job.trainings if data and t.arm in arms and t in results):
        folder = folder_of(out, training)
        tested = find_tested(folder, results[training], data)
        if tested is None:
            if not has_weights(folder, results[training]):
                results[training] = again(training)
            tested = _test(task, training, folder, results[training], data)
        found[training] = tested
    return found


def _what(images: Pictures) -> list[str]:
    """What the images of a test are, as a list that JSON can hold."""
    return [*images.keys, str(tuple(images.pixels.shape))]


def _test(
    task: Task[Any, E],
    training: Training,
    folder: Path,
    result: Result,
    data: Mapping[str, str],
) -> Tested:
    """Have a trained network predict the test images, and those of another source."""
    recipe = task.job.recipe
    accelerator = start_accelerator(recipe.mixed_precision, (), folder)
    network = task.build(training.network, None)
    network.get_submodule("network").load_state_dict(load_file(folder / WEIGHTS_NAME))
    network.to(accelerator.device).to(memory_format=torch.channels_last)
    network.eval()
    with torch.no_grad(), accelerator.autocast():
        predicted = {part: task.predict(network, task.images_of(part)) for part in data}
    return write_tested(
        folder,
        result,
        {part: task.rows(task.nameless(one, part)) for part, one in predicted.items()},
        data,
        {part: task.figures(one) for part, one in predicted.items()},
    )


def _take_records(job: BenchmarkJob[Any], out: Path) -> None:
    """Go on from the records that another machine, or another day, has left."""
    if job.recipe.records is not None:
        for training in (*job.judges, *job.trainings):
            kept, folder = (folder_of(place, training) for place in (job.recipe.records, out))
            if not (folder / "result.json").is_file():
                copy_records(kept, folder)


def _leave(job: BenchmarkJob[Any], out: Path) -> None:
    """Leave the records, and no weights where the recipe keeps none."""
    for training in (*job.judges, *job.trainings):
        folder = folder_of(out, training)
        if not job.recipe.keep_weights:
            (folder / WEIGHTS_NAME).unlink(missing_ok=True)
        if job.recipe.records is not None:
            copy_records(folder, folder_of(job.recipe.records, training))


def _offset(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda step: progress(before + step, total)
