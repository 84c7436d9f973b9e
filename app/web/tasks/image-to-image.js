import { element, latest, problem, send, shown } from "../dom.js";
import { drawn, dropZone } from "../picture.js";

export function show(place, model) {
  const { card } = model;
  const state = { image: null };
  const drawing = latest();
  const answer = element("div", { "aria-live": "polite" });
  const choices = card.condition ? chooser(card.condition, redraw) : null;
  const colours = element("input", { type: "checkbox", change: redraw });
  const strength = card.condition?.neutral ? slider("strength", 100, redraw) : null;

  function query() {
    const options = new URLSearchParams({ ...choices?.options(), preserve_colour: colours.checked });
    if (strength) options.set("strength", strength.input.value / 100);
    return options;
  }

  async function redraw() {
    if (!state.image) return;
    const signal = drawing();
    answer.setAttribute("aria-busy", "true");
    await shown(answer, async () => answer.replaceChildren(...(await asked(model.id, query(), state.image, signal))));
    if (!signal.aborted) answer.removeAttribute("aria-busy");
  }

  function take(image) {
    state.image = image;
    redraw();
  }

  place.append(
    dropZone(take),
    element("div", { class: "row" }, element("button", { class: "second", click: async () => take(await landscape()) }, "Use a drawn landscape")),
    element("div", { class: "row" }, ...(choices?.controls ?? []), strength?.label, element("label", { class: "beside" }, colours, "keep its colours")),
    element("p", { class: "quiet" }, `A picture whose longer side is above ${card.processor.max_side_px} px is shrunk to that.`),
    answer,
  );
}

/** The picture and what became of it, one over the other, and what the server says of it. */
async function asked(id, options, image, signal) {
  const headers = { "Content-Type": image.type, Accept: "image/png" };
  const response = await send(`/v1/image-to-image/${id}?${options}`, { method: "POST", headers, body: image, signal });
  if (!response.ok) throw await problem(response);
  const url = URL.createObjectURL(await response.blob());
  const [total] = response.headers.get("Server-Timing").match(/[0-9.]+$/);
  const [width, height] = response.headers.get("X-Image-Size").split("x");
  return [
    comparison(URL.createObjectURL(image), url, width),
    element("p", { class: "quiet" }, `${width} x ${height} px in ${Number(total).toFixed(0)} ms. `, element("a", { href: url, download: `${id}.png` }, "Save the picture")),
  ];
}

function comparison(before, after, width) {
  const drawing = element("img", { class: "after", src: after, width, alt: "the picture that was drawn" });
  const curtain = slider("before and after", 0, () => {}, () => drawing.style.setProperty("clip-path", `inset(0 0 0 ${curtain.input.value}%)`));
  return element("figure", {}, element("div", { class: "compare" }, element("img", { src: before, width, alt: "the picture that was sent" }), drawing), element("div", { class: "row" }, curtain.label));
}

function slider(title, value, change, input = () => {}) {
  const control = element("input", { type: "range", min: 0, max: 100, step: 5, value, "aria-label": title, change, input });
  return { input: control, label: element("label", {}, title, control) };
}

/** The model's choices: one, or two of them with a share where they can be mixed. */
function chooser({ option, choices, default: first, mixable, neutral }, change) {
  const named = choices.filter(({ name }) => name !== neutral);
  const entries = (chosen) => named.map(({ name, title }) => element("option", { value: name, selected: name === chosen }, title));
  const one = element("select", { name: option, change: () => changed() }, ...entries(first));
  const changed = () => { share.input.disabled = alone(); change(); };
  const other = element("select", { name: `${option}s`, change: changed }, element("option", { value: "" }, "nothing else"), ...entries());
  const share = slider("share of the second", 50, change);
  const alone = () => !mixable || !other.value || other.value === one.value;
  share.input.disabled = true;
  return {
    options: () => (alone() ? { [option]: one.value } : { [`${option}s`]: `${one.value}:${100 - share.input.value},${other.value}:${share.input.value}` }),
    controls: [element("label", {}, option, one), ...(mixable ? [element("label", {}, "mixed with", other), share.label] : [])],
  };
}

const landscape = () => drawn(320, 240, (pen) => {
  const shape = (colour, draw) => { pen.fillStyle = colour; pen.beginPath(); draw(); pen.fill(); };
  shape("#96bee6", () => pen.rect(0, 0, 320, 240));
  shape("#fae696", () => pen.arc(240, 60, 28, 0, 2 * Math.PI));
  for (const [colour, height] of [["#8296aa", 150], ["#5f8464", 180], ["#46603c", 210]]) {
    shape(colour, () => {
      pen.moveTo(0, 240);
      for (let x = 0; x <= 320; x += 4) pen.lineTo(x, height - 26 * Math.sin(x / 37 + height) - 9 * Math.sin(x / 11));
      pen.lineTo(320, 240);
    });
  }
});
