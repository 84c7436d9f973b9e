"""A character-level language model: an LSTM that goes on with a text, one character at a time."""
