"use strict";
const gallery = document.getElementById("gallery");
const said = document.getElementById("said");
const cards = gallery ? [...gallery.children] : [];

// Between two stops, the next image fades in over the current one.
function show(card, value) {
  const images = [...card.querySelectorAll("img")];
  const below = Math.floor(value);
  images.forEach((image, i) => {
    const opacity = i === below ? 1 : i === below + 1 ? value - below : 0;
    image.hidden = opacity === 0;
    image.style.opacity = opacity;
  });
  const title = images[Math.round(value)].dataset.title;
  card.querySelector("input").setAttribute("aria-valuetext", title);
  card.querySelector(".view").textContent = title;
}

function mark(buttons, pressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
}

function press(button) {
  mark(button.parentElement.querySelectorAll("button"), button);
  said.textContent = `${button.parentElement.getAttribute("aria-label")}: ${button.textContent}`;
}

const number = (card, key) => (key in card.dataset ? Number(card.dataset[key]) : NaN);
const unknownLast = (a, b, order) => Number.isNaN(a) - Number.isNaN(b) || (Number.isNaN(a) ? 0 : order * (a - b));
const orders = {
  worst: (a, b) => unknownLast(number(a, "iou"), number(b, "iou"), 1),
  best: (a, b) => unknownLast(number(a, "iou"), number(b, "iou"), -1),
  uncertain: (a, b) => number(b, "uncertainty") - number(a, "uncertainty"),
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true }),
};

// The first cards of the order; without this script all are shown.
const more = document.getElementById("more");
let shown = 12;
function limit() {
  [...gallery.children].forEach((card, i) => { card.hidden = i >= shown; });
  more.hidden = shown >= cards.length;
}
if (gallery) {
  limit();
  more.addEventListener("click", () => {
    const first = gallery.children[shown];
    shown += 12;
    limit();
    first.querySelector("input").focus({ preventScroll: true }); // the button may be gone
  });
}

for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    press(button);
    gallery.append(...[...cards].sort(orders[button.dataset.sort]));
    limit();
  });
}

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    press(button);
    for (const card of cards) {
      const stop = [...card.querySelectorAll("img")].findIndex((image) => image.dataset.kind === button.dataset.show);
      if (stop < 0) continue;
      card.querySelector("input").value = stop;
      show(card, stop);
    }
  });
}

// After one slider moves, the images no longer show the same view.
function slide(card, value) {
  mark(document.querySelectorAll("[data-show]"), null);
  show(card, value);
}

const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
for (const card of cards) {
  const slider = card.querySelector("input");
  slider.addEventListener("input", () => slide(card, Number(slider.value)));
  // A hand slides smoothly, a key goes from stop to stop.
  slider.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const value = Number(slider.value);
    slider.value = steps[event.key] > 0 ? Math.floor(value) + 1 : Math.ceil(value) - 1;
    slide(card, Number(slider.value));
  });
}
