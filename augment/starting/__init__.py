"""Starting: what a folder of one's own holds, and the recipes that fit it and the machine."""
