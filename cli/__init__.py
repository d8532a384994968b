"""What a user types: commands, configuration, the run folder, progress and messages."""
