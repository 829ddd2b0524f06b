"""Models on disk: where they lie, and what their configs say of them, read without torch."""
