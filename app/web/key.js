// A server with API keys shows this page when AXON_PUBLIC_PAGES is on, and answers it when it has a key.
import { element } from "./dom.js";

/** Asks for the key and keeps it until the tab is closed. */
export function keyForm(then) {
  const form = { pattern: "[A-Za-z0-9._~+\\/=\\-]{16,256}", title: "16 to 256 letters, digits and . _ ~ + / = -", required: true };
  const key = element("input", { type: "password", autocomplete: "off", "aria-label": "API key", ...form });
  const take = (event) => {
    event.preventDefault();
    sessionStorage.setItem("api-key", key.value.trim());
    then();
  };
  return element("form", { class: "row", submit: take }, element("label", {}, "API key", key), element("button", {}, "Use this key"));
}
