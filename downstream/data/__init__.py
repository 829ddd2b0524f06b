"""Data: images and pairs as the benchmarks load them, and the leaks between splits."""
