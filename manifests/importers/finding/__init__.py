"""Finding: folders and tables as people have them, and what is understood of them."""
