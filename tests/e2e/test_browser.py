"""A person opens /docs, tries each operation out, and nothing is asked of any other machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest

from tests.character_models import write_summing_model
from tests.drawing_models import write_tinting_model, write_turning_model
from tests.e2e.browser import HOST, Browser, chromium, missing_program
from tests.e2e.server import RunningServer, running_server
from tests.model_repository import edit_manifest, forget_origin, target, write_colour_model, write_word_model

ENTER, LEFT, RIGHT = "\ue007", "\ue012", "\ue014"

NOTES = [f"{how}; {direction}" for how in ("identity: as they were", "PyTorch", "ONNX Runtime") for direction in ("there", "back")]
METRICS = [  # figures of doing nothing come first, those of the served model last
    {"name": name, "value": value + index, "n": 1030, "data": "synthetic", "split": "test", "note": note}
    for index, note in enumerate(NOTES)
    for name, value in (("frechet_distance", 0.25), ("cycle_error", 0.125))
]

pytestmark = pytest.mark.skipif(
    missing_program() is not None,
    reason=f"NOT TESTED: {missing_program()} is not installed, so nobody pressed Try it out (apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Toy models under the names that the examples speak of."""
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root, "skin-lesion", targets=[target("melanoma", ["red"])], default_target="melanoma")
    forget_origin(write_colour_model(root, "colours"))
    write_word_model(root, "sentiment")
    write_summing_model(root, "anna")
    write_tinting_model(root, "style-transfer")
    edit_manifest(write_turning_model(root, "horse2zebra"), lambda fields: fields.update(metrics=METRICS))
    with running_server(root, tmp_path_factory.mktemp("server") / "log", cores=1) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def elsewhere(requested: list[str], server: RunningServer) -> list[str]:
    """The addresses that are neither the server's nor the browser's own."""
    return [url for url in requested if not url.startswith((f"http://{HOST}:{server.port}/", "data:", "blob:", "chrome:"))]


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("classify_text", '"results"'),
        ("classify_image", '"predictions"'),
        ("get_roc", '"auroc"'),
        ("get_model_card", '"card"'),
        ("generate_text", '"text"'),
        ("create_completion", '"choices"'),
    ],
)
def test_try_it_out_succeeds_with_what_is_filled_in(browser: Browser, server: RunningServer, operation: str, answer: str) -> None:
    browser.open(f"http://{HOST}:{server.port}/docs")
    block = f".opblock[id*='-{operation}_']"
    browser.click(f"{block} .opblock-summary")
    browser.click(f"{block} .try-out__btn")
    browser.click(f"{block} .execute")
    status = browser.text(f"{block} .live-responses-table tr.response .response-col_status")
    assert status.startswith("200"), browser.text(f"{block} .live-responses-table")
    assert answer in browser.text(f"{block} .live-responses-table .highlight-code, {block} .live-responses-table .microlight")
    requested = browser.requested()
    assert f"http://{HOST}:{server.port}/openapi.json" in requested
    assert elsewhere(requested, server) == []


def test_try_it_out_shows_the_picture_that_was_drawn(browser: Browser, server: RunningServer) -> None:
    browser.open(f"http://{HOST}:{server.port}/docs")
    block = ".opblock[id*='-redraw_image_']"
    browser.click(f"{block} .opblock-summary")
    browser.click(f"{block} .try-out__btn")
    browser.click(f"{block} .execute")
    status = browser.text(f"{block} .live-responses-table tr.response .response-col_status")
    assert status.startswith("200"), browser.text(f"{block} .live-responses-table")
    browser.find(f"{block} .live-responses-table img")
    assert "x-image-size: 96x72" in browser.text(f"{block} .live-responses-table")
    assert elsewhere(browser.requested(), server) == []


def test_redoc_shows_the_operations_and_asks_nobody_else(browser: Browser, server: RunningServer) -> None:
    browser.open(f"http://{HOST}:{server.port}/redoc")
    browser.find("[id*='classify_image']")
    assert elsewhere(browser.requested(), server) == []


def open_demo(browser: Browser, server: RunningServer, model: str) -> None:
    browser.open(f"http://{HOST}:{server.port}/#{model}")
    browser.find(f"body[data-model='{model}']")


