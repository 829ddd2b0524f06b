"""The baseline: guided pairs by the explicit softmax of every layer, kept whole.

It draws what `LesionPairPipeline` draws, as one would write it first: every attention layer forms
its probabilities and keeps them with all heads and tokens, in every pass; the guided pass goes to
its end; A_S is raised to its power as a matrix; and the annotation takes a conditional pass of its
own after the last step.
"""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from didgen.augment.conditioning.p_tokens import p_token_positions, tokenize
from didgen.augment.diffusion.annotation import binarise
from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.images import as_layouts
from didgen.augment.diffusion.losses import layout_loss, normalise, region_masks
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import step_sizes
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance

READ = AttentionMaps()


class Store:
    """Every layer's probabilities (B, heads, N, T) of the last pass, by the layer's name."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def mean(self, names: list[str]) -> Tensor:
        """Mean over heads and layers, (B, N, T)."""
        return torch.stack([self.kept[name].mean(1) for name in names]).mean(0)


class StoringProcessor:
    """Attention by its formula, which leaves its probabilities in the store."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            layer(source).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, source in (
                (attn.to_q, hidden_states),
                (attn.to_k, context),
                (attn.to_v, context),
            )
        )
        weights = (query @ key.transpose(-1, -2) * attn.scale).float().softmax(-1)
        self.store.kept[self.name] = weights
        output = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output))


def draw_naively(
    pipeline: LesionPairPipeline,
    prompts: list[str],
    masks: Tensor,
    steps: int,
    generator: list[torch.Generator],
    guidance_scale: float = 7.5,
    guidance: Guidance = Guidance(),  # noqa: B008 - immutable
) -> tuple[Tensor, Tensor]:
    """Latents (B, 4, h, w) and masks (B, H, W) of guided pairs."""
    unet, scheduler, side = pipeline.unet, pipeline.scheduler, pipeline.unet.config.sample_size
    layouts = as_layouts(masks, len(prompts)).to(unet.device)
    cross_layers = layers_at(unet, "attn2", READ, side)
    self_layers = layers_at(unet, "attn1", READ, side)
    store = Store()
    before = dict(unet.attn_processors)
    unet.set_attn_processor({name: StoringProcessor(store, name) for name in before})

    def cross_maps() -> Tensor:
        mean = store.mean(cross_layers)
        columns = mean.gather(2, positions[:, None].expand(-1, mean.shape[1], -1))
        return columns.transpose(1, 2).unflatten(-1, (READ.cross_side, READ.cross_side))

    with torch.no_grad():
        input_ids = tokenize(pipeline.tokenizer, ["", *prompts]).to(unet.device)
        context = pipeline.text_encoder(input_ids)[0]
        positions = p_token_positions(pipeline.tokenizer, input_ids[1:])
        both = torch.cat([context[:1].expand(len(prompts), -1, -1), context[1:]])
        scheduler.set_timesteps(steps, device=unet.device)
        noise = [torch.randn(1, 4, side, side, generator=one) for one in generator]
        latents = torch.cat(noise).to(unet.device) * scheduler.init_noise_sigma
    regions = region_masks(layouts, READ.self_side)
    inside = regions.flatten(2).transpose(1, 2)
    etas = step_sizes(guidance, scheduler.timesteps.tolist())
    for number, timestep in enumerate(scheduler.timesteps):
        if etas[number]:
            latents = latents.detach().requires_grad_()
            unet(latents, timestep, context[1:])
            attended = store.mean(self_layers) @ inside
            leak = (inside * (1 - attended)).sum(1) / inside.sum(1).clamp_min(1e-8)
            masked = region_masks(layouts, READ.cross_side)
            loss = layout_loss(cross_maps(), masked, guidance.smoothing_sigma) + leak.mean(-1)
            (gradient,) = torch.autograd.grad(loss.sum(), latents)
            latents = latents.detach() - etas[number] * gradient
        with torch.no_grad():
            plain, prompted = unet(torch.cat([latents, latents]), timestep, both).sample.chunk(2)
            output = plain + guidance_scale * (prompted - plain)
            before_step = latents
            latents = scheduler.step(output, timestep, latents).prev_sample
    with torch.no_grad():
        unet(before_step, timestep, context[1:])
        power = torch.linalg.matrix_power(store.mean(self_layers), Annotation().tau)
        lesion = cross_maps()[:, :1]
        large = torch.nn.functional.interpolate(lesion, (READ.self_side,) * 2, mode="bilinear")
        attention = normalise((power @ large.flatten(2).transpose(1, 2)).view_as(large)[:, 0])
        pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor)
    unet.set_attn_processor(before)
    found = binarise(attention, pipeline.image_size, Annotation().closing)
    return latents, torch.from_numpy(found)
