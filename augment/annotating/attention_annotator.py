"""Masks of real photographs from a model's own attention (Eq. 7), read at a low noise level.

Notable choices:
- The photograph's latents get the noise of a late step of sampling, at which the maps of a sample
  are read too. The maps of several draws are averaged. Noise is drawn from the image's hash, so
  that a mask can be drawn again.
- The whole photograph is read, brought to the model's square: a lesion may lie outside its middle.
- The prompt is the prefix alone: what a caption says of a lesion is measured by its mask.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from didgen.augment.device import choose_device
from didgen.augment.diffusion.annotation import annotate, flow
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.map_reader import MapReader
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.prompts.prompt import compose
from didgen.manifests.images import read_image
from didgen.manifests.privacy.paths import without_folders
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps
from didgen.manifests.sources.annotating import DrawnMask
from didgen.manifests.sources.records import SourceManifest, SourceRecord

NEAR_THE_END = 0.05
"""Share of the model's timesteps whose noise is about what the last step of sampling has left."""

DRAWS = 3
"""Draws of noise whose maps are averaged."""

BATCH = 8


class AttentionAnnotator:
    """Draws masks by the attention that a model gives to the lesion's token."""

    def __init__(self, model: str) -> None:
        self.name = f"attention of {without_folders(model)}"
        self.pipeline = load_pipeline(model)
        device = choose_device()
        self.pipeline.to(device.name)

    def masks(
        self, manifest: SourceManifest, records: Sequence[SourceRecord]
    ) -> Iterator[DrawnMask]:
        """A mask for each record, with the contrast and separability of its map."""
        for first in range(0, len(records), BATCH):
            batch = records[first : first + BATCH]
            pixels = [_square(manifest, record, self.pipeline.image_size) for record in batch]
            seeds = [int(record.sha256[:15], 16) for record in batch]
            found = annotate(
                self._maps(torch.stack(pixels), seeds), self.pipeline.image_size, Annotation()
            )
            for place, record in enumerate(batch):
                whole = Image.fromarray(found.masks[place]).resize((record.width, record.height))
                scores = {
                    "attention_contrast": round(float(found.contrast[place]), 4),
                    "separability": round(float(found.separability[place]), 4),
                }
                yield DrawnMask(record, np.asarray(whole), scores)

    @torch.no_grad()
    def _maps(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """A_CS of Eq. 7 (B, h, w) of images (B, 3, S, S) in [-1, 1], the mean over draws of noise.

        seeds: B.
        """
        pipeline, device = self.pipeline, self.pipeline.device
        latents = encode(pipeline.vae, pixels.to(device)).float()
        prompts = [compose(None)] * len(pixels)
        embeds, _ = pipeline.texts(prompts)
        condition = pipeline.condition(prompts, embeds, torch.zeros(len(pixels), 1, 1, 1))
        timestep = int(NEAR_THE_END * pipeline.scheduler.config.num_train_timesteps)
        reader = MapReader(pipeline.unet, pipeline.scheduler, AttentionMaps())
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = []
        for _ in range(DRAWS):
            noise = [torch.randn(latents.shape[1:], generator=one) for one in generators]
            read = reader.noised(latents, timestep, torch.stack(noise).to(device), condition)
            cross = read.cross_maps()[:, 0]
            drawn.append(flow(cross, read.self_map(), Annotation().tau, read.self_shape))
        return torch.stack(drawn).mean(0)


def _square(manifest: SourceManifest, record: SourceRecord, size: int) -> Tensor:
    """The whole upright image brought to a square, (3, size, size) in [-1, 1]."""
    image = read_image(manifest.image_path(record)).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 127.5 - 1
