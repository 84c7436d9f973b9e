import { ask, bars, element, latest, percent, sendJson, shown } from "../dom.js";

const EXAMPLE = "The cast is good and the music is wonderful, but the script is a mess and I was bored after an hour.";

export function show(place, model) {
  const text = element("textarea", { "aria-label": "Text" }, EXAMPLE);
  const explain = element("input", { type: "checkbox", checked: true });
  const answer = element("div", { "aria-live": "polite" });
  const classifying = latest();
  const classify = () =>
    shown(answer, async () => {
      const body = { text: text.value, explain: explain.checked };
      const { results } = await ask(`/v1/text-classification/${model.id}`, sendJson(body, classifying()));
      answer.replaceChildren(bars(Object.entries(results[0].scores)), ...explanation(body.text, results[0]));
    });
  place.append(
    text,
    element(
      "div",
      { class: "row" },
      element("button", { click: classify }, "Classify"),
      element("label", { class: "beside" }, explain, "explain"),
    ),
    answer,
  );
}

/** The text with each piece coloured by what it did for the answer. Places are in code points: an emoji is one, and two in a string. */
function explanation(text, { label, explanation: found }) {
  if (!found) return [];
  const spans = apart(found.attributions);
  const strongest = Math.max(...spans.map(({ contribution }) => Math.abs(contribution)), 1e-6);
  const words = element("p", { class: "words" });
  const letters = [...text];
  const piece = (from, to) => letters.slice(from, to).join("");
  let at = 0;
  for (const { start, end, contribution } of spans) {
    words.append(piece(at, start));
    const mark = element("mark", { title: `${percent(contribution)} of ${label}` }, piece(start, end));
    mark.style.background = `rgb(var(${contribution > 0 ? "--for" : "--against"}) / ${(0.55 * Math.abs(contribution)) / strongest})`;
    words.append(mark);
    at = end;
  }
  words.append(piece(at));
  const legend = `Green speaks for ${label}, red against it: how much its probability falls when the word is left out.`;
  return [element("h3", {}, "Why"), words, element("p", { class: "quiet" }, legend)];
}

/** In the order of the text. Letters that are several tokens, as a fraction is, are one span with the sum of what these did. */
function apart(attributions) {
  const spans = [];
  for (const { start, end, contribution } of attributions.toSorted((a, b) => a.start - b.start)) {
    const last = spans.at(-1);
    if (start < last?.end) {
      last.end = Math.max(last.end, end);
      last.contribution += contribution;
    } else spans.push({ start, end, contribution });
  }
  return spans;
}
