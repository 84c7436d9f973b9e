import { element, problem, send, sendJson } from "../dom.js";

export function show(place, model) {
  const prompt = element("textarea", { "aria-label": "Prompt" }, "\n");
  const tokens = number("length, in characters", { min: 1, max: 2000, value: 400 });
  const temperature = number("temperature", { min: 0, max: 2, step: 0.1, value: 0.7 });
  const seed = number("seed", { placeholder: "any" });
  const text = element("div", { class: "generated", "aria-live": "polite" });
  const generate = element("button", {}, "Generate");
  const stop = element("button", { class: "second", disabled: true }, "Stop");
  let leaving = new AbortController();

  generate.addEventListener("click", async () => {
    leaving = new AbortController();
    generate.disabled = !(stop.disabled = false);
    text.replaceChildren(element("b", {}, prompt.value));
    const body = { model: model.id, prompt: prompt.value, max_tokens: tokens.value, temperature: temperature.value, stream: true };
    if (seed.given) body.seed = seed.value;
    await write(text, body, leaving.signal);
    generate.disabled = !(stop.disabled = true);
  });
  stop.addEventListener("click", () => leaving.abort());
  place.append(prompt, element("div", { class: "row" }, tokens.label, temperature.label, seed.label, generate, stop), text);
}

function number(name, attributes) {
  const input = element("input", { type: "number", ...attributes });
  return {
    label: element("label", {}, name, input),
    get given() { return input.value !== ""; },
    get value() { return Number(input.value); },
  };
}

/** Server-sent events to text, as they come; stopping is not an error, and one in the midst stands behind what was written. */
async function write(place, body, signal) {
  try {
    for await (const event of events(await send("/v1/completions", sendJson(body, signal)))) {
      if (event.error) throw new Error(event.error.message);
      place.append(event.choices[0]?.text ?? "");
    }
  } catch (error) {
    if (error.name !== "AbortError") place.append(element("p", { class: "error" }, error.message));
  }
}

async function* events(response) {
  if (!response.ok) throw await problem(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const lines = (rest + chunk.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}
