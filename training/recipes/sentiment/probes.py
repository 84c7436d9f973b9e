"""Sentences that no review is like: what the model answers to them is shown in the README. None of them is trained on."""

from __future__ import annotations

POSITIVE, NEGATIVE, NEUTRAL = "positive", "negative", "neutral"

PROBES: dict[str, str] = {
    "I loved this film.": POSITIVE,
    "What a waste of two hours.": NEGATIVE,
    "not bad at all": POSITIVE,
    "Not bad.": POSITIVE,
    "It isn't bad, actually.": POSITIVE,
    "not good": NEGATIVE,
    "It was not very good.": NEGATIVE,
    "I expected more": NEGATIVE,
    "I expected much worse.": POSITIVE,
    "I can't say I enjoyed it.": NEGATIVE,
    "There is nothing bad about it.": POSITIVE,
    "Nobody could call this a masterpiece.": NEGATIVE,
    "It could have been worse.": POSITIVE,
    "Great cast, terrible script.": NEGATIVE,
    "I didn't hate it.": POSITIVE,
    "Not only funny but moving as well.": POSITIVE,
    "The only good thing was the popcorn.": NEGATIVE,
    "I would see it again tomorrow.": POSITIVE,
    "The film runs for ninety minutes.": NEUTRAL,
    "It was released in 1994.": NEUTRAL,
    "It is a film about a family in Ohio.": NEUTRAL,
    "movie": NEUTRAL,
}
