"""didgen: class-balanced dermoscopic images and lesion-mask pairs from one diffusion model."""
