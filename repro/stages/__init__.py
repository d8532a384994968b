"""One file per stage: each reads what the one before wrote, works, and writes its own results."""
