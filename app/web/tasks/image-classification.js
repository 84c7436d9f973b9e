import { ask, bars, element, latest, percent, shown } from "../dom.js";
import { drawn, dropZone } from "../picture.js";
import { drawRoc } from "../roc.js";

export function show(place, model) {
  const state = { image: null, target: model.card.default_target, rule: {} };
  const picture = element("img", { class: "picture", alt: "the picture that was sent", hidden: true });
  const answer = element("div", { "aria-live": "polite" });
  const question = element("div");
  const classifying = latest();
  const drawing = latest();
  const augment = element("input", { type: "checkbox", change: () => (state.target ? draw() : classify()) });

  async function classify() {
    if (!state.image) return;
    const eight = augment.checked;
    const signal = classifying();
    await shown(answer, async () => {
      const query = new URLSearchParams({ ...(state.target && { target: state.target }), ...state.rule, augment: eight });
      const url = `/v1/image-classification/${model.id}?${query}`;
      const found = await ask(url, { method: "POST", headers: { "Content-Type": state.image.type }, body: state.image, signal });
      const likely = found.predictions.map(({ title, probability }) => [title, probability]);
      answer.replaceChildren(bars(likely), ...(found.decision ? [describe(found.decision, eight ? 8 : 1)] : []));
    });
  }

  function take(image) {
    state.image = image;
    picture.hidden = false;
    picture.src = URL.createObjectURL(image);
    classify();
  }

  /** The curve of one view, or of eight where those were measured; the curve then asks for its default point. */
  async function draw() {
    const eight = augment.checked && Boolean(model.card.targets.find(({ name }) => name === state.target).augmented);
    const url = `/v1/image-classification/${model.id}/roc?target=${state.target}&augment=${eight}`;
    const decide = (rule) => { state.rule = rule; classify(); };
    const signal = drawing();
    await shown(question, async () => question.replaceChildren(drawRoc(await ask(url, { signal }), decide)));
  }

  function ask_about(target) {
    Object.assign(state, { target, rule: {} });
    draw();
  }

  const targets = model.card.targets.map(({ name, title }) => element("option", { value: name, selected: name === state.target }, title));
  place.append(
    dropZone(take),
    element("div", { class: "row" },
      element("button", { class: "second", click: async () => take(await spot()) }, "Use a drawn spot"),
      element("label", { class: "beside" }, augment, "average over eight views"),
    ),
    picture, answer,
  );
  if (targets.length) {
    const choice = element("select", { change: (event) => ask_about(event.target.value) }, ...targets);
    place.append(element("h3", {}, "Decision"), element("div", { class: "row" }, element("label", {}, "question", choice)), question);
    ask_about(state.target);
  }
}

/** A brown spot on skin, nobody's: something to send when no picture is at hand. */
const spot = () => drawn(200, 150, (pen) => {
  pen.fillStyle = "#e0b29e";
  pen.fillRect(0, 0, 200, 150);
  pen.filter = "blur(3px)";
  pen.fillStyle = "#704234";
  pen.ellipse(100, 75, 38, 32, 0.4, 0, 2 * Math.PI);
  pen.fill();
});

function describe({ target, positive, probability, threshold, operating_point: point, sensitivity, specificity, measured_on: where }, views) {
  const rule = point ? `${point}, threshold ${threshold.toFixed(3)}` : `threshold ${threshold.toFixed(3)}`;
  const range = ({ value, ci95 }) => `${percent(value)} (${percent(ci95[0])} to ${percent(ci95[1])})`;
  return element("div", { class: positive ? "decision positive" : "decision", "data-views": views },
    element("strong", {}, `${target}: ${positive ? "positive" : "negative"}`),
    element("p", {}, `Probability ${percent(probability)}; ${rule}.`),
    element("p", { class: "quiet" }, where
      ? `At this threshold: sensitivity ${range(sensitivity)}, specificity ${range(specificity)}, measured on the ${where}.`
      : "How often that is right was not measured for eight views."),
  );
}
