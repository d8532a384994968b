"""What each command of `repro` is called with, and its help; the work is done in `repro/stages`."""
