"""Many runs, joined into one table and one figure."""
