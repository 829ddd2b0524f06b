"""The `didgen` command: its groups, its signals and its exit codes.

The commands themselves stand in each room's `commands.py`; here they are only registered, in the
order of the work.
"""

import io
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from didgen.augment import commands as augmenting
from didgen.downstream import commands as judging
from didgen.manifests import commands as describing
from didgen.manifests.errors import printable, sentence_of
from didgen.manifests.next_step import StepByStep
from didgen.manifests.runs.commands import going_on, say_stopped


class InOrder(StepByStep):
    """A group whose help lists commands and groups in the order of `GROUPS`, the work's own."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names as they were registered under their headings."""
        return [name_of(member) for members in GROUPS.values() for member in members]


app = typer.Typer(
    name="didgen",
    cls=InOrder,
    help="Class-balanced dermoscopic images and lesion-mask pairs from one diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Its two ways stand in rooms that do not know each other.
annotate = describing.annotating(augmenting.by_attention, judging.by_network)

GROUPS: dict[str, tuple[Callable[..., Any] | typer.Typer, ...]] = {
    "Start": (augmenting.init, describing.recipes, judging.weights),
    "Real images": (describing.import_app, annotate, augmenting.caption, augmenting.prompts),
    "The model": (augmenting.finetune,),
    "Synthetic samples": (
        augmenting.augment,
        describing.verify,
        describing.inspect,
        judging.review,
        describing.mix,
        describing.export,
        describing.push,
        describing.pull,
    ),
    "Stopped work": (going_on(describing.RESUMES | augmenting.RESUMES | judging.RESUMES),),
    "What they are worth": (
        judging.quality,
        judging.classify,
        judging.segment,
        judging.submission,
        judging.study,
        judging.report,
    ),
}
"""The commands in the order of the work, by the heading under which `--help` lists them."""


def name_of(member: Callable[..., Any] | typer.Typer) -> str:
    """The word by which a member is called; a group has it in its own settings."""
    return str(member.info.name) if isinstance(member, typer.Typer) else member.__name__


for heading, members in GROUPS.items():
    for member in members:
        if isinstance(member, typer.Typer):
            app.add_typer(member, rich_help_panel=heading)
        else:
            app.command(rich_help_panel=heading)(member)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"didgen {version('didgen')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, not one sentence.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Tell progress on stderr as a JSON object a line.")
    ] = False,
) -> None:
    """Read the options of every command; `main` looks for --debug itself."""
    if as_json:
        from didgen.manifests.progress import for_machines

        for_machines()


def _terminate(*_: object) -> NoReturn:
    """Leave by an exception, and let no second signal cut the leaving short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def main() -> NoReturn:
    """Run the command line; exit 0 done, 1 bad data or result, 2 usage, 130 or 143 stopped.

    SIGTERM stops like SIGINT: as an exception, so that whatever is half-written is dropped.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a letter shows its code: no success may end in a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        say_stopped(sys.argv[1:])
        sys.exit(130)
    except SystemExit as leaving:
        # Typer leaves by the code of Ctrl-C itself.
        if leaving.code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            say_stopped(sys.argv[1:])
        raise
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None or "--debug" in sys.argv:
            raise
        print(f"Error: {printable(sentence)}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
