"""Views: what a run or a source holds, for a terminal and for the eye."""
