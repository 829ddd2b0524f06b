"""The arm of a recipe: its name, the run that it takes, and how it uses it."""

import difflib
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from didgen.downstream.benchmark.arms.registry import SIMPLICITY, USES
from didgen.downstream.benchmark.arms.use import Role, Use
from didgen.manifests.recipes.fields import Rate, Section, Share

NAME = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,59}$"


class Arm(Section):
    """One arm of a benchmark."""

    name: Annotated[str, Field(pattern=NAME)]
    """What the report and the folder call it."""
    use: str
    """How it trains; the page on benchmarks lists every use."""
    run: str | None = None
    """The run whose samples it takes, by its name in `runs`."""
    share: Share | None = None
    """`half`: of a batch; `first`, `shared-network`: of the steps; `replace`, `copy-paste`: how
    often; `twin`: of the synthetic image at first. null is the default of the use."""
    weight: Rate = 1.0
    """Of a synthetic sample in the loss, where a real one has 1."""
    filter: bool = False
    """Whether only the pairs that the quality filter keeps are used; `use: filter` says so too."""

    @model_validator(mode="before")
    @classmethod
    def said_once(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("use") in USES:
            use = USES[values["use"]]
            if values.get("share") is None and use.share is not None:
                values = values | {"share": use.share}
            if use.filtered:
                values = values | {"filter": True}
        return values

    @model_validator(mode="after")
    def a_use_with_what_it_takes(self) -> Self:
        if self.use not in USES:
            near = difflib.get_close_matches(self.use, USES, n=1, cutoff=0)[0]
            raise ValueError(f"{self.use} is no use of an arm; the nearest one is {near}")
        use = USES[self.use]
        if use.of_run != (self.run is not None):
            needs = "needs" if use.of_run else "takes no"
            raise ValueError(f"the arm `{self.name}` {needs} `run`, which `{self.use}` says")
        if self.share is not None and use.share is None:
            raise ValueError(f"the arm `{self.name}` has a `share`, and `{self.use}` takes none")
        if use.role != "use" and (self.weight != 1.0 or self.filter):
            raise ValueError(
                f"the arm `{self.name}` has `weight` or `filter`, which are for samples of a run"
            )
        return self

    @property
    def how(self) -> Use:
        """The use of the registry."""
        return USES[self.use]

    @property
    def role(self) -> Role:
        """Whether it is a control, a cheap rival or a use of a run."""
        return self.how.role

    @property
    def plain(self) -> tuple[int, bool, bool]:
        """Its place in the order of simplicity, the simplest first."""
        return SIMPLICITY.index(self.use), self.filter, self.weight != 1.0

    def settings(self) -> dict[str, Any]:
        """What decides its trainings besides their images, as JSON values."""
        return self.model_dump(exclude={"name", "run"}, exclude_none=True)
