"""Review and guess: the two kinds of lines that `reviews.jsonl` holds."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from didgen.manifests.choices import Config
from didgen.manifests.shards.index import Sha256

Verdict = Literal["accepted", "rejected", "withdrawn"]
"""What a reviewer decides; `withdrawn` takes back what the same reviewer said before."""

Reason = Literal[
    "no lesion",
    "wrong class",
    "wrong outline",
    "artefact",
    "blurred",
    "copy of a real image",
    "other",
]
"""Why a sample is rejected."""

REASONS: tuple[Reason, ...] = get_args(Reason)

Origin = Literal["real", "synthetic"]

ORIGINS: tuple[Origin, Origin] = get_args(Origin)

MAX_POINTS = 2000
"""Points of one closed curve."""

MAX_CURVES = 20

NOTE_LENGTH = 500

NAME_LENGTH = 60

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=r"^\S(.*\S)?$")]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

Curve: TypeAlias = Annotated[
    tuple[tuple[Share, Share], ...], Field(min_length=3, max_length=MAX_POINTS)
]
"""A closed curve: its points (x, y) as shares of the image's width and height."""

Curves: TypeAlias = Annotated[tuple[Curve, ...], Field(max_length=MAX_CURVES)]
"""The outline of a lesion: what lies within any of some closed curves."""


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reviewer: Name
    time: str = Field(default_factory=now, max_length=40)
    config: Config
    key: str = Field(min_length=1, max_length=200)


class Review(_Line):
    """What a reviewer decides of one sample of the shard with this hash.

    label: the class, where it is another than the one the sample was made for; curves: the outline,
    where it was drawn anew.
    """

    kind: Literal["review"] = "review"
    sha256: Sha256
    verdict: Verdict
    reason: Reason | None = None
    note: str = Field(default="", max_length=NOTE_LENGTH)
    label: str | None = Field(default=None, min_length=1, max_length=200)
    curves: Curves = ()

    @model_validator(mode="after")
    def _parts_fit_the_verdict(self) -> Self:
        if (self.reason is not None) != (self.verdict == "rejected"):
            raise ValueError("a rejected sample needs a reason, and no other one has any")
        if self.verdict != "accepted" and (self.label or self.curves):
            raise ValueError("only an accepted sample gets another class or outline")
        return self


class Guess(_Line):
    """What a reviewer took one image of a blind test for.

    key: of the sample, or of the real image; test: of which test it is; place: where the image
    stood in it.
    """

    kind: Literal["guess"] = "guess"
    test: str = Field(min_length=1, max_length=64)
    place: int = Field(ge=0)
    origin: Origin
    said: Origin


Line: TypeAlias = Annotated[Review | Guess, Field(discriminator="kind")]

LINE: TypeAdapter[Review | Guess] = TypeAdapter(Line)
