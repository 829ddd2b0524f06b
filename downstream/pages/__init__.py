"""Pages: figures as documents of headings, sentences and tables."""

from pathlib import Path

BASE_STYLE = Path(__file__).parent / "base.css"
"""The style sheet that all pages begin with."""
