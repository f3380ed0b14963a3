// A text field with suggestions: arrow keys choose, Enter takes, Escape closes.

const DELAY = 150;

// `search(text, signal)` gives options, `render(option)` the content of one, `choose(option)` takes
// it. `onError` gets what goes wrong.
export function combobox(input, list, { search, render, choose, onError }) {
  let options = [];
  let active = -1;
  let timer = 0;
  let controller = null;
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);

  function close() {
    clearTimeout(timer);
    controller?.abort();
    options = [];
    active = -1;
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(next) {
    active = next;
    for (const [at, row] of [...list.children].entries()) {
      row.setAttribute("aria-selected", String(at === active));
      if (at === active) row.scrollIntoView({ block: "nearest" });
    }
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${list.id}-${active}`);
  }

  function take(at) {
    const option = options[at];
    close();
    choose(option);
  }

  function open(found) {
    options = found;
    list.replaceChildren(
      ...found.map((option, at) => {
        const row = document.createElement("li");
        row.id = `${list.id}-${at}`;
        row.setAttribute("role", "option");
        row.append(...render(option));
        row.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
        row.addEventListener("click", () => take(at));
        return row;
      }),
    );
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(found.length > 0));
    mark(-1);
  }

  async function update() {
    controller?.abort();
    controller = new AbortController();
    const { signal } = controller;
    try {
      const found = await search(input.value.trim(), signal);
      if (!signal.aborted && document.activeElement === input) open(found);
    } catch (error) {
      if (error.name !== "AbortError") onError(error);
    }
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    if (input.value.trim()) timer = setTimeout(update, DELAY);
    else close();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const { key } = event;
    if ((key === "ArrowDown" || key === "ArrowUp") && !options.length) {
      event.preventDefault();
      update();
    } else if (key === "ArrowDown" || key === "ArrowUp") {
      event.preventDefault();
      const step = key === "ArrowDown" ? 1 : -1;
      const n = options.length + 1; // one place for "none"
      mark(((active + 1 + step + n) % n) - 1);
    } else if (key === "Enter" && active >= 0) {
      event.preventDefault();
      take(active);
    } else if (key === "Escape" && options.length) {
      event.preventDefault();
      close();
    }
  });
  input.setAttribute("aria-expanded", "false");
  return { close };
}
