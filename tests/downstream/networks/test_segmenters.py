"""Tests of segmentation nets: the contract, the weights a recipe names, and their faults."""

import json
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub.constants
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from didgen.downstream.networks.open_weights import LITE0, write_weights
from didgen.downstream.networks.segmenters import (
    REGISTRY,
    Segmenter,
    build_segmenter,
    find_segmenter_weights,
)
from didgen.downstream.networks.weights import RANDOM, Weights
from didgen.manifests.errors import DidgenError
from tests.contracts.network import SegmenterContract
from tests.fixtures.networks import LITE, TINY, XBOUND, pixels, segmenter


class TestSmpUnet(SegmenterContract):
    name = "smp.Unet"
    arguments: ClassVar = TINY


class TestSmpFPN(SegmenterContract):
    """On an encoder of smp's own."""

    name = "smp.FPN"
    arguments: ClassVar = {"encoder_name": "mobilenet_v2"}


class TestSmpDPT(SegmenterContract):
    name = "smp.DPT"
    arguments: ClassVar = {
        "encoder_name": "tu-test_vit",
        "dynamic_img_size": True,
        "decoder_intermediate_channels": [16] * 4,
        "decoder_fusion_channels": 16,
    }
    # The end of the encoder, which a classifier would use.
    idle = frozenset(
        f"network.encoder.model.{part}.{kind}"
        for part in ("norm", "head")
        for kind in ("weight", "bias")
    )


class TestSegResNet(SegmenterContract):
    name = "monai.SegResNet"


class TestSwinUNETR(SegmenterContract):
    name = "monai.SwinUNETR"
    arguments: ClassVar = {"feature_size": 12}


class TestUNet(SegmenterContract):
    name = "monai.UNet"
    arguments: ClassVar = {"channels": [8, 16], "strides": [2]}


class TestAttentionUnet(SegmenterContract):
    name = "monai.AttentionUnet"
    arguments: ClassVar = {"channels": [8, 16], "strides": [2]}


class TestBasicUNet(SegmenterContract):
    name = "monai.BasicUNet"
    arguments: ClassVar = {"features": [8] * 6}


class TestSegResNetDS(SegmenterContract):
    name = "monai.SegResNetDS"
    arguments: ClassVar = {"init_filters": 8, "dsdepth": 3}
    masks = 3


class TestBasicUNetPlusPlus(SegmenterContract):
    name = "monai.BasicUNetPlusPlus"
    arguments: ClassVar = {"features": [8] * 6, "deep_supervision": True}
    masks = 4


class TestMedNeXt(SegmenterContract):
    name = "monai.MedNeXt"
    arguments: ClassVar = {"init_filters": 4, "deep_supervision": True}
    masks = 5


class TestDynUNet(SegmenterContract):
    name = "monai.DynUNet"
    arguments: ClassVar = {
        "kernel_size": [3] * 4,
        "strides": [1, 2, 2, 2],
        "upsample_kernel_size": [2] * 3,
        "deep_supervision": True,
        "deep_supr_num": 2,
    }
    masks = 3


def test_the_packaged_weights_give_the_encoder_timms_own_features(tmp_path: Path) -> None:
    file = tmp_path / "lite0.safetensors"
    write_weights("lite0", file)
    asked = segmenter(arguments=LITE, weights=str(file))
    assert find_segmenter_weights(asked) == Weights(file, "weights of lite0.safetensors")
    net = build_segmenter(asked, file).eval()
    theirs = timm.create_model(LITE0, features_only=True).eval()
    whole = timm.create_model(LITE0, checkpoint_path=str(file)).eval()
    theirs.load_state_dict(
        {name: part for name, part in whole.state_dict().items() if name in theirs.state_dict()}
    )
    encoder: Any = net.network.encoder
    with torch.no_grad():
        images = net.normalise(pixels())
        image, *features = encoder(images)
        assert torch.equal(image, images)
        for ours, timms in zip(features, theirs(images), strict=True):
            assert torch.allclose(ours, timms, atol=1e-5)


def test_smps_own_encoders_and_the_trunk_take_files_too(tmp_path: Path) -> None:
    for model, asked in (
        (
            smp.encoders.get_encoder("mobilenet_v2"),
            segmenter("smp.FPN", arguments={"encoder_name": "mobilenet_v2"}),
        ),
        (timm.create_model("pvt_v2_b0"), segmenter("xboundformer", arguments=XBOUND)),
    ):
        file = tmp_path / f"{asked.name}.safetensors"
        save_file(model.state_dict(), file)
        built: Any = build_segmenter(asked, file).network.encoder
        theirs = {part.sum().item() for part in model.parameters()}
        assert {part.sum().item() for part in built.parameters()} <= theirs


def test_a_whole_net_starts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    trained = build_segmenter(segmenter("monai.SegResNet"), None)
    save_file(trained.network.state_dict(), file)
    again = build_segmenter(segmenter("monai.SegResNet"), file)
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
    name: str,
    arguments: dict[str, Any],
    repository: str,
    timm_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked = segmenter(name, arguments=arguments, weights="pretrained")
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
    cached.write_bytes(timm_weights.read_bytes())
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
def test_what_cannot_be_had_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DidgenError, match=sentence):
        find_segmenter_weights(segmenter(**fields))


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
def test_arguments_that_do_not_fit_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(DidgenError, match="cannot be built with the arguments") as caught:
        build_segmenter(segmenter(name, arguments=arguments), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("smp.Unet", "encoder_weights"), ("monai.FlexibleUNet", "pretrained")],
)
def test_arguments_load_no_weights(name: str, argument: str) -> None:
    with pytest.raises(DidgenError, match=f"cannot hold {argument}"):
        build_segmenter(segmenter(name, arguments={argument: "imagenet"}), None)


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
def test_weights_of_another_network_are_refused(
    name: str, arguments: dict[str, Any], timm_weights: Path
) -> None:
    with pytest.raises(DidgenError, match=r"and weights .*model.safetensors .*correct them"):
        build_segmenter(segmenter(name, arguments=arguments), timm_weights)


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
