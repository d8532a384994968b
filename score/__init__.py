"""Scores of other tools judged by actual changes: how well they agree, and the simplest change that mends them."""
