"""Reading scores of other tools: no file executes code, and none is believed about its size."""
