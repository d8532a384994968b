"""One experiment: its configuration, its run folder, its stages and their results."""
