"""Copy-paste: where the other lesion goes, its pixels and its mask go; nothing else changes."""

import torch

from didgen.downstream.benchmark.arms.copy_paste import CopyPaste
from didgen.downstream.data.loader import Draws
from didgen.downstream.data.samplers import ALONE, Draw
from tests.fixtures.benchmarks import draws_of, given_images, round_pairs


def test_the_mask_is_both_lesions_and_far_pixels_stay() -> None:
    pairs = round_pairs(6, side=64)
    made = CopyPaste().training_set(given_images(pairs, share=0.5))
    data, plain = Draws(pairs, 3, made.mixing), Draws(pairs, 3)
    changed = 0
    for number in range(8):
        own, mixed = plain[number, 0], data[Draw(number, 0, 4, 1.0)]
        pasted = mixed["mask"].bool() & ~own["mask"].bool()
        assert torch.equal(mixed["mask"] & own["mask"], own["mask"])
        differs = (mixed["pixels"] != own["pixels"]).any(0, keepdim=True)
        # A pasted lesion is there where its mask says it is, but for its soft edge.
        if pasted.any():
            near = torch.nn.functional.max_pool2d(mixed["mask"].float(), 9, 1, 4).bool()
            assert not (differs & ~near).any()
            changed += int(differs.any())
        assert torch.equal(data[Draw(number, 0)]["pixels"], own["pixels"])
    assert changed


def test_a_share_of_the_draws_is_pasted_and_never_an_image_on_itself() -> None:
    made = CopyPaste().training_set(given_images(round_pairs(6, side=8), share=0.3))
    found = draws_of(made, batch_size=10, steps=200)
    pasted = [draw for draw in found if draw.other != ALONE]
    assert abs(len(pasted) / len(found) - 0.3) < 0.03
    assert all(draw.other != draw.place for draw in pasted)
    assert {draw.other for draw in pasted} == set(range(6))
    alone = CopyPaste().training_set(given_images(round_pairs(1, side=8), share=1.0))
    assert {draw.other for draw in draws_of(alone, batch_size=2, steps=2)} == {ALONE}
