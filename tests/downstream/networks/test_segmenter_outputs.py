"""Tests of what a segmentation net gives while it trains."""

from pathlib import Path
from typing import Any

import torch

from didgen.downstream.benchmark.training import start_accelerator
from didgen.downstream.networks.segmenter_outputs import Outputs
from didgen.downstream.networks.segmenters import build_segmenter
from tests.fixtures.networks import XBOUND, pixels, segmenter


def test_outputs_pass_through_accelerate(tmp_path: Path) -> None:
    accelerator = start_accelerator("bf16", ["tensorboard"], tmp_path)
    net = accelerator.prepare(build_segmenter(segmenter("xboundformer", arguments=XBOUND), None))
    outputs = net(pixels())
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
        net = build_segmenter(segmenter(name, arguments=arguments), None)
        with torch.no_grad():
            main, *others = net.train()(pixels()).masks
            assert torch.allclose(net.eval()(pixels()), main, atol=1e-4), name
            assert not any(torch.allclose(main, other, atol=1e-4) for other in others), name


def test_the_finest_nest_of_a_unetplusplus_is_its_main_output() -> None:
    net = build_segmenter(
        segmenter(
            "monai.BasicUNetPlusPlus", arguments={"features": [8] * 6, "deep_supervision": True}
        ),
        None,
    )
    finest: Any = net.network.final_conv_0_4
    with torch.no_grad():
        finest.weight.zero_()
        finest.bias.fill_(7.0)
        assert (net.eval()(pixels()) == 7).all()
