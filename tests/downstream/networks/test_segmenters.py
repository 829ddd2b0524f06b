"""Segmentation nets: every kind of name builds and runs, from the weights that are named."""

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from benchmarks import lite0
from didgen.downstream.benchmark.losses import segmentation_loss
from didgen.downstream.benchmark.training import start_accelerator
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.normalise import trial
from didgen.downstream.networks.segmenter_outputs import Outputs
from didgen.downstream.networks.segmenters import (
    REGISTRY,
    Segmenter,
    build_segmenter,
    find_segmenter_weights,
)
from didgen.downstream.networks.weights import RANDOM, Weights
from didgen.manifests.errors import DidgenError

LITE = {"encoder_name": "tu-tf_efficientnet_lite0"}
TINY = {"encoder_name": "tu-test_efficientnet", "decoder_channels": [16, 16, 8, 8, 8]}
XBOUND = {"encoder": "pvt_v2_b0", "width": 32, "heads": 2}


def network(name: str = "smp.Unet", **fields: object) -> Network:
    return Network.model_validate({"name": name, "weights": "none"} | fields)


def pixels(count: int = 2, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of timm's test_efficientnet, as the hub has it."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "arguments", "masks", "boundaries"),
    [
        ("dcsaunet", {}, 1, 0),
        ("xboundformer", XBOUND, 4, 3),
        ("smp.Unet", TINY, 1, 0),
        ("smp.FPN", {"encoder_name": "mobilenet_v2"}, 1, 0),
        (
            "smp.DPT",
            {"encoder_name": "tu-test_vit", "dynamic_img_size": True}
            | {"decoder_intermediate_channels": [16] * 4, "decoder_fusion_channels": 16},
            1,
            0,
        ),
        ("monai.SegResNet", {}, 1, 0),
        ("monai.SwinUNETR", {"feature_size": 12}, 1, 0),
        ("monai.UNet", {"channels": [8, 16], "strides": [2]}, 1, 0),
        ("monai.AttentionUnet", {"channels": [8, 16], "strides": [2]}, 1, 0),
        ("monai.BasicUNet", {"features": [8] * 6}, 1, 0),
        ("monai.SegResNetDS", {"init_filters": 8, "dsdepth": 3}, 3, 0),
        ("monai.BasicUNetPlusPlus", {"features": [8] * 6, "deep_supervision": True}, 4, 0),
        ("monai.MedNeXt", {"init_filters": 4, "deep_supervision": True}, 5, 0),
        (
            "monai.DynUNet",
            {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
            | {"deep_supervision": True, "deep_supr_num": 2},
            3,
            0,
        ),
    ],
)
def test_every_kind_trains_on_outputs_and_answers_with_a_mask(
    name, arguments, masks, boundaries
) -> None:
    torch.manual_seed(0)
    asked = network(name, arguments=arguments)
    segmenter = build_segmenter(asked, find_segmenter_weights(asked).file)
    assert trial(segmenter, asked.called, 64).shape == (1, 1, 64, 64)
    assert segmenter.training
    outputs = segmenter(pixels())
    assert isinstance(outputs, Outputs)
    assert [mask.shape for mask in outputs.masks] == [(2, 1, 64, 64)] * masks
    assert len(outputs.boundaries) == boundaries
    loss = segmentation_loss("dice-bce", auxiliary=0.4, boundary=0.4)
    loss(outputs, torch.ones(2, 1, 64, 64)).backward()
    with torch.no_grad():
        answer = segmenter.eval()(pixels())
        assert answer.shape == (2, 1, 64, 64)
        assert torch.equal(answer, segmenter(pixels()))


def test_outputs_pass_through_accelerate(tmp_path: Path) -> None:
    accelerator = start_accelerator("bf16", ["tensorboard"], tmp_path)
    segmenter = accelerator.prepare(
        build_segmenter(network("xboundformer", arguments=XBOUND), None)
    )
    outputs = segmenter(pixels())
    assert isinstance(outputs, Outputs)
    assert {part.dtype for part in (*outputs.masks, *outputs.boundaries)} == {torch.float32}


def test_the_main_output_of_a_supervised_net_is_its_answer() -> None:
    # Those whose training differs from evaluation in nothing but how many outputs they give.
    for name, arguments in (
        ("xboundformer", XBOUND),
        ("monai.SegResNetDS", {"init_filters": 8, "dsdepth": 3, "norm": "instance"}),
        ("monai.BasicUNetPlusPlus", {"features": [8] * 6, "deep_supervision": True}),
        ("monai.MedNeXt", {"init_filters": 4, "deep_supervision": True}),
    ):
        torch.manual_seed(0)
        segmenter = build_segmenter(network(name, arguments=arguments), None)
        with torch.no_grad():
            main, *others = segmenter.train()(pixels()).masks
            assert torch.allclose(segmenter.eval()(pixels()), main, atol=1e-4), name
            assert not any(torch.allclose(main, other, atol=1e-4) for other in others), name


def test_the_finest_nest_of_a_unetplusplus_is_its_main_output() -> None:
    segmenter = build_segmenter(
        network(
            "monai.BasicUNetPlusPlus", arguments={"features": [8] * 6, "deep_supervision": True}
        ),
        None,
    )
    with torch.no_grad():
        segmenter.network.final_conv_0_4.weight.zero_()
        segmenter.network.final_conv_0_4.bias.fill_(7.0)
        assert (segmenter.eval()(pixels()) == 7).all()


def test_pixels_are_normalised_as_the_encoders_weights_were_trained() -> None:
    half = build_segmenter(network(arguments=LITE), None)
    imagenet = build_segmenter(network("monai.SegResNet"), None)
    given = pixels()
    assert torch.allclose(half.normalise(given), (given / 255 - 0.5) / 0.5)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(imagenet.normalise(given), (given / 255 - mean) / deviation, atol=1e-5)
    assert all(name.startswith("network.") for name in half.state_dict())


def test_the_packaged_weights_give_the_encoder_timms_own_features(tmp_path: Path) -> None:
    file = tmp_path / "lite0.safetensors"
    save_file(lite0.weights(), file)
    asked = network(arguments=LITE, weights=str(file))
    assert find_segmenter_weights(asked) == Weights(file, "weights of lite0.safetensors")
    segmenter = build_segmenter(asked, file).eval()
    theirs = timm.create_model(lite0.MODEL, features_only=True).eval()
    whole = timm.create_model(lite0.MODEL, checkpoint_path=str(file)).eval()
    theirs.load_state_dict(
        {name: part for name, part in whole.state_dict().items() if name in theirs.state_dict()}
    )
    with torch.no_grad():
        images = segmenter.normalise(pixels())
        image, *features = segmenter.network.encoder(images)
        assert torch.equal(image, images)
        for ours, timms in zip(features, theirs(images), strict=True):
            assert torch.allclose(ours, timms, atol=1e-5)


def test_smps_own_encoders_and_the_trunk_take_files_too(tmp_path: Path) -> None:
    for model, asked in (
        (
            smp.encoders.get_encoder("mobilenet_v2"),
            network("smp.FPN", arguments={"encoder_name": "mobilenet_v2"}),
        ),
        (timm.create_model("pvt_v2_b0"), network("xboundformer", arguments=XBOUND)),
    ):
        file = tmp_path / f"{asked.name}.safetensors"
        save_file(model.state_dict(), file)
        built = build_segmenter(asked, file).network.encoder
        theirs = {part.sum().item() for part in model.parameters()}
        assert {part.sum().item() for part in built.parameters()} <= theirs


def test_a_whole_net_starts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    trained = build_segmenter(network("monai.SegResNet"), None)
    save_file(trained.network.state_dict(), file)
    again = build_segmenter(network("monai.SegResNet"), file)
    with torch.no_grad():
        assert torch.equal(trained.eval()(pixels()), again.eval()(pixels()))


@pytest.mark.parametrize(
    ("name", "arguments", "repository"),
    [
        ("smp.Unet", {"encoder_name": "tu-test_efficientnet"}, "timm/test_efficientnet.r160_in1k"),
        ("smp.Unet", {}, "smp-hub/resnet34.imagenet"),
        ("xboundformer", {}, "timm/pvt_v2_b2.in1k"),
    ],
)
def test_weights_come_from_the_hubs_cache_or_are_said_to_be_missing(
    name, arguments, repository, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked = network(name, arguments=arguments, weights="pretrained")
    with pytest.raises(DidgenError, match=rf"\({repository}\) cannot be fetched"):
        find_segmenter_weights(asked)
    found = find_segmenter_weights(asked.model_copy(update={"weights": "reachable"}))
    assert found == Weights(None, f"{RANDOM}, since {repository} could not be reached")
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    revision = "a" * 40
    if name == "smp.Unet" and not arguments:
        revision = smp.encoders.encoders["resnet34"]["pretrained_settings"]["imagenet"]["revision"]
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    cached = folder / "snapshots" / revision / "model.safetensors"
    cached.write_bytes(tiny.read_bytes())
    form = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    if revision != "a" * 40:
        with pytest.raises(DidgenError, match=r"How pixels are given .* cannot be fetched"):
            find_segmenter_weights(asked)
        reachable = asked.model_copy(update={"weights": "reachable"})
        assert find_segmenter_weights(reachable).file is None
        (cached.parent / "config.json").write_text(json.dumps(form | {"mean": [0.5, 0.5, 0.5]}))
        with pytest.raises(DidgenError, match="weights of resnet34 take pixels in another form"):
            find_segmenter_weights(asked)
        (cached.parent / "config.json").write_text(json.dumps(form))
    assert find_segmenter_weights(asked) == Weights(cached, f"weights of {repository}")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "smp.Unett"}, "no segmentation net smp.Unett; the nearest name is smp.Unet"),
        ({"name": "segresnet"}, "the nearest name is monai.SegResNet"),
        ({"name": "DCSAU-Net"}, "the nearest name is dcsaunet"),
        ({"arguments": {"encoder_name": "resnt34"}}, "smp has no encoder .* name is resnet34"),
        ({"arguments": {"encoder_name": "tu-resnt34"}}, "timm has no network resnt34; the nearest"),
        (
            {"name": "monai.UNet", "weights": "pretrained"},
            "no pretrained weights of monai.UNet",
        ),
        ({"name": "dcsaunet", "weights": "reachable"}, "has no pretrained weights of dcsaunet"),
        ({"weights": "weights.pth"}, "weights.pth is no safetensors file"),
        ({"name": "dcsaunet", "weights": "gone.safetensors"}, "gone.safetensors does not exist"),
    ],
)
def test_what_cannot_be_had_is_refused(fields, sentence) -> None:
    with pytest.raises(DidgenError, match=sentence):
        find_segmenter_weights(network(**fields))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("smp.Unet", {"depht": 3}),
        ("smp.Unet", TINY | {"depht": 3}),
        ("smp.Unet", {"classes": 2}),
        ("monai.UNet", {}),
        ("monai.SegResNet", {"spatial_dims": 3}),
        ("dcsaunet", {"width": 3}),
        ("xboundformer", {"loading": {}}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, arguments) -> None:
    with pytest.raises(DidgenError, match="cannot be built with the arguments") as caught:
        build_segmenter(network(name, arguments=arguments), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("smp.Unet", "encoder_weights"), ("monai.FlexibleUNet", "pretrained")],
)
def test_arguments_load_no_weights(name, argument) -> None:
    with pytest.raises(DidgenError, match=f"cannot hold {argument}"):
        build_segmenter(network(name, arguments={argument: "imagenet"}), None)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("smp.Unet", {"encoder_name": "tu-test_resnet"}),
        ("smp.Unet", {"encoder_name": "mobilenet_v2"}),
        ("xboundformer", XBOUND),
        ("dcsaunet", {}),
        ("monai.SegResNet", {}),
    ],
)
def test_weights_of_another_network_are_refused(name, arguments, tiny: Path) -> None:
    with pytest.raises(DidgenError, match=r"and weights .*tiny.safetensors .*correct them"):
        build_segmenter(network(name, arguments=arguments), tiny)


