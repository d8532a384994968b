"""The page that shows a run: one HTML file that needs no network.

`content` is what the page says, `verdict` judges how far the figure can be believed, `points` packs the
interactive figure, `images` turns features into pictures, and `page` puts all into the template. Like
`plots`, this room knows tables and arrays, and no model, files or configuration.
"""
