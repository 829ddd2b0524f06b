"""Making data: prompts, the diffusion model, its finetuning, and the generation of samples."""
