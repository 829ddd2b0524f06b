"""Classifiers: the weights a recipe names are the weights a network has, and faults are told."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.weights import RANDOM, Weights
from didgen.manifests.errors import DidgenError

NAME = "test_efficientnet"


def network(**fields: object) -> Network:
    return Network.model_validate({"name": NAME, "weights": "none"} | fields)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the network with a head for 1000 classes, as the hub has it."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


def test_pixels_are_normalised_as_the_weights_were_trained() -> None:
    built = build_classifier(network(), 3, None).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    config = built.network.pretrained_cfg
    scaled = torch.stack(
        [
            (pixels[:, i] / 255 - mean) / deviation
            for i, (mean, deviation) in enumerate(zip(config["mean"], config["std"], strict=True))
        ],
        1,
    )
    with torch.no_grad():
        assert torch.allclose(built(pixels), built.network(scaled), atol=1e-5)
        assert built(pixels).shape == (2, 3)
    assert all(name.startswith("network.") for name in built.state_dict())


def test_a_file_gives_all_weights_but_the_heads(weights: Path) -> None:
    named = network(weights=str(weights))
    assert find_weights(named) == Weights(weights, "weights of model.safetensors")
    state = build_classifier(named, 3, weights).network.state_dict()
    theirs = load_file(weights)
    differing = {name for name, part in theirs.items() if not torch.equal(part, state[name])}
    assert differing == {"classifier.weight", "classifier.bias"}
    assert state["classifier.weight"].shape[0] == 3


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (NAME, {}),
        ("test_vit", {"img_size": 32}),
        # Two heads in a tuple, a normalised head, two of these in one module.
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}),
        ("levit_128s", {}),
        ("repvit_m0_9", {}),
        # A head that is a convolution.
        ("dla46_c", {}),
    ],
)
def test_a_new_head_on_weights_starts_at_chance_and_learns(
    name: str, arguments: dict[str, object], tmp_path: Path
) -> None:
    torch.manual_seed(2)
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model(name, **arguments).state_dict(), file)
    named = network(name=name, arguments=arguments, weights=str(file))
    built = build_classifier(named, 3, file)
    side = 224 if name.startswith(("levit", "repvit")) else 32
    pixels = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    logits = built(pixels)
    assert torch.equal(logits, torch.zeros(4, 3))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    torch.optim.SGD(built.parameters(), lr=0.1).step()
    assert built(pixels).std(0).min() > 0


def test_pretrained_weights_are_taken_from_the_hubs_cache(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = timm.models.get_pretrained_cfg(NAME).hf_hub_id
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    cached = folder / "snapshots" / ("a" * 40) / "model.safetensors"
    cached.write_bytes(weights.read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for asked in ("pretrained", "reachable"):
        assert find_weights(network(weights=asked)) == Weights(cached, f"weights of {repository}")


def test_a_hub_that_does_not_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DidgenError, match=r"weights of test_efficientnet .* cannot be fetched"):
        find_weights(network(weights="pretrained"))
    found = find_weights(network(weights="reachable"))
    assert found.file is None
    assert found.said.startswith(f"{RANDOM}, since timm/")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "densenet12"}, "timm has no network densenet12; the nearest name is densenet121"),
        ({"weights": "weights.pth"}, "weights.pth is no safetensors file"),
        ({"weights": "gone.safetensors"}, "gone.safetensors does not exist"),
        ({"name": "vovnet39a", "weights": "pretrained"}, "no pretrained weights"),
    ],
)
def test_weights_that_cannot_be_had_are_refused(fields, sentence: str) -> None:
    with pytest.raises(DidgenError, match=sentence):
        find_weights(network(**fields))


@pytest.mark.parametrize("arguments", [{"depht": 3}, {"num_classes": 4}])
def test_arguments_that_do_not_fit_are_refused(arguments) -> None:
    with pytest.raises(DidgenError, match="cannot be built with the arguments") as caught:
        build_classifier(network(arguments=arguments), 3, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", ["pretrained", "checkpoint_path"])
def test_arguments_load_no_weights(argument) -> None:
    with pytest.raises(DidgenError, match=f"`arguments` of .* cannot hold {argument}"):
        build_classifier(network(arguments={argument: "weights.pth"}), 3, None)


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(DidgenError, match=r"and weights .*model.safetensors .*correct them"):
        build_classifier(network(name="test_resnet"), 3, weights)


def test_a_file_without_the_networks_weights_is_refused(tmp_path: Path) -> None:
    # timm alone would skip them all, and leave the network random.
    save_file({"other.weight": torch.rand(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(DidgenError, match=r"has 0 of the network's \d+ matrices"):
        build_classifier(network(), 3, tmp_path / "other.safetensors")


def test_a_torn_file_is_refused(weights: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DidgenError, match="cannot be built"):
        build_classifier(network(), 3, torn)
