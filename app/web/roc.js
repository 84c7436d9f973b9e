// The ROC curve as a control: a named point or any threshold, chosen by looking at what it costs.
import { element, percent } from "./dom.js";

const SIDE = 100;
const NS = "http://www.w3.org/2000/svg";

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const place = (sensitivity, specificity) => [SIDE * (1 - specificity), SIDE * (1 - sensitivity)];
const line = (points) => "M" + points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join("L");

/** A figure with the curve, its named points and a threshold slider; `decide` gets the chosen rule as query parameters. */
export function drawRoc({ roc, operating_points: points, default_operating_point: first }, decide) {
  const marker = shape("circle", { r: 2.2, class: "chosen" });
  const caption = element("figcaption");
  const slider = element("input", { type: "range", min: 0, max: roc.threshold.length - 1, step: 1, "aria-label": "threshold" });

  function mark(threshold, sensitivity, specificity, name) {
    const [x, y] = place(sensitivity, specificity);
    marker.setAttribute("cx", x);
    marker.setAttribute("cy", y);
    caption.textContent = `${name ?? "threshold"} ${threshold.toFixed(3)}: sensitivity ${percent(sensitivity)}, specificity ${percent(specificity)}`;
  }

  function choose(point) {
    slider.value = roc.threshold.findIndex((threshold) => threshold >= point.threshold);
    mark(point.threshold, point.sensitivity.value, point.specificity.value, point.name);
    decide({ operating_point: point.name });
  }

  slider.addEventListener("input", () => mark(roc.threshold[slider.value], roc.sensitivity[slider.value], roc.specificity[slider.value]));
  slider.addEventListener("change", () => decide({ threshold: roc.threshold[slider.value] }));
  const chosen = points.find(({ name }) => name === first);
  choose(chosen);
  const { value, ci95 } = roc.auroc;
  return element("figure", {}, picture(roc, points, marker, choose), element("div", {}, slider), caption,
    element("p", { class: "quiet" }, `AUROC ${value.toFixed(3)} (${ci95[0].toFixed(3)} to ${ci95[1].toFixed(3)}), ${roc.n_positive} positive and ${roc.n_negative} negative of the ${roc.split} split. Choose a point or move the slider.`),
  );
}

function picture(roc, points, marker, choose) {
  const bound = (side) => roc.sensitivity_ci95.map((interval, i) => place(interval[side], roc.specificity[i]));
  const dots = points.map((point) => {
    const [cx, cy] = place(point.sensitivity.value, point.specificity.value);
    const dot = shape("circle", { cx, cy, r: 1.8 }, shape("title", {}, point.name));
    dot.addEventListener("click", () => choose(point));
    return dot;
  });
  return shape("svg", { viewBox: "-8 -4 112 114", class: "roc", role: "img", "aria-label": "ROC curve" },
    shape("line", { x1: 0, y1: SIDE, x2: SIDE, y2: 0 }),
    shape("line", { x1: 0, y1: 0, x2: 0, y2: SIDE }),
    shape("line", { x1: 0, y1: SIDE, x2: SIDE, y2: SIDE }),
    shape("path", { class: "band", d: line([...bound(0), ...bound(1).reverse()]) + "Z" }),
    shape("path", { d: line(roc.sensitivity.map((sensitivity, i) => place(sensitivity, roc.specificity[i]))) }),
    ...dots,
    marker,
    shape("text", { x: SIDE / 2, y: SIDE + 7, "text-anchor": "middle" }, "false alarms (1 - specificity)"),
    shape("text", { x: -SIDE / 2, y: -3, "text-anchor": "middle", transform: "rotate(-90)" }, "sensitivity"),
  );
}