@pytest.mark.parametrize(
    ("name", "arguments", "side", "sentence"),
    [
        ("monai.DenseNet121", {}, 64, "gives no masks"),
        ("smp.Unet", TINY | {"aux_params": {"classes": 2}}, 64, "gives no masks"),
        ("monai.SwinUNETR", {"feature_size": 12}, 100, "cannot take images of 100 px .*; set an"),
    ],
)
def test_what_gives_no_mask_of_an_image_is_refused(name, arguments, side, sentence) -> None:
    asked = network(name, arguments=arguments)
    segmenter = build_segmenter(asked, None)
    with pytest.raises(DidgenError, match=sentence):
        trial(segmenter, asked.called, side)
    assert segmenter.training


def test_the_registry_knows_the_papers_networks_and_both_libraries() -> None:
    assert {
        "dcsaunet",
        "xboundformer",
        "smp.UnetPlusPlus",
        "smp.DeepLabV3Plus",
        "smp.Segformer",
        "monai.SwinUNETR",
        "monai.UNETR",
        "monai.AttentionUnet",
        "monai.SegResNet",
    } <= REGISTRY.keys()
    assert all(issubclass(one, torch.nn.Module) for one in REGISTRY.values())
    assert not issubclass(Segmenter, tuple(REGISTRY.values()))
