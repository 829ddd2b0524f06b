"""P-Tokens: the placeholder tokens `<lesion>` and `<skin>` in a tokenizer and text encoder."""

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.errors import DidgenError


@torch.no_grad()
def add_p_tokens(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
    """Add the P-Tokens where missing; their embeddings are the means of their words' pieces.

    DiDGen, Section 2: the placeholders are initialised from the words and stay fixed.
    """
    _name_end(tokenizer, text_encoder)
    missing = [token for token in P_TOKENS if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(missing)
    if len(tokenizer) > text_encoder.get_input_embeddings().num_embeddings:
        # New rows are overwritten below, so no statistics of the old rows are wanted for them.
        text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = text_encoder.get_input_embeddings().weight
    for token in missing:
        pieces = tokenizer(P_TOKENS[token], add_special_tokens=False).input_ids
        table[tokenizer.convert_tokens_to_ids(token)] = table[pieces].mean(0)


def _name_end(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
    """Have the text encoder pool at the end token, where its config has that of old CLIP models.

    Those say 2, by which transformers pools at the largest id: that would be a P-Token's.
    """
    if text_encoder.config.eos_token_id == 2:
        text_encoder.config.eos_token_id = tokenizer.eos_token_id
        for module in text_encoder.modules():
            if hasattr(module, "eos_token_id"):
                module.eos_token_id = tokenizer.eos_token_id


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """Token ids (B, T), padded and cut to the model's length."""
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def p_token_positions(tokenizer: CLIPTokenizer, input_ids: Tensor) -> Tensor:
    """Positions (B, 2) of `<lesion>` and `<skin>` in token ids (B, T): looked up, never assumed.

    Raises DidgenError for a row in which either does not stand exactly once.
    """
    columns = []
    for token in P_TOKENS:
        found = input_ids == tokenizer.convert_tokens_to_ids(token)
        if not bool((found.sum(1) == 1).all()):
            raise DidgenError(
                f"Every prompt must hold {token} exactly once within "
                f"{tokenizer.model_max_length} tokens, as `compose` puts "
                "it before a caption; shorten or correct the caption."
            )
        columns.append(found.int().argmax(1))
    return torch.stack(columns, 1)


def end_positions(tokenizer: CLIPTokenizer, input_ids: Tensor) -> Tensor:
    """Positions (B,) of the first end token in token ids (B, T), which padding may repeat."""
    return (input_ids == tokenizer.eos_token_id).int().argmax(1)
