"""Why a figure can or cannot be trusted: one check a file, each a verdict with evidence and remedy.

A check takes the problem, numbers that other rooms computed, and returns a `Verdict`; it prints nothing.
"""
