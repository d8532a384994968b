"""The run folder: where things lie, who has it open, what in it is sound and may be believed."""
