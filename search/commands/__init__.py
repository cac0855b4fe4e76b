"""One command of `spvit-search` per file, each loaded when it is called."""
