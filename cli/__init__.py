"""What a user types: commands, options, messages, progress and exit codes."""
