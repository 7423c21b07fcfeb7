"""The verbs: one file, one idea, read from top to bottom. Recipes import `lab`, never `tui`."""
