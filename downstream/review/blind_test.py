"""The blind test: real and synthetic images in turn, and how well a reviewer tells them apart.

Notable choices:
- As many real as synthetic images, class by class, so that no class gives its origin away.
- All images come to one size and through one JPEG encoder, and are served as pixels by their place:
  neither size nor file tells what they are.
- All reviewers see the same images, each in an order of their own, and nothing of a result before
  the last answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageOps

from didgen.downstream.review.pictures import Pictures
from didgen.downstream.review.samples import ReviewJob
from didgen.downstream.stats.detection import Detection, detection
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode, encoded, read_image
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.reviews.record import Guess, Origin
from didgen.manifests.sources.records import SourceRecord
from didgen.manifests.sources.subset import rank

JPEG_QUALITY = 95

IMAGES = 40
"""Images of a test, where nobody says otherwise."""


class NoTestError(DidgenError):
    """A run that can have no blind test."""


@dataclass(frozen=True)
class Shown:
    """One image of a test: the key of a sample, or of a real image."""

    key: str
    origin: Origin


@dataclass(frozen=True)
class BlindTest:
    """A test of a run: its id, and its images in the order of the plan."""

    id: str
    config: Config
    images: tuple[Shown, ...]

    def in_order(self, reviewer: str) -> list[Shown]:
        """The images in the order in which a reviewer sees them."""
        own = f"{self.id} {reviewer}"
        return sorted(self.images, key=lambda one: rank(0, own, f"{one.origin}/{one.key}"))

    def answers(self, guesses: Iterable[Guess], reviewer: str) -> dict[int, Guess]:
        """What a reviewer answered, by place; the first answer of a place counts."""
        found: dict[int, Guess] = {}
        for guess in guesses:
            if guess.test == self.id and guess.reviewer == reviewer:
                found.setdefault(guess.place, guess)
        return found

    def results(self, guesses: Sequence[Guess]) -> dict[str, Detection]:
        """The figures of each reviewer who has answered for all images."""
        names = dict.fromkeys(guess.reviewer for guess in guesses if guess.test == self.id)
        found = {}
        for name in names:
            answers = self.answers(guesses, name)
            if len(answers) == len(self.images):
                found[name] = _figures(answers.values())
        return found


def _figures(answers: Iterable[Guess]) -> Detection:
    said: dict[Origin, list[bool]] = {"real": [], "synthetic": []}
    for guess in answers:
        said[guess.origin].append(guess.said == "synthetic")
    synthetic, real = said["synthetic"], said["real"]
    return detection(sum(synthetic), len(synthetic), sum(real), len(real))


def blind_test(job: ReviewJob, count: int = IMAGES, seed: int = 0) -> BlindTest:
    """Choose `count` images, half of them real; of each class as many of both kinds.

    Real images are those that the source holds out, and training images of a class without any.
    Where there are too few, the test is shorter; without a source, or where no class has both, a
    `NoTestError`.
    """
    if job.origin == "real":
        raise NoTestError("A source has no synthetic images to tell apart; review a run of them.")
    if job.source is None:
        raise NoTestError(
            "A blind test needs real images, and the source of the run is not at hand; name its "
            "folder by `--real`."
        )
    config: Config = "images" if "images" in job.configs else "pairs"
    real, synthetic = _real(job, config), defaultdict[str, list[str]](list)
    for (kind, key), sample in job.samples.items():
        if kind == config:
            synthetic[_group(config, sample.label)].append(key)

    def drawn(origin: Origin, group: str, keys: Iterable[str]) -> list[Shown]:
        ranked = sorted(keys, key=lambda key: rank(seed, f"{origin} {group}", key))
        return [Shown(key, origin) for key in ranked]

    # Class by class in turn, so that a short test has as many classes as it can.
    turns = zip_longest(
        *(
            zip(drawn("real", name, real[name]), drawn("synthetic", name, keys), strict=False)
            for name, keys in sorted(synthetic.items())
        )
    )
    pairs = [pair for turn in turns for pair in turn if pair is not None]
    images = tuple(image for pair in pairs[: count // 2] for image in pair)
    if not images:
        raise NoTestError(
            f"No class of {job.directory} has a real image in its source; name another source by "
            "`--real`."
        )
    shards = job.shards
    identity = fingerprint([shards, seed, [[one.origin, one.key] for one in images]])[:16]
    return BlindTest(identity, config, images)


def _group(config: Config, label: str) -> str:
    """Within which as many real as synthetic images are shown: a class of images, or all pairs."""
    return label if config == "images" else ""


def _real(job: ReviewJob, config: Config) -> dict[str, list[str]]:
    """The keys of the real images of each group: held-out ones, else training ones."""
    by_split: dict[bool, dict[str, list[SourceRecord]]] = {
        part: defaultdict(list) for part in (True, False)
    }
    for record in job.records.values():
        fits = record.label is not None if config == "images" else record.mask is not None
        if fits:
            group = _group(config, record.label or "")
            by_split[record.split == "train"][group].append(record)
    chosen = {**by_split[True], **by_split[False]}
    return defaultdict(list, {name: [r.key for r in found] for name, found in chosen.items()})


def blind_picture(test: BlindTest, pictures: Pictures, shown: Shown) -> bytes:
    """An image of a test as PNG, from which its origin cannot be told but by looking."""
    job = pictures.job
    first = next(one for one in test.images if one.origin == "synthetic")
    width, height = pictures.size(job.samples[test.config, first.key])
    if shown.origin == "synthetic":
        sample = job.samples[test.config, shown.key]
        image = decode(pictures.members(sample)["jpg"], Path(sample.shard) / sample.key)
    else:
        assert job.source is not None
        image = read_image(job.source.image_path(job.records[shown.key]))
    fitted = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    through = encoded(fitted, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded(decode(through, Path(shown.key)).convert("RGB"), "PNG")
