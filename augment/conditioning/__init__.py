"""What a UNet is conditioned on: P-Tokens in its tokenizers, and prompts as one tensor."""
