// The page: a user or items, then what is recommended, the history and the reasons.

import { ApiError, get, post, setToken } from "./api.js";
import { card, chip, element, nameOf, picture, small } from "./cards.js";
import { combobox } from "./combobox.js";

const find = (id) => document.getElementById(id);
const SUGGESTIONS = 8;
const SIMILAR = 12;
let info = null;
let chosen = []; // items picked by hand
let latest = 0; // number of the last request, whose answer is shown

function showError(error) {
  if (error instanceof ApiError && error.status === 401) {
    find("login").hidden = false;
    find("form").hidden = true;
    find("token").focus();
  }
  find("status").textContent = "";
  find("error").textContent = error.message;
  find("error").hidden = false;
}

function clearMessages() {
  find("error").hidden = true;
  find("error").textContent = "";
  find("status").textContent = "";
}

async function start() {
  clearMessages();
  try {
    info = await get("info");
  } catch (error) {
    find("about").textContent = "";
    showError(error);
    return;
  }
  find("login").hidden = true;
  find("form").hidden = false;
  const size = `${info.n_users.toLocaleString()} users, ${info.n_items.toLocaleString()} items`;
  find("about").textContent = `${info.run} · ${info.model} · ${size}`;
  find("k").max = info.max_k;
  find("reasons").max = info.max_reasons;
  find("reasons-label").hidden = !info.has_reasons;
  find("user-hint").hidden = !info.scores_new_users;
  const options = info.columns.map(({ name }) => element("option", { value: name }, name));
  find("column").replaceChildren(element("option", { value: "" }, "no filter"), ...options);
  find("column-label").hidden = !info.columns.length;
  readAddress();
}

// The address keeps what is asked, so that it can be shared and the back button works.
function writeAddress() {
  const query = new URLSearchParams();
  if (find("user").value.trim()) query.set("user", find("user").value.trim());
  for (const item of chosen) query.append("item", item.item);
  const hash = query.toString() ? `#${query}` : "#";
  if (hash !== (location.hash || "#")) history.pushState(null, "", hash);
}

async function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  find("user").value = query.get("user") || "";
  const ids = query.getAll("item");
  try {
    chosen = await Promise.all(ids.map((id) => get(`items/${encodeURIComponent(id)}`)));
  } catch (error) {
    chosen = [];
    showError(error);
    return;
  }
  showChosen();
  if (find("user").value || chosen.length) await recommend();
  else showNothing();
}

function showNothing() {
  latest += 1;
  for (const id of ["recommended", "history"]) find(id).hidden = true;
  find("empty").hidden = false;
}

function showChosen() {
  const remove = (item) => () => {
    chosen = chosen.filter((other) => other !== item);
    showChosen();
    find("item").focus();
  };
  find("chosen").replaceChildren(...chosen.map((item) => chip(item, remove(item))));
}

function addItem(item) {
  if (!chosen.some((other) => other.item === item.item)) chosen.push(item);
  showChosen();
  find("item").value = "";
  const text = `${nameOf(item)} is added. Recommend shows what follows.`;
  find(find("dialog").open ? "dialog-status" : "status").textContent = text;
}

function body(user) {
  const items = chosen.map((item) => item.item);
  const column = find("column").value;
  const value = find("value").value.trim();
  return {
    ...(items.length ? { histories: [{ user: user || null, items }] } : { users: [user] }),
    k: Number(find("k").value),
    reasons: info.has_reasons ? Number(find("reasons").value) : 0,
    include_seen: find("seen").checked,
    filters: column && value ? { where: { [column]: [value] } } : {},
  };
}

// What is known of a user; nothing of one who is unknown and has items of his own.
async function historyOf(user) {
  if (!user) return { history: [], n_items: 0 };
  try {
    return await get(`users/${encodeURIComponent(user)}`);
  } catch (error) {
    if (error.status === 404 && chosen.length) return { history: [], n_items: 0 };
    throw error;
  }
}

