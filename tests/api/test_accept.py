"""The Accept header against the four forms that a picture may be answered in."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from app.api.accept import preferred
from app.errors import NotAcceptable

PNG, JPEG, WEBP, JSON = OFFERS = ("image/png", "image/jpeg", "image/webp", "application/json")


def asked(*headers: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", header.encode("latin-1")) for header in headers]})


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", PNG),
        (" ", PNG),
        (" ,\t,", PNG),
        ("*/*", PNG),
        ("image/*", PNG),
        ("application/*", JSON),
        ("image/jpeg", JPEG),
        ("IMAGE/JPEG", JPEG),
        ("image/webp, image/png;q=0.5", WEBP),
        ("image/webp;q=0.5, image/jpeg;q=0.7", JPEG),
        ("image/webp;q=0.500,image/jpeg ; q=0.501", JPEG),
        ("image/jpeg, image/png", PNG),  # liked alike: the server's order
        ("image/avif, image/webp, */*;q=0.8", WEBP),
        ("image/png;q=0, */*", JPEG),
        ("image/*;q=0, */*;q=0.1", JSON),
        ("image/*;q=0.3, image/webp;q=0.2, application/json;q=0.25", PNG),  # the most specific range counts
        ("image/*;q=0.2, application/json;q=0.25", JSON),
        ("text/html, application/json;charset=utf-8", JSON),
        ("text/html, */*;q=0.001", PNG),
        ("image/png;q=2, image/webp;q=0.1", PNG),  # no weight: as if none were given
        ("image/webp;q=nan, image/png;q=0.9", WEBP),
        ("image/webp;q=0.1234, image/png;q=0.9", WEBP),
        ("image/webp;q=, image/png;q=0.9", WEBP),
        ("image/jpg", JPEG),
        ("image/png;q=0.5, image/jpg", JPEG),
        ("rubbish, image/webp", WEBP),
        (",,image/jpeg,", JPEG),
        ("image/png;q=1.000", PNG),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JPEG),  # as Java sends it
        ("image/png;q=.5, image/webp;q=.501", WEBP),
        ("image/png;q=., image/webp;q=0.9", PNG),
        ("image/webp;q=0.", None),
        ("text/html", None),
        ("*/*;q=0", None),
        ("image/*;q=0, application/json;q=0.0", None),
        ("image", None),
        ("\xff", None),
    ],
)
def test_the_form_is_the_one_that_is_liked_best(header: str, form: str | None) -> None:
    if form is not None:
        assert preferred(asked(header), OFFERS) == form
    else:
        with pytest.raises(NotAcceptable, match="may be image/png, image/jpeg, image/webp or application/json; Accept allows none"):
            preferred(asked(header), OFFERS)


def test_several_headers_are_one_list() -> None:
    assert preferred(asked("image/png;q=0.1", "image/webp"), OFFERS) == WEBP


def test_without_the_header_everything_is_welcome() -> None:
    assert preferred(asked(), OFFERS) == PNG
