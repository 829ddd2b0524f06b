"""New captions of a class from the known ones, by a language model, as the paper does it.

Notable choices:
- Answers are sampled by seeds of their own, so that those to one question differ.
- A sentence that is known, or that the model has said before of the class, is dropped and counted.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from didgen.augment.captions.answers import Unfit
from didgen.augment.captions.caption import Cache, Caption, cache_key
from didgen.augment.captions.describe import FORM, WORDS, Describer
from didgen.augment.captions.llm import Question
from didgen.augment.prompts.prompt import PREFIX, diagnosis
from didgen.augment.prompts.prompt_source import Captions, Prompts, captions_of
from didgen.augment.seeds import derived_seed
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_json_lines
from didgen.manifests.sources.records import SourceManifest

EXAMPLES = 6
"""Known captions that a model is shown for a new one."""

INVENT = (
    "These sentences describe dermoscopic images of one kind of skin lesion:\n{examples}\n"
    f"Write one new sentence of at most {WORDS} words about another such image, in the same words "
    f"and form, on {FORM}. Answer with the sentence alone, and end it with a full stop."
)
INVENT_BY_SCHEMA = (
    "These sentences describe dermoscopic images of one kind of skin lesion:\n{examples}\n"
    "Fill in what could be seen on another such image; null is for what cannot be told."
)


def invent(
    known: Captions,
    counts: Mapping[str, int],
    describer: Describer,
    *,
    seed: int,
    cache: Cache,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Caption]]:
    """Write `counts[label]` new captions of each class; yield (label, caption) in that order.

    The examples of caption i of a class depend on the seed, the class and i only. Where the
    model's words do not fit, known attributes are recombined instead, and the caption says why.
    A class without captions is a `DidgenError`, and so is an endpoint that does not answer.
    """
    prompts = Prompts(known, describer.count_tokens)
    wanted = [(label, number) for label, count in counts.items() for number in range(count)]

    def one(place: tuple[str, int]) -> Caption:
        label, number = place
        drawn = derived_seed(seed, "captions", label, number)
        stand_in = prompts.draw(label, drawn).removeprefix(PREFIX)
        examples = _examples(known[label], drawn)
        key = cache_key(label, number, seed, examples, describer.name)
        if (cached := cache.get(key)) is not None:
            return cached
        (said,) = describer.write(
            [Question(INVENT.format(examples=examples), seed=drawn)],
            [Question(INVENT_BY_SCHEMA.format(examples=examples), seed=drawn)],
            [diagnosis(label or None)],
        )
        generated = Caption(stand_in, said.reason) if isinstance(said, Unfit) else Caption(said)
        cache.add(key, generated)
        return generated

    pool = ThreadPoolExecutor(describer.chat.concurrency)
    try:
        for done, (place, generated) in enumerate(
            zip(wanted, pool.map(one, wanted), strict=True), 1
        ):
            if progress is not None:
                progress(done, len(wanted))
            yield place[0], generated
    finally:
        pool.shutdown(cancel_futures=True)
        describer.close()


@dataclass(frozen=True)
class Written:
    """New captions: how many, doubles that were dropped, and recombined ones by reason."""

    captions: int
    doubles: int
    recombined: Mapping[str, int]


def write_captions(
    manifest: SourceManifest,
    describer: Describer,
    out: Path,
    per_class: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write new captions of every class of a manifest's training split to `out`, JSON lines.

    `read_captions` reads them back. Finished ones are cached beside `out`, so that a stopped run
    goes on. Doubles are left out.
    """
    known = captions_of((r.label, r.caption) for r in manifest.select(split="train"))
    if not known:
        raise DidgenError("No training image has a caption; run `didgen caption` first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    cache = Cache(out.with_name(out.name + ".cache"))
    counts = dict.fromkeys(sorted(known), per_class)
    asked = invent(known, counts, describer, seed=seed, cache=cache, progress=progress)
    generated, doubles = without_doubles(known, asked)
    rows = (
        {
            "label": label or None,
            "caption": caption.text,
            "caption_by": describer.name,
            "caption_fallback": caption.fallback,
        }
        for label, caption in generated
    )
    write_json_lines(out, rows)
    return Written(
        len(generated),
        doubles,
        Counter(caption.fallback for _, caption in generated if caption.fallback),
    )


def without_doubles(
    known: Captions, generated: Iterable[tuple[str, Caption]]
) -> tuple[list[tuple[str, Caption]], int]:
    """The captions that say something new of their class, in their order, and how many do not.

    A recombined caption stands for an answer that did not fit: it stays, new or not.
    """
    said = {(label, _alike(text)) for label, captions in known.items() for text in captions}
    kept, doubles = [], 0
    for label, caption in generated:
        place = label, _alike(caption.text)
        if caption.fallback is None and place in said:
            doubles += 1
        else:
            kept.append((label, caption))
        said.add(place)
    return kept, doubles


def _alike(text: str) -> str:
    """A sentence without what makes no other one of it: case and punctuation."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _examples(captions: Sequence[str], seed: int) -> str:
    """Some known captions, one a line."""
    rng = np.random.default_rng([seed, 2])
    chosen = rng.choice(len(captions), min(EXAMPLES, len(captions)), replace=False)
    return "\n".join(f"- {captions[int(index)]}" for index in chosen)
