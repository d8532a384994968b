"""What `repro report` reads out of a run for its page: examples, retraining, traces, commands, provenance."""
