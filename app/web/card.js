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

/** Those of the model as it is served, by ONNX Runtime; where none says so, those that were measured as the first one was. */
function figures(metrics) {
  if (!metrics.length) return [element("p", { class: "quiet" }, "Nothing.")];
  const served = metrics.filter(({ note }) => note?.startsWith("ONNX Runtime"));
  const shown = served.length ? served : metrics.filter(({ note }) => note === metrics[0].note);
  return Object.values(Object.groupBy(shown, how)).flatMap((alike) => {
    const intervals = alike.some(({ ci95 }) => ci95) ? "With 95 % intervals, " : "";
    return [element("table", {}, ...alike.map(row)), element("p", { class: "quiet" }, intervals + how(alike[0]))];
  });
}

const how = ({ n, data, split, note }) => `n = ${n.toLocaleString("en")}: ${data}, ${split}${note ? `; ${note}` : ""}`;

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
