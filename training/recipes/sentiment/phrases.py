"""Short sentences in our own words, from a small grammar: what people type into a text box, which 250-word reviews hardly teach.

Negation turns a verdict and weakens it ("not bad" is mild praise), expectations that were not met are blame, what could have
been worse is not so bad, and a plain fact is neither: each sentence carries a probability of "positive".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise, product

from training.recipes.sentiment.probes import FRESH_PROBES, PROBES
from training.recipes.sentiment.sayings import BLAME, FACTS, PLAIN, PRAISE

SUBJECTS = ("it is", "it was", "this is", "this film is", "the movie was", "the acting is", "the plot was", "i think it is", "")
GOOD = (
    "good", "great", "excellent", "funny", "moving", "beautiful", "clever", "enjoyable", "brilliant", "wonderful", "gripping", "charming",
)  # fmt: skip
BAD = ("bad", "terrible", "awful", "boring", "dull", "stupid", "predictable", "weak", "horrible", "pointless", "annoying", "poor")
STRENGTHS = ("", "very", "really", "so", "quite", "simply", "pretty")
NOT = ("not", "n't", "never", "hardly", "not exactly", "far from")
ENDINGS = ("", "at all", "by any means", "in the least", ", to be honest", ", really", ", i must say")
LIKED = ("liked", "enjoyed", "loved", "admired")
HATED = ("hated", "disliked", "regretted")
LIKE, HATE = ("like", "enjoy", "love", "recommend", "care for"), ("hate", "dislike", "mind", "regret")

THINGS = ("it", "the film", "this movie", "the story", "the picture")
PARTS = ("acting", "story", "music", "cast", "ending", "dialogue", "photography", "beginning", "script", "plot", "humour")
YEARS = range(1931, 2013, 3)

SURE, FACT, MILD = 0.95, 0.5, 0.2  # P(positive) of praise and of a fact; how far a negated verdict stays from certainty


def phrases() -> dict[str, dict[str, float]]:
    """The grammar's sentences by kind, without the probes that we are judged by, each with its probability of "positive"."""
    kinds = {
        "praise": dict.fromkeys(PRAISE, SURE),
        "blame": dict.fromkeys(BLAME, 1 - SURE),
        "fact": _facts(),
        "verdict": _verdicts(),
        "negation": _negations(),
        "negated feeling": _negated_feelings(),
        "expectation": _expectations(),
        "opinion of others": _opinions_of_others(),
        "comparison": _comparisons(),
        "contrast": _contrasts(),
    }
    return {kind: {text: target for text, target in sentences.items() if not _holds_a_probe(text)} for kind, sentences in kinds.items()}


def _facts() -> dict[str, float]:
    about = [f"{thing} {fact}" for thing, fact in product(THINGS, PLAIN)]
    dated = [f"{thing} was {done} in {year}" for thing, done, year in product(THINGS[:3], ("made", "shot", "shown"), YEARS)]
    return dict.fromkeys([*FACTS, *about, *dated], FACT)


def _verdicts() -> dict[str, float]:
    plain = product(SUBJECTS, STRENGTHS)
    named = product(("", "it is", "it was", "what"), ("a", "a really", "a very", "a pretty"))
    return _both(
        SURE,
        [_join(subject, strength, "{}") for subject, strength in plain]
        + [_join(subject, article, "{}", noun) for (subject, article), noun in product(named, ("film", "movie", "story"))],
    )


def _negations() -> dict[str, float]:
    """ "it isn't bad, really": the adjective's opposite, weaker; "not very" more weakly still."""
    plain = [_join(*parts) for parts in product(SUBJECTS, NOT, ("{}",), ENDINGS) if parts[0] or parts[1] != "n't"]
    strong = [_join(*parts) for parts in product(SUBJECTS, ("not", "n't"), ("very", "that", "really", "all that", "too"), ("{}",))]
    named = [_join(*parts) for parts in product(("", "it is", "this was"), ("not", "hardly"), ("a {} film", "a {} movie", "a {} one"))]
    strong = [text for text in strong if not text.startswith("n't")]
    weak = {text.format(word): MILD for text, word in product(strong, GOOD)} | _spread(strong, BAD, 1 - MILD)
    return _both(MILD / 2, plain + named, 1 - MILD) | weak


def _negated_feelings() -> dict[str, float]:
    """ "i didn't hate it", "i can't say we liked it", "there is nothing dull about the plot"."""
    objects = ("it", "this", "the film", "this movie", "it much", "it at all")
    direct = [_join(*parts, "{}") for parts in product(("i", "we", "my wife"), ("did not", "didn't", "never did"))]
    said = [
        _join(who, how, "{} it")
        for who, how in product(("i", "we"), ("can't say i", "cannot say that i", "can not claim i", "would not say i", "don't think i"))
    ]
    about = [_join(*parts) for parts in product(("there is", "there was", "i see", ""), ("nothing {} about",), ("it", "this", "the plot"))]
    hard = [f"it is {how} to {{}} {what}" for how, what in product(("hard", "difficult", "impossible", "not easy"), objects[:4])]
    acts = [f"{text} {what}" for text, what in product(direct, objects)]
    return (
        _spread(acts, LIKE, MILD / 2) | _spread(acts, HATE, 1 - MILD * 1.25)
        | _spread(said, LIKED, MILD / 2) | _spread(said, HATED, 1 - MILD * 1.25)
        | _spread(about, GOOD, MILD / 2) | _spread([*about, *about], (*BAD, "wrong"), 1 - MILD)
        | _spread(hard, LIKE, MILD / 2) | _spread(hard, HATE, 1 - MILD)
    )  # fmt: skip


