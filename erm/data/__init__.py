"""Data sets: one loader a file, each a function of keyword arguments that returns a checked `Dataset`.

Features are float64 and scaled but not centred, labels int64, rows in the order of their source. A loader is
named by the `_target_` of its YAML, so another data set is one file here and one YAML.
"""
