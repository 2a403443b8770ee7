"""A slot to play with in a notebook: sliders for the setting, and the picture of a plan, a method's or one's own."""

from mecpart.figures.explorer.explorer import Explorer

__all__ = ["Explorer"]
