"""Figures that mean a mistake."""


class InsaneFigure(Exception):
    """A figure that is too good or too bad to be true: the run is wrong somewhere, and no evaluation is written."""
