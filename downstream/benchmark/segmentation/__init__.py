"""The segmentation benchmark: its job, its trainings, its filter, its summary."""
