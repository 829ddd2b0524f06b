"""The classification benchmark: its job, its trainings, its summary."""
