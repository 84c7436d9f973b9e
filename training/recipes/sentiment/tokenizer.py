"""The tokenizer, whole in one `tokenizers` JSON file: the server needs nothing else to split a text as training did."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKD, Lowercase, Replace, Sequence, StripAccents
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordLevelTrainer

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1

# In this order: a rating ("8/10"), a word with its apostrophe ("don't", but "film" + "'s"), a smiley, dots, one mark.
WORD = r"\d+(?:\.\d+)?/10\b|'s\b|\w+(?:'(?!s\b)\w+)*|[:;]-?[()]|\.{2,}|[^\w\s]"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """The most frequent words of the texts; every other word is `<unk>`."""
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = Sequence(
        [
            Replace(Regex(r"<br\s*/?>"), " "),
            Replace(Regex("[\u2018\u2019\u00b4`]"), "'"),
            NFKD(),
            StripAccents(),
            Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = Split(Regex(WORD), behavior="removed", invert=True)
    trainer = WordLevelTrainer(vocab_size=vocabulary_size, special_tokens=[PAD, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    tokenizer.save(str(path), pretty=False)
