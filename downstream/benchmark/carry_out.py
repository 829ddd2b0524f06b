"""Carrying out: every training of a benchmark, the choice on validation images, and the test.

Notable choices:
- Synthetic samples stand in training sets only; validation and test are real.
- Validation chooses the use of each run; test images are predicted by the chosen uses, the
  controls and the cheap rivals alone.
"""

from collections.abc import Callable, Container, Iterable, Mapping
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
from didgen.downstream.benchmark.results import (
    VALIDATION_NAME,
    WEIGHTS_NAME,
    Result,
    Tested,
    copy_records,
    find_result,
    find_tested,
    has_weights,
    write_result,
    write_tested,
)
from didgen.downstream.benchmark.task import E, Task, primary_scores
from didgen.downstream.benchmark.training import start_accelerator
from didgen.downstream.data.images import Pictures
from didgen.downstream.stats.choice import Candidate, choose
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint

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


def carry_out(task: Task[Any, E], out: Path, progress: Progress | None = None) -> Findings[E]:
    """Train, choose and test in the folder `out`.

    Trainings whose result is there are not made again; a long one that was stopped goes on.
    `progress` is called with (steps done, steps of all trainings).
    """
    job = task.job
    waiting = [t for t in job.trainings if not job.recipe.arm(t.arm).filter]
    asked = {t: _asked(task, t) for t in (*job.judges, *waiting)}
    _take_records(job, out)
    # A folder of another recipe is refused before anything is trained.
    finished(asked, out)
    first = sum(training.steps for training in job.judges)
    total = first + sum(training.steps for training in job.trainings)

    def from_(before: int) -> Progress | None:
        return None if progress is None else lambda done, _: progress(before + done, total)

    judges = {judge: asked[judge] for judge in job.judges}
    judged = results_of(judges, out, lambda t, a, s: task.judge(t, out, a, s), from_(0))
    task.learn(out)
    asked |= {t: _asked(task, t) for t in job.trainings if t not in asked}
    # Those that the filter makes are known only now.
    finished(asked, out)
    task.tell(out)

    def make(training: Training, values: Asked, on_step: OnStep) -> Result:
        return _train(task, training, Place(folder_of(out, training), values, on_step))

    searched = {t: asked[t] for t in job.trainings if _in_search(job, t)}
    results = results_of(searched, out, make, from_(first))
    validation = {t: task.read(folder_of(out, t), "val") for t in searched}
    choices = choices_of(task, validation)
    chosen = {one.name for every in choices.values() for one in every if one.chosen}
    others = {t: asked[t] for t in job.trainings if t not in results and t.arm in chosen}
    before = first + sum(training.steps for training in searched)
    results |= results_of(others, out, make, from_(before))
    validation |= {t: task.read(folder_of(out, t), "val") for t in others}
    tested = _tested(task, out, results, choices, lambda t: make(t, asked[t], None))
    predictions: dict[str, Mapping[Training, E]] = {"val": validation}
    for part in _parts(job):
        predictions[part] = {t: task.read(folder_of(out, t), part) for t in tested}
    _leave(job, out)
    return Findings(results, judged, predictions, tested, choices)


def _in_search(job: BenchmarkJob[Any], training: Training) -> bool:
    """Whether a training is made before the choice: a use of a run has some of the seeds alone."""
    seeds = job.recipe.seeds[: job.recipe.search]
    return training.seed in seeds or job.recipe.arm(training.arm).role != "use"


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
        {VALIDATION_NAME: task.rows(predicted)},
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
        lesions = job.images["val"].lesions
        choices[run] = choose(scores, lesions, task.primary.higher_is_better)
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
    for training in (t for t in job.trainings if t.arm in arms and t in results):
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
        {part: task.rows(one) for part, one in predicted.items()},
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
