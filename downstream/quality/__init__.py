"""Quality: how near a run's images are to real ones, and which are copies."""
