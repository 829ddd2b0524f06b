"""Sources: real images with masks, labels and captions, and their splits."""
