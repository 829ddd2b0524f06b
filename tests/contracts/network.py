"""Contract of networks: what every classifier and every segmentation net holds.

A test module inherits from one of them and says which network is meant:

    class TestSegResNet(SegmenterContract):
        name = "monai.SegResNet"
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.normalise import trial
from didgen.downstream.networks.segmenter_outputs import Outputs
from didgen.downstream.networks.segmenters import build_segmenter, find_segmenter_weights
from didgen.downstream.networks.weights import LOADING
from didgen.manifests.errors import DidgenError
from tests.fixtures.networks import loss_over_all, unreached


class NetworkContract:
    """What holds for networks of both kinds."""

    name: ClassVar[str]
    arguments: ClassVar[Mapping[str, Any]] = {}
    side: ClassVar[int] = 64
    """Side of the images that it is tried on."""
    idle: ClassVar[frozenset[str]] = frozenset()
    """Parameters that nothing it gives depends on, by the library's own doing."""

    def asked(self, **fields: Any) -> Network:
        """What a recipe says of it."""
        given = {"name": self.name, "arguments": dict(self.arguments), "weights": "none"}
        return Network.model_validate(given | fields)

    def construct(self, network: Network, weights: Path | None = None) -> nn.Module:
        """The network as a recipe asks for it."""
        raise NotImplementedError

    def loss(self, given: Any) -> Tensor:
        """A loss that looks at all that the network gives while it trains."""
        raise NotImplementedError

    def built(self, seed: int = 0) -> nn.Module:
        """The network, with random weights of a seed."""
        torch.manual_seed(seed)
        return self.construct(self.asked())

    def images(self, count: int = 2) -> Tensor:
        """Images of noise, as 8-bit pixels."""
        generator = torch.Generator().manual_seed(0)
        shape = (count, 3, self.side, self.side)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    def answer(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """What it says in evaluation."""
        with torch.no_grad():
            return network.eval()(pixels)

    def test_gradients_reach_every_parameter(self) -> None:
        network = self.built().train()
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                # Some start a branch at 0, through which the first gradient cannot pass.
                parameter.add_(0.01 * torch.randn_like(parameter))
        assert {*unreached(network, self.loss(network(self.images(4))))} == self.idle

    def test_evaluation_is_fixed_and_images_do_not_know_each_other(self) -> None:
        network, pixels = self.built(), self.images(3)
        together = self.answer(network, pixels)
        assert torch.equal(together, self.answer(network, pixels))
        alone = torch.cat([self.answer(network, pixels[i : i + 1]) for i in range(3)])
        assert torch.allclose(together, alone, atol=1e-4)
        assert together.std() > 0

    def test_the_seed_decides_its_weights(self) -> None:
        one, same, other = (self.built(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)

    def test_its_weights_come_back_from_a_file(self, tmp_path: Path) -> None:
        saved, fresh, pixels = self.built(), self.built(seed=1), self.images()
        # A file of safetensors has no two names of one tensor.
        state = {name: part.clone().contiguous() for name, part in saved.state_dict().items()}
        save_file(state, tmp_path / "weights.safetensors")
        assert not torch.equal(self.answer(fresh, pixels), self.answer(saved, pixels))
        fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(self.answer(fresh, pixels), self.answer(saved, pixels))

    def test_its_state_is_that_of_the_network_alone(self) -> None:
        assert all(name.startswith("network.") for name in self.built().state_dict())

    def test_an_unknown_argument_is_one_sentence(self) -> None:
        asked = self.asked(arguments={**self.arguments, "depht": 3})
        with pytest.raises(DidgenError, match="cannot be built with the arguments") as caught:
            self.construct(asked)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("argument", sorted(LOADING))
    def test_arguments_load_no_weights(self, argument: str) -> None:
        asked = self.asked(arguments={**self.arguments, argument: "weights.pth"})
        with pytest.raises(DidgenError, match=f"`arguments` of .* cannot hold {argument}"):
            self.construct(asked)


class ClassifierContract(NetworkContract):
    """What holds for every classifier."""

    side = 32

    def construct(self, network: Network, weights: Path | None = None) -> nn.Module:
        """The classifier of three classes."""
        return build_classifier(network, 3, weights)

    def loss(self, given: Any) -> Tensor:
        """Cross-entropy with labels of three classes."""
        return nn.functional.cross_entropy(given, torch.tensor([0, 1, 2, 0]))

    def test_it_gives_a_logit_for_each_class(self) -> None:
        network = self.built()
        assert network.train()(self.images()).shape == (2, 3)
        assert trial(network, self.name, self.side).shape == (1, 3)
        assert network.training

    def test_a_new_head_on_weights_starts_at_chance_and_learns(self, tmp_path: Path) -> None:
        torch.manual_seed(2)
        file = tmp_path / "model.safetensors"
        save_file(timm.create_model(self.name, **self.arguments).state_dict(), file)
        asked = self.asked(weights=str(file))
        assert find_weights(asked).file == file
        network, pixels = self.construct(asked, file), self.images(4)
        logits = network(pixels)
        assert torch.equal(logits, torch.zeros(4, 3))
        self.loss(logits).backward()
        torch.optim.SGD(network.parameters(), lr=0.1).step()
        assert network(pixels).std(0).min() > 0


class SegmenterContract(NetworkContract):
    """What holds for every segmentation net."""

    masks: ClassVar[int] = 1
    """Masks that it gives while it trains, the main one first."""
    boundaries: ClassVar[int] = 0
    """Boundaries that it gives beside them."""

    def construct(self, network: Network, weights: Path | None = None) -> nn.Module:
        """The net."""
        return build_segmenter(network, weights)

    def loss(self, given: Any) -> Tensor:
        """A loss over all outputs, with masks of noise."""
        return loss_over_all(given)

    def test_it_trains_on_outputs_and_answers_with_a_mask(self) -> None:
        asked = self.asked()
        assert find_segmenter_weights(asked).file is None
        network = self.built()
        assert trial(network, asked.called, self.side).shape == (1, 1, self.side, self.side)
        assert network.training
        outputs = network(self.images())
        assert isinstance(outputs, Outputs)
        whole = (2, 1, self.side, self.side)
        assert [mask.shape for mask in outputs.masks] == [whole] * self.masks
        assert len(outputs.boundaries) == self.boundaries
        assert self.answer(network, self.images()).shape == whole
