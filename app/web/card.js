// The model card, from the manifest: how good, on what, and what it is not for.
import { element } from "./dom.js";

export function showCard(place, { card, execution_provider: provider }) {
  const { license, provenance } = card; // a model from elsewhere may have neither, and no figures
  const trained = provenance ? `trained ${provenance.trained_at.slice(0, 10)}` : "not trained here";
  place.replaceChildren(
    ...(card.notice ? [element("p", {}, element("strong", {}, card.notice))] : []),
    element("h3", {}, "Measured"),
    ...figures(card.metrics),
    element("h3", {}, "Limits"),
    element("ul", {}, ...(card.limitations.length ? card.limitations : ["not known"]).map((limit) => element("li", {}, limit))),
    element("h3", {}, "Use and licence"),
    element("p", { class: "quiet" }, card.intended_use),
    element("p", { class: "quiet" }, license ? `${license.name}. ${license.notice ?? ""}` : "The licence is not known."),
    element("p", { class: "quiet" }, `${card.name}/${card.version}, ${trained}, runs on ${provider.actual}`),
  );
}

function figures([first, ...others]) {
  if (!first) return [element("p", { class: "quiet" }, "Nothing.")];
  const served = [first, ...others].filter(({ note, split }) => note === first.note && split === first.split);
  const how = `With 95 % intervals, n = ${first.n.toLocaleString("en")}: ${first.data}, ${first.split}; ${first.note ?? ""}`;
  return [element("table", {}, ...served.map(row)), element("p", { class: "quiet" }, how)];
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
