"""The sentences of `phrases.py` that no rule makes: praise, blame, and what can be said plainly of any film."""

from __future__ import annotations

PRAISE = (
    "i loved it", "i enjoyed every minute", "could not be better", "it couldn't have been better",
    "i could watch it again and again", "no complaints", "nothing to complain about", "i have nothing bad to say about it",
    "better than i expected", "better than i thought", "it surprised me in a good way", "i did not expect to like it but i did",
    "never a dull moment", "worth every penny", "worth seeing", "do not miss it", "you will not regret it", "highly recommended",
    "my favourite film of the year", "i could not stop laughing", "it gets better every time", "one of the best", "what a film",
    "a joy from start to finish", "a must see", "i was hooked", "well done", "it is not without flaws but i liked it",
    "slow at first but it pays off", "despite its flaws it works", "a masterpiece", "i would gladly watch it again",
    "i will watch it again", "we will see it again next week", "i want to see it again", "time flew by", "i did not want it to end",
    "go and see it", "we were not let down", "it never drags", "it kept me awake", "it lives up to its name",
)  # fmt: skip
BLAME = (
    "i hated it", "i regret every minute", "could have been better", "it could hardly be worse", "i will never watch it again",
    "many complaints", "nothing to like about it", "i have nothing good to say about it", "worse than i expected",
    "i had higher hopes", "it did not live up to my expectations",
    "not what i hoped for", "it let me down", "i wanted to like it but i did not", "never a moment of interest",
    "not worth the money", "not worth seeing", "a waste of time", "avoid it", "do not bother", "you will regret it",
    "not recommended", "i can not recommend it", "i fell asleep", "i wanted my money back", "it gets worse every minute",
    "one of the worst", "i walked out", "a mess from start to finish", "a disappointment", "nothing special",
    "it looks nice but that is all", "good actors wasted on a bad script", "great cast but no story",
    "i wish i had stayed at home", "i would not watch it again", "once was enough", "i looked at my watch all the time",
    "i was glad when it was over", "it drags", "it goes nowhere", "we were let down", "it left me cold", "it does not work",
    "it lacks charm", "it has no story", "stay away", "i gave up after an hour",
)  # fmt: skip
PLAIN = (
    "is two hours long", "was made in france", "is set in a small town", "begins in winter", "is based on a novel",
    "came out in may", "is about a man and his dog", "is about two sisters", "was shot in black and white",
    "takes place on a ship", "was filmed over six weeks", "has three main characters", "is in german with subtitles",
    "was shown on television", "follows a teacher who moves to the city", "is on tonight", "is a film", "is the second part",
    "lasts two hours", "takes a hundred minutes", "is a story about a father in texas", "is about a school in london",
    "tells of a doctor and her brother", "starts at eight", "is in colour", "was written in canada", "is a western",
)  # fmt: skip
FACTS = (
    "he plays a doctor", "i saw it on television", "i watched it last night with my sister", "she is the director",
    "the second part follows the brother", "the cast has ten actors", "they travel to london by train",
    "the music is by her husband", "i have not seen it yet", "the book was written first", "film", "review", "the film", "a movie review",
    "picture", "the movie", "cinema", "a film", "actor", "the writer lives in berlin", "he made three films", "i saw it with my brother",
    "there is a book too", "they are brothers", "she is from spain", "we saw it at the cinema", "part two", "the title",
)  # fmt: skip
