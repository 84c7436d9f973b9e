// The demo page: the served models, a panel for the chosen one's task, and its card. One file in tasks/ a task.
import { ask, element } from "./dom.js";
import { showCard } from "./card.js";
import { keyForm } from "./key.js";

const panel = document.getElementById("panel");
let choices = 0; // of two in quick succession the later one stays, whichever answer comes last

async function start() {
  const { data: models } = await ask("/v1/models");
  const choose = () => open(models.find((model) => model.id === location.hash.slice(1)) ?? models[0], models);
  if (models.length) {
    window.onhashchange = () => choose().catch(complain);
    await choose();
  } else panel.replaceChildren("No model is served yet; /health/ready says why.");
}

async function open(summary, models) {
  const choice = ++choices;
  delete document.body.dataset.model;
  document.getElementById("models").replaceChildren(
    ...models.map(({ id }) => element("a", { href: `#${id}`, "aria-current": id === summary.id && "page" }, id)),
  );
  const model = await ask(`/v1/models/${summary.id}`).catch((error) => { if (choice === choices) throw error; });
  const task = await import(`./tasks/${summary.task}.js`).catch(() => null);
  if (choice !== choices) return;
  showCard(document.getElementById("card"), model);
  const body = element("div");
  panel.replaceChildren(element("h2", {}, model.card.title), element("p", {}, model.card.description), body);
  if (task) task.show(body, model);
  else body.append(`There is no form for the task ${summary.task} here yet; try it out in the `, element("a", { href: "/docs" }, "API documentation"), ".");
  document.body.dataset.model = model.id; // what is shown is complete
}

function complain(error) {
  const problem = element("p", { class: "error" }, error.message);
  panel.replaceChildren(problem, ...(error.status === 401 ? [keyForm(begin)] : []));
}

const begin = () => start().catch(complain);
begin();
