// Elements that show items. All text from the data becomes text nodes.

import { showPicture } from "./api.js";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const nameOf = (item) => item.title || item.item;

// The picture of an item or, where it has none, its first letter.
export function picture(item) {
  const blank = () => {
    const first = Array.from(nameOf(item).trim())[0] || "?";
    return element("span", { class: "blank picture", "aria-hidden": "true" }, first.toUpperCase());
  };
  if (!item.image) return blank();
  const img = element("img", { class: "picture", alt: "", decoding: "async" });
  img.addEventListener("error", () => img.replaceWith(blank()), { once: true });
  showPicture(img, item.image);
  return img;
}

function reasons(entry) {
  const list = element("ul", { class: "reasons", "aria-label": "because of" });
  for (const reason of entry.reasons) {
    const share = entry.score > 0 ? `${Math.round((100 * reason.share) / entry.score)} %` : "";
    const title = `${reason.share.toPrecision(3)} of the score ${entry.score.toPrecision(4)}`;
    list.append(
      element("li", {}, element("span", {}, nameOf(reason)), element("b", { title }, share)),
    );
  }
  return list;
}

function button(text, label, act) {
  const made = element("button", { type: "button", "aria-label": label }, text);
  made.addEventListener("click", act);
  return made;
}

// A listed item: picture, title, id, score, reasons, and what can be done with it.
export function card(entry, rank, { onSimilar, onAdd }) {
  const name = nameOf(entry);
  const body = element(
    "div",
    { class: "body" },
    element("h3", {}, element("span", { class: "rank" }, `${rank}. `), name),
    element("p", { class: "meta" }, `${entry.item} · score ${entry.score.toPrecision(4)}`),
  );
  if (entry.reasons && entry.reasons.length) body.append(reasons(entry));
  const actions = element("div", { class: "actions" });
  if (onSimilar) {
    actions.append(button("Similar", `Items similar to ${name}`, () => onSimilar(entry)));
  }
  if (onAdd) actions.append(button("Add", `Add ${name} to the items`, () => onAdd(entry)));
  if (actions.children.length) body.append(actions);
  return element("li", {}, picture(entry), body);
}

// An item of a history.
export function small(item, hasPictures) {
  const name = element("span", { title: nameOf(item) }, nameOf(item));
  return hasPictures ? element("li", {}, picture(item), name) : element("li", {}, name);
}

// A chosen item, with a button that takes it away.
export function chip(item, onRemove) {
  return element("li", {}, nameOf(item), button("×", `Remove ${nameOf(item)}`, onRemove));
}
