"""Finetuning: Eq. 4 over a source's images, and the loop and checkpoints of all stages."""
