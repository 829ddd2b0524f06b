"""The hub: runs and models to and from the Hugging Face Hub, by huggingface_hub."""
