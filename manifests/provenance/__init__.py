"""Provenance: licences, models, training images, and the cards that tell of them."""
