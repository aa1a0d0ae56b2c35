// Tables that sort and filter, couplings that show, and a file to save.  Without it the page loses
// nothing but these.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const order = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column];
    return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const known = order.filter((row) => !row.cells[column].matches(".none"));
      const unknown = order.filter((row) => row.cells[column].matches(".none"));
      known.sort((a, b) => compare(key(a, column), key(b, column)) * (falling ? -1 : 1));
      body.append(...known, ...unknown);
    });
  });
  const tools = document.getElementById(table.dataset.tools);
  if (!tools) continue;
  tools.hidden = false;
  const [input, found] = [tools.querySelector("input"), tools.querySelector("output")];
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of order) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) count += 1;
    }
    found.textContent = words.length ? `${count} of ${order.length} rows` : "";
  };
  input.addEventListener("input", filter);
  addEventListener("hashchange", () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row && row.hidden && body.contains(row)) {
      input.value = "";
      filter();
      row.scrollIntoView({ block: "center" });
    }
  });
}

const boxes = [...document.querySelectorAll(".box[data-coupling]")];
const show = (event) => {
  const at = event.target.closest ? event.target.closest(".box[data-coupling]") : null;
  const leaving = event.type === "pointerout" || event.type === "focusout";
  for (const box of boxes) {
    const meant = at && !leaving && box.dataset.coupling === at.dataset.coupling;
    box.classList.toggle("coupled", Boolean(meant));
  }
};
for (const map of document.querySelectorAll(".map")) {
  for (const kind of ["pointerover", "pointerout", "focusin", "focusout"]) {
    map.addEventListener(kind, show);
  }
}

const stored = document.getElementById("document");
const save = document.getElementById("save");
if (stored && save) {
  const file = new Blob([stored.textContent], { type: "application/json" });
  save.href = URL.createObjectURL(file);
  save.hidden = false;
}
