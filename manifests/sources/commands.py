"""The command `annotate`, made of the ways to draw a mask that the rooms above have.

Heavy imports stand inside it, so that `--help` answers at once.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import DryRun, Source, folder
from didgen.manifests.progress import terminal_progress

if TYPE_CHECKING:
    from didgen.manifests.sources.annotating import Annotator, MaskGates

ByAttention: TypeAlias = "Callable[[str], Annotator]"
ByNetwork: TypeAlias = "Callable[[Path], Annotator]"

MaskArea = Annotated[
    tuple[float, float],
    typer.Option("--area", min=0, max=1, help="Least and largest share of the image of a mask."),
]


def annotating(by_attention: ByAttention, by_network: ByNetwork) -> Callable[..., NextStep]:
    """The command, by what opens a model of either way."""

    def annotate(
        source: Source,
        model: Annotated[
            str, typer.Option(help="Model whose attention draws: mini, a folder or a hub id.")
        ] = "mini",
        network: Annotated[
            Path | None,
            typer.Option(
                help="A segmentation net in the model's place: the folder of a training, "
                "OUT/runs/NETWORK/original/seed-0 of `segment`.",
                parser=folder,
            ),
        ] = None,
        area: MaskArea = (0.005, 0.95),
        components: Annotated[
            int, typer.Option(min=1, help="Most parts of a mask that do not touch.")
        ] = 3,
        separability: Annotated[
            float,
            typer.Option(min=0, max=1, help="Least separability (Otsu) of the model's attention."),
        ] = 0.8,
        again: Annotated[
            bool, typer.Option("--again", help="Redraw masks that no person drew or corrected.")
        ] = False,
        dry_run: DryRun = False,
    ) -> NextStep:
        """Give the images of a source that have no mask one, drawn by a model or a network.

        Masks lie in SOURCE/annotated. They are trained on, but are never the truth of a test or of
        validation. Correct them by `didgen review SOURCE` or in any editor, and call this again.
        Example: didgen annotate runs/own
        """
        from didgen.manifests.sources.annotating import MaskGates

        def opened() -> "Annotator":
            return by_network(network) if network else by_attention(model)

        bounds = MaskGates(area, components, separability=separability)
        return _annotate(source, None if dry_run else opened, bounds, again=again)

    return annotate


def _annotate(
    source: Path,
    opened: "Callable[[], Annotator] | None",
    bounds: "MaskGates",
    *,
    again: bool,
) -> NextStep:
    """Say what is to be drawn, draw it, and say what came of it; nothing is drawn by None."""
    from didgen.manifests.reviews.photographs import carry_out, reviewed_masks
    from didgen.manifests.sources.annotating import FOLDER, annotate_source, without_mask
    from didgen.manifests.sources.records import SourceManifest

    manifest, reviewed = SourceManifest.read(source), reviewed_masks(source)
    # Who says `--again` wants another mask for a rejected one, and keeps what is accepted.
    settled = "accepted" if again else "rejected"
    passed = {key for key, one in reviewed.items() if one.verdict == settled}
    todo = len(without_mask(manifest, again=again, passed=passed))
    print(f"{todo} of {len(manifest.records)} images are to get a mask.")
    if opened is None:
        return None
    with terminal_progress("masks") as advance:
        carry_out(source, reviewed)
        done = annotate_source(source, opened, bounds, again=again, passed=passed, progress=advance)
    if done.corrected:
        print(f"{done.corrected} masks were corrected by hand, and are taken in.")
    print(f"{done.drawn} masks are drawn, and {len(done.stopped)} were stopped by the gates.")
    for reason, count in Counter(done.stopped.values()).most_common(3):
        print(f"  {count}: {reason}")
    print(f"Masks are in {source / FOLDER}; no test takes them for the truth.")
    return then("caption", source, "--sheet", f"{source.name}-captions.png")
