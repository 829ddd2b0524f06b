"""The commands on captions: caption and prompts; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.manifests.choices import CaptionBackend, ChatBackend
from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import DryRun, Source
from didgen.manifests.privacy.paths import LEFT_OUT
from didgen.manifests.progress import terminal_progress

if TYPE_CHECKING:
    from didgen.augment.captions.caption import Captioner
    from didgen.manifests.runs.order import Order

ChatModel = Annotated[
    str | None, typer.Option(help="Language model: a hub id, a folder, or the endpoint's name.")
]
ShortenWith = Annotated[
    str | None, typer.Option(help="Another model that shortens what the first one says.")
]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible endpoint.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to an endpoint at once.")]
Retries = Annotated[int, typer.Option(min=0, help="Further tries of a failed request.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that transformers takes at once.")]
Target = Annotated[
    str, typer.Option(help="Stable Diffusion model whose tokenizer counts the 77 tokens.")
]


def caption(
    source: Source,
    backend: Annotated[
        CaptionBackend,
        typer.Option(help="Measure the pixels, or ask a language model, here or elsewhere."),
    ] = "measure",
    model: ChatModel = None,
    shorten_with: ShortenWith = None,
    base_url: BaseUrl = None,
    concurrency: Concurrency = 8,
    retries: Retries = 5,
    batch_size: BatchSize = 4,
    target: Target = "mini",
    replace: Annotated[
        bool, typer.Option("--replace", help="Also replace captions of another backend or model.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG for random images with their captions.")
    ] = None,
    sheet_count: Annotated[int, typer.Option(min=1, help="Images on that sheet.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that sheet.")] = 0,
    dry_run: DryRun = False,
) -> NextStep:
    """Write one clinical sentence (DermPrompt) for every image that has none into the manifest.

    Goes on where a stopped run stopped; the key of an endpoint is read from OPENAI_API_KEY.
    Example: didgen caption runs/isic2018 --sheet captions.png
    """
    if backend == "measure" and (model or shorten_with or base_url):
        raise typer.BadParameter("a language model needs its backend", param_hint="--backend")
    asked = {
        "backend": backend,
        "model": model,
        "shorten_with": shorten_with,
        "base_url": base_url,
        "concurrency": concurrency,
        "retries": retries,
        "batch_size": batch_size,
        "target": target,
        "replace": replace,
    }
    step = _caption(source, asked, dry_run=dry_run)
    if sheet is not None and not dry_run:
        from didgen.augment.contact_sheets import write_caption_sheet
        from didgen.manifests.sources.records import SourceManifest

        write_caption_sheet(SourceManifest.read(source), sheet, sheet_count, seed)
        print(f"The sheet is {sheet}.")
    return step


def _caption(source: Path, asked: Mapping[str, Any], *, dry_run: bool) -> NextStep:
    """Say what is to be captioned, caption it, and say what could not be as was asked."""
    from didgen.augment.captions.caption import caption_source, captioner_of, to_do
    from didgen.manifests.runs.order import keep_order
    from didgen.manifests.sources.records import SourceManifest

    captioner = captioner_of(asked)
    target, replace = asked["target"], asked["replace"]
    manifest = SourceManifest.read(source)
    missing = len(to_do(manifest, captioner.name, replace))
    print(f"{missing} of {len(manifest.records)} images are to be captioned by {captioner.name}.")
    others = sum(r.caption is not None and r.caption_by != captioner.name for r in manifest.records)
    if others and not replace:
        print(f"{others} have a caption of another backend or model; --replace redoes those.")
    if dry_run:
        print(_estimate(missing, captioner))
        return None
    if not missing:
        manifest = caption_source(source, captioner, target=target, again=replace)
    else:
        # An address may hold a password.
        address = asked["base_url"]
        kept = LEFT_OUT if address and "@" in address else address
        keep_order(source, "caption", {**asked, "base_url": kept})
        with terminal_progress("captions") as advance:
            manifest = caption_source(
                source, captioner, target=target, again=replace, progress=advance
            )
        first = manifest.records[0].caption
        print(f"Captions are in {source / 'records.jsonl'}, for example: {first}")
    for reason, count in manifest.header.caption_fallbacks.items():
        print(f"{count} captions were measured in place of the model's words: {reason}.")
    return then("init", source)


def _estimate(missing: int, captioner: "Captioner") -> str:
    """How long so many captions take, in words."""
    from didgen.augment.captions.caption import Measured
    from didgen.augment.models.cost import caption_cost

    if isinstance(captioner, Measured):
        return caption_cost(missing, captioner.workers)
    return "Nobody knows how long a language model takes; it is not asked by --dry-run."


def prompts(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="File for the captions, JSON lines.")],
    backend: Annotated[
        ChatBackend,
        typer.Option(help="A language model on this machine or behind an endpoint."),
    ],
    per_class: Annotated[int, typer.Option(min=1, help="New captions of each class.")] = 100,
    model: ChatModel = None,
    shorten_with: ShortenWith = None,
    base_url: BaseUrl = None,
    concurrency: Concurrency = 8,
    retries: Retries = 5,
    batch_size: BatchSize = 4,
    target: Target = "mini",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the examples shown.")] = 42,
    dry_run: DryRun = False,
) -> NextStep:
    """Write new captions by a language model, for a recipe's `captions` field.

    Without them, `augment` recombines what is known of a class. Goes on where a stopped run
    stopped; the key of an endpoint is read from OPENAI_API_KEY.
    Example: didgen prompts runs/isic2018 --out new.jsonl --backend openai --model my-model
    """
    from didgen.augment.captions.caption import describer
    from didgen.augment.captions.invent import write_captions
    from didgen.augment.captions.llm import ChatSettings
    from didgen.augment.models.tokens import token_counter
    from didgen.manifests.sources.records import SourceManifest

    manifest = SourceManifest.read(source)
    settings = ChatSettings(backend, model, base_url, concurrency, retries, batch_size)
    asked = describer(settings, shorten_with, token_counter(target))
    if dry_run:
        print(f"{per_class} captions of each class would be asked of {asked.name}.")
        return None
    with terminal_progress("captions") as advance:
        written = write_captions(manifest, asked, out, per_class, seed, progress=advance)
    print(f"{written.captions} new captions are in {out}; name it as `captions` in a recipe.")
    if written.doubles:
        print(f"{written.doubles} were dropped, because they were known or said before.")
    for reason, count in written.recombined.items():
        print(f"{count} were recombined in place of the model's words: {reason}.")
    return then("recipes", "mini-images")


def resume_caption(order: "Order", directory: Path) -> NextStep:
    """Go on with the captions of a source."""
    return _caption(directory, order.recipe, dry_run=False)
