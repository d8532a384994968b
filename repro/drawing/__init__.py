"""The figures of a run, drawn from its tables and records into plots/."""
