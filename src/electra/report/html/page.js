// Tables that sort, all parts open in print, and the beginning.

function readCell(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

// Numbers before texts, by size; texts by their order in a dictionary; what is empty or no number comes last, always.
function compareCells(one, other, sign) {
  const [last, otherLast] = [one, other].map((value) => value === "" || value === "–" || Number.isNaN(value));
  if (last || otherLast) return last - otherLast;
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return sign * one.localeCompare(other, "en", { numeric: true });
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const numbers = [...body.rows].some((row) => row.cells[column].classList.contains("number"));
    if (numbers) head.classList.add("number");
    if (body.rows.length < 2) return;
    const button = makeElement("button", { type: "button" }, ...head.childNodes);
    if (!button.textContent) button.setAttribute("aria-label", "name");
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "ascending" ? false : head.getAttribute("aria-sort") === "descending" || !numbers;
      for (const each of heads) each.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((a, b) => compareCells(readCell(a, column), readCell(b, column), rising ? 1 : -1));
      body.append(...rows);
    });
  });
}

// What is folded is printed too.
function openForPrint() {
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const each of closed) each.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
  });
}

const place = document.getElementById("chart");
if (place && data.figures.length) new Chart(place, document.getElementById("legend"));
document.querySelectorAll("table.sorts").forEach(makeSortable);
openForPrint();
