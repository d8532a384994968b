"""What `repro diagnose` asks of a run: whom, what the figure's methods predict, what retraining finds."""