def _expectations() -> dict[str, float]:
    """ "we hoped for better" is blame, "i feared the worst" praise."""
    who = ("i", "we", "i really", "one")
    hoped = ("expected", "hoped for", "wanted", "had hoped for", "was expecting", "was hoping for", "looked for", "would have liked")
    feared = ("expected", "feared", "had expected", "was expecting", "was prepared for", "was afraid of", "thought it would be")
    more = ("more", "better", "a lot more", "so much more", "much more", "something better", "more fun", "more story", "a better film")
    worse = ("worse", "far worse", "a lot worse", "something worse", "the worst", "less", "a lot less", "a boring film", "a bad film")
    unmet = [_join(*parts) for parts in product(who, hoped, more, ("", "from it", "from this film", "of this director", "than this"))]
    beaten = [_join(*parts) for parts in product(who, feared, worse, ("", "from it", "from this film"))]
    than = [_join(*parts) for parts in product(("", "it was", "this is"), ("{} than i",), ("expected", "feared", "had hoped", "thought"))]
    return (
        dict.fromkeys(unmet, MILD / 2) | dict.fromkeys(beaten, 1 - MILD)
        | _spread(than, ("better", "funnier", "much better"), SURE) | _spread(than, ("worse", "weaker", "much worse"), 1 - SURE)
    )  # fmt: skip


def _opinions_of_others() -> dict[str, float]:
    """ "no one would call it funny", "you can hardly call this a failure"."""
    who = product(("nobody", "no one", "few people", "you can not", "i would not", "i wouldn't"), ("could", "would", "can", "will"))
    calls = [_join(one, "" if one.endswith(("not", "n't")) else can, "call", what, "{}") for one, can in who for what in ("it", "this")]
    good, bad = (*GOOD, "a classic", "a great film", "a work of art", "a good film"), (*BAD, "a failure", "a bad film", "a waste")
    return _spread(calls, good, MILD / 2) | _spread(calls, bad, 1 - MILD)


def _comparisons() -> dict[str, float]:
    """ "the plot could have been worse": less than praise, and no blame."""
    what = ("it", "this film", "the movie", "the acting", "the story", "things", "this")
    could = [f"{thing} {can} {{}}" for thing, can in product(what, ("could have been", "could be", "might have been"))]
    seen = [_join(*parts) for parts in product(("i", "we", "i have", "i've", "we have"), ("seen {}", "seen far {}", "seen much {}"))]
    must = [f"{thing} {can} {{}}" for thing, can in product(what, ("couldn't be", "could not have been", "can't get"))]
    better, worse = ("better", "much better", "funnier", "a lot better"), ("worse", "much worse", "a lot worse", "far worse")
    return (
        _spread(could, better, MILD / 2) | _spread(could, worse, 0.7) | _spread(seen, ("better",), MILD) | _spread(seen, ("worse",), 0.7)
        | _spread(must, ("better",), SURE) | _spread(must, ("worse",), 1 - SURE)
    )  # fmt: skip


def _contrasts() -> dict[str, float]:
    """Of praise and blame the last word counts most; an only merit is blame, two merits are praise."""
    pairs = [(one, other) for one, other in product(PARTS, PARTS) if one != other]
    turns = {}
    for (one, other), joint in product(pairs, (" but", ",", ", but")):
        good, bad = GOOD[len(turns) % len(GOOD)], BAD[(len(turns) // 2) % len(BAD)]
        turns |= {f"{good} {one}{joint} {bad} {other}": MILD, f"{bad} {one}{joint} {good} {other}": 0.6}
    only = [f"the only {{}} thing {be} the {part}" for be, part in product(("is", "was", "about it was"), PARTS)]
    for words, level in ((GOOD, SURE), (BAD, 1 - SURE)):
        for one, other in pairwise(words):
            both = ("not only {} but also {}", "not only {} but {} too", "both {} and {}")
            turns |= dict.fromkeys([text.format(one, other) for text in both], level)
            turns |= dict.fromkeys(
                [text.format(one, other) for text in ("neither {} nor {}", "it is neither {} nor {}")], 0.9 - level * 0.8
            )
    return turns | _spread(only, ("good", "nice", "funny", "great"), MILD / 2) | _spread(only, ("bad", "weak", "wrong"), 1 - MILD)


def _both(target: float, texts: Iterable[str], opposite: float | None = None) -> dict[str, float]:
    """The texts with each good word, and with each bad word the opposite target."""
    texts = list(texts)
    return _spread(texts, GOOD, target) | _spread(texts, BAD, 1 - target if opposite is None else opposite)


def _spread(texts: Iterable[str], words: Iterable[str], target: float) -> dict[str, float]:
    return {text.format(word): target for text, word in product(texts, words)}


def _holds_a_probe(sentence: str) -> bool:
    """Is the sentence a probe, or a longer one around a probe of three words or more?"""
    bare = _bare(sentence)
    return bare in _BARE_PROBES or any(f" {probe} " in f" {bare} " for probe in _LONG_PROBES)


def _bare(sentence: str) -> str:
    return " ".join(re.sub(r"[^a-z ]", "", sentence.lower()).split())


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part).replace(" n't", "n't").replace(" ,", ",")


_BARE_PROBES = {_bare(probe) for probe in (*PROBES, *FRESH_PROBES)}
_LONG_PROBES = {probe for probe in _BARE_PROBES if probe.count(" ") >= 2}
