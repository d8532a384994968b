"""The page that shows a run: one HTML file that needs no network.

`content` is what the page says, `points` packs the interactive figure, `images` turns features into pictures,
and `page` puts all into the template. How far the figure can be believed, `diagnosis.figure` judges, by the
limits that `repro diagnose` has. Like `plots`, this room knows tables and arrays, and no files or
configuration.
"""
