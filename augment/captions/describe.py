"""From a language model's words to one sentence within the budget of tokens, or to a reason."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from didgen.augment.captions.answers import Unfit, one_sentence, unfenced
from didgen.augment.captions.llm import Chat, ChatSettings, Question
from didgen.augment.prompts.prompt import TOKEN_LIMIT, clean, compose, fit
from didgen.augment.prompts.schema import Attributes, Lesion, Surround
from didgen.augment.prompts.sentence import parse, render
from didgen.manifests.errors import DidgenError

PAPER_MODEL = "meta-llama/Llama-3.2-11B-Vision-Instruct"
"""The vision model of the paper, which `transformers` takes unless another one is named."""


def open_chat(settings: ChatSettings) -> Chat:
    """The model of some settings, not loaded and not connected to before its first question."""
    if settings.backend == "transformers":
        if settings.base_url is not None:
            raise DidgenError(
                "The backend transformers runs a model here and asks no endpoint; leave "
                "--base-url out, or give --backend openai."
            )
        from didgen.augment.captions.llm_transformers import TransformersChat

        return TransformersChat(settings.model or PAPER_MODEL, settings.batch_size)
    from didgen.augment.captions.llm_openai import OpenAIChat

    if settings.model is None:
        raise DidgenError("An OpenAI-compatible endpoint needs the name of a model; give --model.")
    return OpenAIChat(
        settings.model,
        base_url=settings.base_url,
        concurrency=settings.concurrency,
        retries=settings.retries,
    )


PROMPT_VERSION = 4
"""Raised with every change of the words below, or of how an image is shown beside them, so that
cached answers to others are not reused."""

WORDS = 40
"""Words that a sentence is asked to keep to; the budget itself is counted in tokens."""

FORM = (
    "the size, shape, colors and position of the lesion, its border, dermoscopic structures, the "
    "color of the skin, and hair, dark corners, ruler marks, ink or gel bubbles where there are any"
)

DESCRIBE = (
    "This is a dermoscopic image of a skin lesion. Describe it for a dermatologist in one sentence "
    f"of at most {WORDS} words that ends with a full stop: {FORM}. Say only what is seen, and "
    "give no diagnosis and no advice."
)

DESCRIBE_BY_SCHEMA = (
    "This is a dermoscopic image of a skin lesion. Fill in what is seen of the lesion and around "
    "it; null is for what cannot be told. Colors come by falling share, and structures that are "
    "not clearly seen are left out."
)

SHORTEN = (
    f"Shorten this description of a dermoscopic image to one sentence of at most {WORDS} words. "
    "Keep size, shape, colors and position of the lesion first. Answer with the sentence alone, "
    "and end it with a full stop.\n\n"
)


class Seen(BaseModel):
    """What a model that takes a schema is asked for: a caption without its diagnosis."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lesion: Lesion
    surround: Surround


class Describer:
    """Asks a model for captions, and the same or another model to shorten what is too long."""

    def __init__(
        self, chat: Chat, shortener: Chat | None, count_tokens: Callable[[str], int]
    ) -> None:
        self.chat, self.shortener = chat, shortener or chat
        self.count_tokens = count_tokens

    @property
    def name(self) -> str:
        """Who writes, for a record: the model, the one that shortens, and the prompt's version."""
        other = "" if self.shortener is self.chat else f", shortened by {self.shortener.name}"
        return f"{self.chat.name}{other}, prompt {PROMPT_VERSION}"

    def write(
        self,
        questions: Sequence[Question],
        schema_questions: Sequence[Question],
        diagnoses: Sequence[str | None],
    ) -> list[str | Unfit]:
        """A caption for each question that fits the budget, or why there is none.

        A diagnosis is its first clause: whatever is thinned or replaced later, it stays.

        A model that takes a schema is asked `schema_questions`, and where its answer does not fill
        the schema the plain question; a description that is not one short sentence is shortened
        once.
        """
        found: list[str | Unfit] = [Unfit("refused")] * len(questions)
        if self.chat.structured:
            answers = self.chat.ask([replace(q, schema=Seen) for q in schema_questions])
            found = [
                self._filled(answer, diagnosis)
                for answer, diagnosis in zip(answers, diagnoses, strict=True)
            ]
        places = [place for place, caption in enumerate(found) if isinstance(caption, Unfit)]
        if not places:
            return found
        answers = self.chat.ask([questions[place] for place in places])
        long = []
        for place, answer in zip(places, answers, strict=True):
            asked = questions[place].text
            fitting = found[place] = self._fitting(answer, diagnoses[place], asked)
            if isinstance(fitting, Unfit) and fitting.words:
                long.append((place, Question(SHORTEN + clean(fitting.words))))
        if long:
            answers = self.shortener.ask([question for _, question in long])
            for (place, _), answer in zip(long, answers, strict=True):
                found[place] = self._fitting(answer, diagnoses[place], SHORTEN)
        return found

    def close(self) -> None:
        """Close what the models hold open; they are not asked again."""
        self.chat.close()
        self.shortener.close()

    def _filled(self, answer: str | Unfit, diagnosis: str | None) -> str | Unfit:
        if isinstance(answer, Unfit):
            return answer
        try:
            seen = Seen.model_validate_json(unfenced(answer))
        except ValidationError:
            return Unfit("schema not filled")
        caption = fit(
            render(Attributes(diagnosis=diagnosis, lesion=seen.lesion, surround=seen.surround)),
            self.count_tokens,
        )
        return caption if isinstance(parse(caption), Attributes) else Unfit("too long")

    def _fitting(self, answer: str | Unfit, diagnosis: str | None, asked: str = "") -> str | Unfit:
        sentence = one_sentence(answer, asked)
        if isinstance(sentence, Unfit):
            return sentence
        if diagnosis and not sentence.lower().startswith((f"{diagnosis},", f"{diagnosis}.")):
            sentence = f"{diagnosis}, {sentence}"
        return sentence if self._fits(sentence) else Unfit("too long", sentence)

    def _fits(self, caption: str) -> bool:
        return caption == clean(caption) and self.count_tokens(compose(caption)) <= TOKEN_LIMIT
