"""Where a recipe's data comes from: a folder that you name, or the official source."""

from __future__ import annotations


class DataError(Exception):
    """Data that is missing or not what it should be; the message says what to do."""
