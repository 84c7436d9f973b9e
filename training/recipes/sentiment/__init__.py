"""Sentiment of film reviews: an LSTM pre-trained as a language model, beside a linear n-gram part, in one graph."""
