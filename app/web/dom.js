// What every panel needs of the page and of the server.

/** An element with attributes (functions become listeners) and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** fetch, with the API key that this tab was given, if the server wants one. */
export function send(url, options = {}) {
  const key = sessionStorage.getItem("api-key");
  return fetch(url, key ? { ...options, headers: { ...options.headers, "X-API-Key": key } } : options);
}

/** The JSON of an answer; an error answer is thrown in the server's own words. */
export async function ask(url, options) {
  const response = await send(url, options);
  if (!response.ok) throw await problem(response);
  return response.json();
}

export async function problem(response) {
  const body = await response.json().catch(() => null);
  const error = new Error(body?.error?.message ?? `the server answered ${response.status}`);
  return Object.assign(error, { status: response.status });
}

export const sendJson = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

/** Makes signals for requests of which the latest alone counts: each one aborts the one before. */
export function latest() {
  let running = new AbortController();
  return () => {
    running.abort(); // the server hears that nobody waits for that answer any more
    running = new AbortController();
    return running.signal;
  };
}

/** Runs `work`, and shows in `place` what it throws; a request that was aborted is no error. */
export async function shown(place, work) {
  place.classList.remove("error");
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    place.classList.add("error");
    place.replaceChildren(error.message);
  }
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Rows of name, bar and number for probabilities. */
export function bars(entries) {
  const cells = entries.flatMap(([name, value]) => [
    element("span", {}, name),
    element("meter", { min: 0, max: 1, value, "aria-label": name }),
    element("span", { class: "number" }, percent(value)),
  ]);
  return element("div", { class: "bars" }, ...cells);
}
