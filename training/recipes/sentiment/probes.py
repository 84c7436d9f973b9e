"""Short sentences, as reviews hardly hold them: the README shows what the model answers.

None is in the grammar or the sayings that teach short texts. Some stand, as they are, in training reviews.
"""

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

# The grammar was extended for what PROBES showed. These were written before that and chose nothing: they tell whether it generalises.
FRESH_PROBES: dict[str, str] = {
    "A complete bore.": NEGATIVE,
    "It did nothing for me.": NEGATIVE,
    "You could do worse on a rainy evening.": POSITIVE,
    "I'd hardly call it funny.": NEGATIVE,
    "Better than its reputation.": POSITIVE,
    "Hardly a classic.": NEGATIVE,
    "It never gets boring.": POSITIVE,
    "I was not disappointed.": POSITIVE,
    "It wasn't what I was hoping for.": NEGATIVE,
    "No one will regret watching this.": POSITIVE,
    "It lacks any kind of tension.": NEGATIVE,
    "I can't recommend this enough.": POSITIVE,
    "The best part was when it ended.": NEGATIVE,
    "Nothing about this works.": NEGATIVE,
    "There isn't a single boring scene.": POSITIVE,
    "It isn't as good as the first one.": NEGATIVE,
    "It isn't as bad as people say.": POSITIVE,
    "I liked everything except the ending.": POSITIVE,
    "Don't waste your money.": NEGATIVE,
    "We laughed until we cried.": POSITIVE,
    "It tries hard but fails.": NEGATIVE,
    "Far better than the trailer suggests.": POSITIVE,
    "I did not like it.": NEGATIVE,
    "Terrible. I want my two hours back.": NEGATIVE,
    "A wonderful film, moving from the first scene to the last.": POSITIVE,
    "The director was born in Lyon.": NEUTRAL,
    "There are two versions of this film.": NEUTRAL,
    "We watched it on a plane.": NEUTRAL,
    "It has a sequel.": NEUTRAL,
}
