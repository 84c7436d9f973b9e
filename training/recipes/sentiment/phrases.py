"""Short sentences in our own words, from a small grammar: what people type into a text box, which 250-word reviews hardly teach.

Negation turns a verdict and weakens it ("not bad" is mild praise), expectations that were not met are blame, and
a plain fact is neither: each sentence carries a probability of "positive".
"""

from __future__ import annotations

import re
from itertools import product

from training.recipes.sentiment.probes import PROBES

SUBJECTS = ("it is", "it was", "this is", "this film is", "the movie was", "the acting is", "the plot was", "i think it is", "")
GOOD = (
    "good",
    "great",
    "excellent",
    "funny",
    "moving",
    "beautiful",
    "clever",
    "enjoyable",
    "brilliant",
    "wonderful",
    "gripping",
    "charming",
)
BAD = ("bad", "terrible", "awful", "boring", "dull", "stupid", "predictable", "weak", "horrible", "pointless", "annoying", "poor")
STRENGTHS = ("", "very", "really", "so", "quite", "simply", "pretty")
NOT = ("not", "n't", "never", "hardly", "not exactly", "far from")
ENDINGS = ("", "at all", "by any means")

PRAISE = (
    "i loved it", "i enjoyed every minute", "could not be better", "it couldn't have been better",
    "i could watch it again and again", "no complaints", "nothing to complain about", "i have nothing bad to say about it",
    "better than i expected", "better than i thought", "it surprised me in a good way", "i did not expect to like it but i did",
    "never a dull moment", "worth every penny", "worth seeing", "do not miss it", "you will not regret it", "highly recommended",
    "my favourite film of the year", "i could not stop laughing", "it gets better every time", "one of the best", "what a film",
    "a joy from start to finish", "a must see", "i was hooked", "well done", "it is not without flaws but i liked it",
    "slow at first but it pays off", "despite its flaws it works", "a masterpiece",
)  # fmt: skip
BLAME = (
    "i hated it", "i regret every minute", "could have been better", "it could hardly be worse", "i will never watch it again",
    "many complaints", "nothing to like about it", "i have nothing good to say about it", "worse than i expected",
    "i hoped for more", "i had higher hopes", "i expected something better", "it did not live up to my expectations",
    "not what i hoped for", "it let me down", "i wanted to like it but i did not", "never a moment of interest",
    "not worth the money", "not worth seeing", "a waste of time", "avoid it", "do not bother", "you will regret it",
    "not recommended", "i can not recommend it", "i fell asleep", "i wanted my money back", "it gets worse every minute",
    "one of the worst", "i walked out", "a mess from start to finish", "a disappointment", "nothing special",
    "it looks nice but that is all", "good actors wasted on a bad script", "great cast but no story",
    "i wish i had stayed at home",
)  # fmt: skip
THINGS = ("it", "the film", "this movie", "the story", "the picture")
PLAIN = (
    "is two hours long", "was made in france", "is set in a small town", "begins in winter", "is based on a novel",
    "came out in may", "is about a man and his dog", "is about two sisters", "was shot in black and white",
    "takes place on a ship", "was filmed over six weeks", "has three main characters", "is in german with subtitles",
    "was shown on television", "follows a teacher who moves to the city", "is on tonight", "is a film", "is the second part",
)  # fmt: skip
FACTS = (
    "he plays a doctor", "i saw it on television", "i watched it last night with my sister", "she is the director",
    "the second part follows the brother", "the cast has ten actors", "they travel to london by train",
    "the music is by her husband", "i have not seen it yet", "the book was written first", "film", "review", "the film",
)  # fmt: skip
YEARS = range(1931, 2013, 3)

FACT, MILD = 0.5, 0.2  # P(positive) of a fact; how far a negated verdict stays from certainty


def phrases() -> dict[str, dict[str, float]]:
    """The grammar's sentences by kind, without the probes that we are judged by, each with its probability of "positive"."""
    kinds = {"praise": dict.fromkeys(PRAISE, 0.95), "blame": dict.fromkeys(BLAME, 0.05), "fact": dict.fromkeys(FACTS, FACT)}
    kinds["fact"] |= {f"{thing} {fact}": FACT for thing, fact in product(THINGS, PLAIN)} | {
        f"it was made in {year}": FACT for year in YEARS
    }
    kinds["verdict"], kinds["negation"] = {}, {}
    for subject, strength, (words, target) in product(SUBJECTS, STRENGTHS, ((GOOD, 0.95), (BAD, 0.05))):
        kinds["verdict"] |= {_join(subject, strength, word): target for word in words}
    for subject, negation, ending, (words, target) in product(SUBJECTS, NOT, ENDINGS, ((GOOD, MILD / 2), (BAD, 1 - MILD))):
        if subject or negation != "n't":
            kinds["negation"] |= {_join(subject, negation, word, ending): target for word in words}
    for subject, strength, (words, target) in product(SUBJECTS, ("very", "that", "really"), ((GOOD, MILD), (BAD, 1 - MILD))):
        kinds["negation"] |= {_join(subject, "not", strength, word): target for word in words}
    probes = {_bare(probe) for probe in PROBES}
    return {
        kind: {sentence: target for sentence, target in sentences.items() if _bare(sentence) not in probes}
        for kind, sentences in kinds.items()
    }


def _bare(sentence: str) -> str:
    return re.sub(r"[^a-z ]", "", sentence.lower())


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part).replace(" n't", "n't")
