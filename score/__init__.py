"""Scores of other tools judged by actual changes: how well they agree, and what would mend them."""
