// The model card, from the manifest: how good, on what, and what it is not for.
import { element } from "./dom.js";

export function showCard(place, { card, execution_provider: provider }) {
  const [first] = card.metrics;
  const served = card.metrics.filter(({ note, split }) => note === first.note && split === first.split);
  place.replaceChildren(
    ...(card.notice ? [element("p", {}, element("strong", {}, card.notice))] : []),
    element("h3", {}, "Measured"),
    element("table", {}, ...served.map(row)),
    element("p", { class: "quiet" }, `With 95 % intervals, n = ${first.n.toLocaleString("en")}: ${first.data}, ${first.split}; ${first.note ?? ""}`),
    element("h3", {}, "Limits"),
    element("ul", {}, ...card.limitations.map((limit) => element("li", {}, limit))),
    element("h3", {}, "Use and licence"),
    element("p", { class: "quiet" }, card.intended_use),
    element("p", { class: "quiet" }, `${card.license.name}. ${card.license.notice ?? ""}`),
    element("p", { class: "quiet" }, `${card.name}/${card.version}, trained ${card.provenance.trained_at.slice(0, 10)}, runs on ${provider.actual}`),
  );
}

function row({ name, value, ci95 }) {
  const interval = ci95 ? `${ci95[0].toFixed(3)} to ${ci95[1].toFixed(3)}` : "";
  return element(
    "tr",
    {},
    element("td", {}, name.replaceAll("_", " ")),
    element("td", { class: "number" }, value.toFixed(3)),
    element("td", { class: "number quiet" }, interval),
  );
}
