"""The study: many trainings, runs and benchmarks from one recipe, as a Snakemake workflow."""
