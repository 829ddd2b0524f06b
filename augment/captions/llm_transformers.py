"""Language models on this machine, with or without eyes, by transformers."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from didgen.augment.captions.answers import Unfit
from didgen.augment.captions.llm import MAX_NEW_TOKENS, Question, chat_name, shown
from didgen.augment.device import choose_device
from didgen.manifests.errors import DidgenError, in_short


class TransformersChat:
    """A chat model by hub id or folder, safetensors only, in bf16 where the device has it.

    Any model of transformers that reads images and text will do, and for questions without an
    image any that reads text. Answers are greedy, but sampled where questions have seeds: either
    way the same questions have the same answers.
    """

    structured = False
    concurrency = 1

    def __init__(self, model: str, batch_size: int = 4) -> None:
        self._id = model
        self._model: Any = None
        self.name = chat_name("transformers", model)
        self.batch_size = batch_size

    def _load(self) -> None:
        """Load the model, which waits until the first question."""
        transformers.utils.logging.disable_progress_bar()
        device, model = choose_device(), self._id
        try:
            config = AutoConfig.from_pretrained(model)
            self._sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            reader = AutoProcessor if self._sees else AutoTokenizer
            loader = AutoModelForImageTextToText if self._sees else AutoModelForCausalLM
            self._reader: Any = reader.from_pretrained(model)
            loaded = loader.from_pretrained(model, dtype=device.dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
            reason = in_short(error, 300)
            raise DidgenError(
                f"The model {model} could not be loaded: give a folder of transformers with "
                f"safetensors weights, or a hub id that can be reached ({reason})."
            ) from None
        if not self._reader.chat_template:
            raise DidgenError(f"The model {model} has no chat template; choose an instructed one.")
        tokenizer = self._reader.tokenizer if self._sees else self._reader
        # What is generated follows the text, so that padding must stand before it.
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._pad = tokenizer.pad_token_id
        self._model = loaded.to(device.name).eval()

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question]) -> list[str | Unfit]:
        """Answer a batch at once; see `Chat`. A model without eyes refuses to look."""
        if self._model is None:
            self._load()
        if not self._sees and any(question.image for question in questions):
            raise DidgenError(f"{self.name} reads no images; give one that does.")
        inputs = self._reader.apply_chat_template(
            [[{"role": "user", "content": self._content(question)}] for question in questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
        ).to(self._model.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self._model.dtype)
        seeds = [question.seed for question in questions if question.seed is not None]
        with torch.random.fork_rng():
            torch.manual_seed(sum(seeds) % 2**63)
            generated = self._model.generate(
                **inputs,
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=bool(seeds),
                pad_token_id=self._pad,
            )
        answers = generated[:, inputs["input_ids"].shape[1] :]
        said = self._reader.batch_decode(answers, skip_special_tokens=True)
        return [
            words if self._ended(tokens) else Unfit("cut off in the middle", words)
            for words, tokens in zip(said, answers, strict=True)
        ]

    def _ended(self, answer: torch.Tensor) -> bool:
        """Whether an answer (T,) has an end, or was shorter than it might have been."""
        ends = self._model.generation_config.eos_token_id
        known = torch.tensor([self._pad, *([ends] if isinstance(ends, int) else ends or [])])
        return len(answer) < MAX_NEW_TOKENS or bool(torch.isin(answer.cpu(), known).any())

    def _content(self, question: Question) -> Any:
        if not self._sees:
            return question.text
        text = {"type": "text", "text": question.text}
        if question.image is None:
            return [text]
        return [{"type": "image", "image": shown(question.image)}, text]

    def close(self) -> None:
        """Nothing is open between two batches."""