def test_the_demo_page_decides_about_a_drawn_spot(browser: Browser, server: RunningServer) -> None:
    browser.requested()
    open_demo(browser, server, "skin-lesion")
    browser.find("svg.roc")
    browser.click("button.second")
    assert browser.text(".decision strong").startswith("melanoma: ")
    browser.run("const slider = document.querySelector('input[type=range]'); slider.value = 0; slider.dispatchEvent(new Event('change'))")
    browser.find(".decision.positive")  # at threshold 0 everything is positive
    browser.click("label.beside input")
    assert "eight views" in browser.text(".decision[data-views='8'] .quiet")
    assert elsewhere(browser.requested(), server) == []


def test_the_demo_page_explains_a_text(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "sentiment")
    browser.click("#panel button")
    browser.find(".words mark")
    browser.run("document.querySelector('textarea').value = ''")
    browser.click("#panel button")
    assert browser.text(".error") == "text must not be empty"


def test_the_demo_page_marks_the_words_behind_an_emoji(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    open_demo(browser, server, "sentiment")
    browser.run("document.querySelector('textarea').value = '\U0001f600\U0001f600 good film'")
    browser.click("#panel button")
    browser.find(".words mark")
    marks = browser.run("return [...document.querySelectorAll('.words mark')].map((mark) => mark.textContent)")
    assert marks[-2:] == ["good", "film"]
    assert browser.run("return document.querySelector('.words').textContent") == "\U0001f600\U0001f600 good film"


def test_the_demo_page_shows_letters_that_are_several_tokens_once(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    open_demo(browser, server, "sentiment")
    browser.run("document.querySelector('textarea').value = '2\u00bd stars'")
    spans = [(0, 1, 0.1), (1, 2, 0.2), (1, 2, -0.5), (1, 2, 0.1), (3, 8, 0.3)]  # of the fraction: 1, a stroke, 2
    attributions = [{"start": start, "end": end, "contribution": contribution} for start, end, contribution in spans]
    result = {"label": "positive", "scores": {"positive": 1}, "explanation": {"attributions": attributions}}
    answer_next(browser, f"Promise.resolve(Response.json({json.dumps({'results': [result]})}))")
    browser.click("#panel button")
    browser.find(".words mark")
    marks = browser.run("return [...document.querySelectorAll('.words mark')].map((mark) => [mark.textContent, mark.title])")
    assert marks == [["2", "10.0 % of positive"], ["\u00bd", "-20.0 % of positive"], ["stars", "30.0 % of positive"]]
    assert browser.run("return document.querySelector('.words').textContent") == "2\u00bd stars"


def answer_next(browser: Browser, answer: str) -> None:
    """The page's next request gets what this JavaScript says, of `real`, `url` and `options`; those after it the server's answers."""
    browser.run(f"const real = window.fetch; window.fetch = (url, options) => {{ window.fetch = real; return {answer}; }}")


def test_the_demo_page_says_why_a_model_cannot_be_shown(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    answer_next(browser, "Promise.reject(new Error('the line is down'))")
    browser.run("location.hash = '#sentiment'")
    assert browser.text("#panel .error") == "the line is down"
    open_demo(browser, server, "anna")


def test_of_two_quick_choices_the_demo_page_shows_the_later_one(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "skin-lesion")
    late = "new Promise((resolve) => setTimeout(() => { window.came = true; resolve(real(url, options)); }, 700))"
    answer_next(browser, late)
    browser.run("location.hash = '#sentiment'")
    browser.find("#models a[href='#sentiment'][aria-current='page']")
    browser.run("location.hash = '#anna'")
    browser.find("body[data-model='anna']")
    browser.wait_until("window.came")
    time.sleep(0.5)
    assert browser.run("return document.body.dataset.model") == "anna"
    assert "anna/1" in browser.text("#card p:last-child")


def test_the_demo_page_gives_up_a_decision_that_nobody_waits_for(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "skin-lesion")
    browser.find("svg.roc")
    heard = "options.signal?.addEventListener('abort', () => { window.gaveUp = true; reject(options.signal.reason); })"
    answer_next(browser, f"new Promise((resolve, reject) => {{ {heard}; }})")
    browser.click("button.second")
    browser.find("#panel img.picture:not([hidden])")
    browser.click("label.beside input")
    browser.find(".decision[data-views='8']")
    assert browser.run("return window.gaveUp") is True
    assert browser.run("return document.querySelectorAll('#panel .error').length") == 0


def test_the_demo_page_keeps_what_was_written_before_an_error(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    events = r"""'data: {"choices": [{"text": "abc"}]}\n\ndata: {"error": {"message": "it took too long"}}\n\n'"""
    answer_next(browser, f"Promise.resolve(new Response({events}))")
    browser.click("#panel button")
    assert browser.text(".generated .error") == "it took too long"
    assert "abc" in browser.text(".generated")


def test_the_demo_page_writes_as_the_text_comes(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    browser.run("document.querySelector('textarea').value = 'ab'; document.querySelector('input[type=number]').value = 12")
    browser.click("#panel button")
    browser.find("#panel button.second[disabled]")  # nothing is left to stop: the text is complete
    assert len(browser.run("return document.querySelector('.generated').textContent")) == len("ab") + 12
    assert elsewhere(browser.requested(), server) == []


def drawn_with(browser: Browser) -> dict[str, str]:
    """The options of the last picture that the page asked for, once it is shown."""
    browser.find("#panel [aria-live]:not([aria-busy]) .after")
    urls = [url for url in browser.requested() if "/v1/image-to-image/" in url]
    return dict(parse_qsl(urls[-1].partition("?")[2]))


def test_the_demo_page_draws_in_a_style_and_by_the_keyboard_alone(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "style-transfer")
    browser.press("button.second", ENTER)
    assert drawn_with(browser) == {"style": "rose", "preserve_colour": "false", "strength": "1"}
    browser.wait_until("document.querySelector('.after').complete")
    assert browser.run("return document.querySelector('.after').naturalWidth") == 320
    browser.press("input[aria-label='strength']", LEFT)
    assert drawn_with(browser)["strength"] == "0.95"
    browser.press("select[name='styles']", "Moss")
    assert drawn_with(browser)["styles"] == "rose:50,moss:50"
    browser.press("#panel input[type='checkbox']", " ")
    assert drawn_with(browser)["preserve_colour"] == "true"
    browser.press("input[aria-label='before and after']", RIGHT)
    assert browser.run("return document.querySelector('.after').style.clipPath") == "inset(0px 0px 0px 5%)"
    assert "320 x 240 px in" in browser.text("#panel [aria-live] .quiet")


def test_the_demo_page_offers_what_a_model_without_mixtures_has(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "horse2zebra")
    browser.click("button.second")
    assert drawn_with(browser) == {"direction": "photo-to-negative", "preserve_colour": "false"}
    browser.press("select[name='direction']", "Red")
    assert drawn_with(browser)["direction"] == "red-to-blue"
    assert browser.run("return document.querySelectorAll('#panel select, #panel input[type=range]').length") == 2  # with the comparison


def test_the_demo_page_says_why_a_picture_was_refused(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "style-transfer")
    browser.run(
        "const files = new DataTransfer(); files.items.add(new File(['no picture'], 'a.png', {type: 'image/png'}));"
        "const input = document.querySelector('input[type=file]'); input.files = files.files; input.dispatchEvent(new Event('change'))"
    )
    assert browser.text(".error").startswith("the image cannot be decoded")


def test_the_demo_page_serves_a_model_of_which_little_is_known(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "colours")
    assert "The licence is not known." in browser.text("#card")
    browser.click("button.second")
    browser.find("#panel [aria-live]:not([aria-busy]) > *")
    assert "Blue" in browser.text("#panel [aria-live]")


def test_a_card_shows_the_figures_of_the_served_model(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "horse2zebra")
    tables = browser.run(
        "return [...document.querySelectorAll('#card table')].map((table) => table.innerText.split(/\\s+/).join(' ').trim())"
    )
    assert tables == ["frechet distance 4.250 cycle error 4.125", "frechet distance 5.250 cycle error 5.125"]
    for direction in ("there", "back"):
        assert f"n = 1,030: synthetic, test; ONNX Runtime; {direction}" in browser.text("#card")
    open_demo(browser, server, "sentiment")  # with one figure, which has no note
    assert "0.900 to 1.000" in browser.text("#card table")
    assert "With 95 % intervals, n = 100: synthetic, test" in browser.text("#card")


def test_the_demo_page_shows_the_card_of_every_model(browser: Browser, server: RunningServer) -> None:
    open_demo(browser, server, "anna")
    names = browser.run("return [...document.querySelectorAll('#models a')].map((link) => link.textContent)")
    assert names == ["anna", "colours", "horse2zebra", "sentiment", "skin-lesion", "style-transfer"]
    for name in names:
        open_demo(browser, server, name)
        assert f"{name}/1" in browser.text("#card p:last-child")
