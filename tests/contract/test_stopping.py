"""Where a text ends, in whatever pieces it comes."""

from __future__ import annotations

import itertools

import pytest

from app.contract.stopping import StopStrings


def fed(stops: list[str], pieces: list[str]) -> tuple[list[str], int | None]:
    """(what was shown after each piece, how many characters were read up to the end of the stop)."""
    strings, shown, read = StopStrings(stops), [], 0
    for piece in pieces:
        text, end = strings.feed(piece)
        shown.append(text)
        if end is not None:
            return shown, read + end
        read += len(piece)
    return [*shown, strings.rest()], None


def test_the_stop_is_not_shown_and_its_beginning_is_held_back() -> None:
    assert fed(["END"], ["one E", "N", "D two"]) == (["one ", "", ""], 7)
    assert fed(["END"], ["one E", "N", "X two"]) == (["one ", "", "ENX two", ""], None)


def test_what_was_held_back_is_shown_when_the_text_ends_otherwise() -> None:
    assert fed(["END"], ["the E", "N"]) == (["the ", "", "EN"], None)


def test_a_stop_that_repeats_its_own_beginning_is_found() -> None:
    assert fed(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", ""], 4)


def test_without_stops_everything_is_shown_at_once() -> None:
    assert fed([], ["abc", "d"]) == (["abc", "d", ""], None)


def test_the_stop_that_is_complete_first_ends_the_text() -> None:
    assert fed(["abcd", "bc"], ["xabcd"]) == (["xa"], 4)
    assert fed(["bc", "abc"], ["xabc"]) == (["x"], 4)  # both at once: the longer one


@pytest.mark.parametrize("stops", [["aab"], ["ab", "ba"], ["abab", "bb"], ["b"], ["aaaa", "aab", "bab", "bba"], ["abcd", "bc"]])
def test_the_pieces_make_no_difference(stops: list[str]) -> None:
    """Every text of seven letters, whole, letter by letter, and cut in two."""
    for letters in itertools.product("abc", repeat=7):
        text = "".join(letters)
        whole, end = fed(stops, [text])
        for pieces in ([*text], [text[:3], text[3:]]):
            shown, end_in_pieces = fed(stops, pieces)
            assert ("".join(shown), end_in_pieces) == ("".join(whole), end), (text, pieces)
        assert all(stop not in "".join(whole) for stop in stops)
