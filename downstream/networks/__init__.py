"""Networks: classifiers and segmentation nets, their weights and their input."""
