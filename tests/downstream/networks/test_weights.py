"""Tests of the weights that networks start from: files, the hub, and what is refused."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.weights import RANDOM, Weights
from didgen.manifests.errors import DidgenError
from tests.fixtures.networks import classifier


def test_pretrained_weights_are_taken_from_the_hubs_cache(
    timm_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = timm.models.get_pretrained_cfg("test_efficientnet")
    assert config is not None and isinstance(config.hf_hub_id, str)
    repository = config.hf_hub_id
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    cached = folder / "snapshots" / ("a" * 40) / "model.safetensors"
    cached.write_bytes(timm_weights.read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for asked in ("pretrained", "reachable"):
        assert find_weights(classifier(weights=asked)) == Weights(
            cached, f"weights of {repository}"
        )


def test_a_hub_that_does_not_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DidgenError, match=r"weights of test_efficientnet .* cannot be fetched"):
        find_weights(classifier(weights="pretrained"))
    found = find_weights(classifier(weights="reachable"))
    assert found.file is None
    assert found.said.startswith(f"{RANDOM}, since timm/")


def test_a_file_without_the_networks_weights_is_refused(tmp_path: Path) -> None:
    # timm alone would skip them all, and leave the network random.
    save_file({"other.weight": torch.rand(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(DidgenError, match=r"has 0 of the network's \d+ matrices"):
        build_classifier(classifier(), 3, tmp_path / "other.safetensors")
