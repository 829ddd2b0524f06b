"""Pages: figures as documents of headings, sentences and tables."""
