"""What is published, and the checks that it works where this source tree is not: `make` calls these."""