async function recommend() {
  const user = find("user").value.trim();
  clearMessages();
  if (!user && !chosen.length) {
    showNothing();
    showError(new Error("Type the id of a user, or pick some items."));
    find("user").focus();
    return;
  }
  writeAddress();
  const number = ++latest;
  find("go").setAttribute("aria-busy", "true");
  try {
    const [answer, known] = await Promise.all([post("recommend", body(user)), historyOf(user)]);
    if (number === latest) showAnswer(user, answer, known);
  } catch (error) {
    if (number === latest) {
      showNothing();
      showError(error);
    }
  } finally {
    find("go").removeAttribute("aria-busy");
  }
}

function showAnswer(user, { lists, notes }, known) {
  const [{ items, is_popular: isPopular }] = lists;
  const whom = user ? `user ${user}` : "the chosen items";
  find("status").textContent = items.length
    ? `${items.length} recommendations for ${whom}`
    : `Nothing is left to recommend for ${whom}.`;
  const lines = [...notes];
  if (isPopular && items.length) {
    lines.push("These are the most popular items: the model relates none to this history.");
  }
  find("note").textContent = lines.join(" ");
  find("note").hidden = !lines.length;
  const acts = {
    onSimilar: info.has_similar && showSimilar,
    onAdd: info.scores_new_users && addItem,
  };
  find("list").replaceChildren(...items.map((entry, n) => card(entry, n + 1, acts)));
  find("recommended-title").textContent = `Recommended for ${whom}`;
  find("recommended").hidden = false;
  showHistory(known);
  find("empty").hidden = true;
}

function showHistory({ history: items, n_items: nItems }) {
  const added = chosen.filter((one) => !items.some((other) => other.item === one.item));
  const all = [...added, ...items];
  const total = nItems + added.length;
  const title = total > all.length ? `${all.length} of ${total} items` : `${total} items`;
  find("history-title").textContent = `History: ${total === 1 ? "1 item" : title}`;
  find("had").classList.toggle("plain", !info.has_images);
  find("had").replaceChildren(...all.map((item) => small(item, info.has_images)));
  find("history").hidden = !all.length;
}

async function showSimilar(entry) {
  find("dialog-title").textContent = `Similar to ${nameOf(entry)}`;
  find("dialog-status").textContent = "Loading …";
  find("similar").replaceChildren();
  if (!find("dialog").open) find("dialog").showModal();
  try {
    const answer = await get(`similar/${encodeURIComponent(entry.item)}`, { k: SIMILAR });
    find("dialog-status").textContent = answer.notes.join(" ");
    const acts = { onSimilar: showSimilar, onAdd: info.scores_new_users && addItem };
    find("similar").replaceChildren(...answer.items.map((one, n) => card(one, n + 1, acts)));
  } catch (error) {
    find("dialog-status").textContent = error.message;
  }
}

function offerValues() {
  const column = info.columns.find(({ name }) => name === find("column").value);
  find("value-label").hidden = !column;
  const values = column?.values || [];
  find("values").replaceChildren(...values.map((value) => element("option", { value })));
  find("value").value = "";
}

const suggestUser = combobox(find("user"), find("user-options"), {
  search: async (query, signal) =>
    (await get("users", { query, limit: SUGGESTIONS }, signal)).users,
  render: (user) => [user],
  choose: (user) => {
    find("user").value = user;
    recommend();
  },
  onError: showError,
});
const suggestItem = combobox(find("item"), find("item-options"), {
  search: async (query, signal) =>
    (await get("items", { query, limit: SUGGESTIONS }, signal)).items,
  render: (item) => [
    ...(info.has_images ? [picture(item)] : []),
    element("span", {}, nameOf(item), " ", element("small", {}, item.title ? item.item : "")),
  ],
  choose: addItem,
  onError: showError,
});

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  suggestUser.close();
  suggestItem.close();
  recommend();
});
find("clear").addEventListener("click", () => {
  find("form").reset();
  chosen = [];
  showChosen();
  offerValues();
  clearMessages();
  showNothing();
  writeAddress();
  find("user").focus();
});
find("column").addEventListener("change", offerValues);
find("close").addEventListener("click", () => find("dialog").close());
find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(find("token").value.trim());
  start();
});
addEventListener("popstate", () => {
  clearMessages();
  readAddress();
});
start();
