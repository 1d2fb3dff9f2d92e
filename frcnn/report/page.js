"use strict";
// Tabs, galleries and the enlarged picture of a report. All text goes through textContent.

const SVG = "http://www.w3.org/2000/svg";
const PAGE = 24; // cards that are added at a time
const stored = document.getElementById("gallery-data");
const store = stored ? JSON.parse(stored.textContent) : { images: [], galleries: {} };
const urls = [];

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function makeSvg(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- tabs ---------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function showPart() {
  const chosen = tabs.find((tab) => tab.hash === location.hash) || tabs[0];
  for (const tab of tabs) {
    const selected = tab === chosen;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
  }
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", tab.hash);
    showPart();
  });
  tab.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = tabs[(moves[event.key] + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });
}
addEventListener("hashchange", showPart);
showPart();

// --- pictures -----------------------------------------------------------------------------

function imageUrl(index) {
  if (urls[index] === undefined) {
    const bytes = Uint8Array.from(atob(store.images[index].jpeg), (char) => char.charCodeAt(0));
    urls[index] = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  }
  return urls[index];
}

// Return [x, y, width, height] of the part of an image around a box; the whole image without one.
function cropOf(image, focus) {
  const [width, height] = image.size;
  if (!focus) return [0, 0, width, height];
  const [x1, y1, x2, y2] = focus;
  const scale = Math.min(width / 4, height / 3);
  const wanted = Math.max(((x2 - x1) * 2.2) / 4, ((y2 - y1) * 2.2) / 3, scale * 0.3);
  const unit = Math.min(wanted, Math.max(width / 4, height / 3));
  const size = [Math.min(width, 4 * unit), Math.min(height, 3 * unit)];
  const clamp = (middle, part, whole) => Math.max(0, Math.min(whole - part, middle - part / 2));
  return [clamp((x1 + x2) / 2, size[0], width), clamp((y1 + y2) / 2, size[1], height), ...size];
}

function drawPicture(image, index, boxes, others, crop, withText) {
  const svg = makeSvg("svg", { viewBox: crop.join(" "), class: "picture", role: "img" });
  svg.setAttribute("aria-label", image.name + ": " + boxes.map((box) => box[5]).join(", "));
  const [width, height] = image.size;
  const whole = { width, height, preserveAspectRatio: "none" };
  if (image.jpeg) svg.append(makeSvg("image", { href: imageUrl(index), ...whole }));
  else svg.append(makeSvg("rect", { width, height, class: "no-picture" }));
  const font = (crop[2] * 15) / Math.min(document.documentElement.clientWidth, 1000); // 15 screen pixels
  for (const [list, weight] of [[others, "faint"], [boxes, "strong"]]) {
    for (const [x1, y1, x2, y2, role, text, points] of list) {
      const place = points // of an oriented box
        ? { points: points.join(" ") }
        : { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
      for (const layer of ["halo", role]) {
        const attributes = { ...place, class: "box " + layer + " " + weight };
        svg.append(makeSvg(points ? "polygon" : "rect", attributes));
      }
      if (withText && weight === "strong" && text) {
        const below = role === "truth" || role === "missed"; // labels below, detections above
        const y = below ? Math.min(y2 + font, height - font * 0.2) : Math.max(y1 - font * 0.3, font);
        const x = Math.max(0, Math.min(x1, width - text.length * font * 0.6));
        const style = "font-size:" + font + "px"; // an attribute would yield to the style sheet
        svg.append(makeSvg("text", { x, y, style, class: "name" }, text));
      }
    }
  }
  return svg;
}

function drawViews(card, enlarged, withOthers) {
  const image = store.images[card.image];
  const crop = enlarged ? cropOf(image, null) : cropOf(image, card.focus);
  const views = make("div", { class: "views" });
  for (const view of card.views) {
    const others = withOthers ? image.boxes : [];
    const svg = drawPicture(image, card.image, view.boxes, others, crop, enlarged);
    views.append(view.name ? make("figure", {}, make("figcaption", {}, view.name), svg) : svg);
  }
  if (!image.jpeg) views.append(make("p", {}, "no picture: the page would be too large"));
  return views;
}

// --- the enlarged picture -----------------------------------------------------------------

const viewer = document.getElementById("viewer");
let shownCards = [];
let shownIndex = 0;
let othersShown = false;

function openViewer(cards, index) {
  shownCards = cards;
  showCard(index);
  if (!viewer.open) viewer.showModal();
}

function showCard(index) {
  shownIndex = (index + shownCards.length) % shownCards.length;
  const card = shownCards[shownIndex];
  const image = store.images[card.image];
  const button = (text, action) => {
    const element = make("button", { type: "button" }, text);
    element.addEventListener("click", action);
    return element;
  };
  const check = make("input", { type: "checkbox" });
  check.checked = othersShown;
  check.addEventListener("change", () => {
    othersShown = check.checked;
    showCard(shownIndex);
  });
  const controls = () => [...viewer.querySelectorAll("button, input")];
  const focused = controls().indexOf(document.activeElement);
  viewer.replaceChildren(
    make("h3", {}, card.kind + " · " + image.name),
    drawViews(card, true, othersShown),
    make("p", {}, card.facts.join(" · ")),
    make("p", { class: "controls" },
      button("Previous", () => showCard(shownIndex - 1)),
      button("Next", () => showCard(shownIndex + 1)),
      make("label", {}, check, " all labels and detections"),
      button("Close", () => viewer.close()),
      make("span", {}, shownIndex + 1 + " of " + shownCards.length)),
  );
  if (focused >= 0) controls()[focused].focus(); // without it the next key would go to the page below
}

viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") showCard(shownIndex + 1);
  if (event.key === "ArrowLeft") showCard(shownIndex - 1);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // beside the picture
});

// --- galleries ----------------------------------------------------------------------------

function choices(name, cards, key) {
  const counts = new Map();
  for (const card of cards) counts.set(card[key], (counts.get(card[key]) || 0) + 1);
  const select = make("select", {}, make("option", { value: "" }, "all (" + cards.length + ")"));
  for (const [value, count] of counts)
    select.append(make("option", { value }, value + " (" + count + ")"));
  return [make("label", {}, name + " ", select), select];
}

function buildGallery(place) {
  const cards = store.galleries[place.dataset.gallery];
  const [kindLabel, kind] = choices("Kind", cards, "kind");
  const [classLabel, className] = choices("Class", cards, "class");
  const search = make("input", { type: "search", size: 14 });
  const count = make("p", { "aria-live": "polite", class: "count" });
  const list = make("ol", { class: "cards" });
  const more = make("button", { type: "button" }, "Show more");
  let chosen = [];
  let drawn = 0;

  function add() {
    const from = drawn;
    for (const [offset, card] of chosen.slice(from, from + PAGE).entries()) {
      const title = make("strong", {}, card.kind);
      const name = make("span", { class: "file" }, store.images[card.image].name);
      const facts = card.facts.map((fact) => make("span", {}, fact));
      const button = make("button", { type: "button", class: "card" },
        drawViews(card, false, false), title, ...facts, name);
      button.addEventListener("click", () => openViewer(chosen, from + offset));
      list.append(make("li", {}, button));
    }
    drawn = Math.min(chosen.length, from + PAGE);
    more.hidden = drawn >= chosen.length;
    count.textContent = drawn + " of " + chosen.length + " shown";
  }

  function filter() {
    const wanted = search.value.toLowerCase();
    chosen = cards.filter((card) =>
      (!kind.value || card.kind === kind.value) &&
      (!className.value || card.class === className.value) &&
      store.images[card.image].name.toLowerCase().includes(wanted));
    list.replaceChildren();
    drawn = 0;
    add();
  }

  for (const input of [kind, className, search]) input.addEventListener("input", filter);
  more.addEventListener("click", () => {
    const first = drawn;
    add();
    list.children[first].querySelector("button").focus();
  });
  classLabel.hidden = className.options.length < 3; // all and one class: nothing to choose
  list.classList.toggle("wide", cards[0].views.length > 1);
  const filters = make("form", { class: "filters" }, kindLabel, classLabel,
    make("label", {}, "Image ", search));
  filters.addEventListener("submit", (event) => event.preventDefault());
  place.replaceChildren(filters, count, list, more);
  filter();
}

document.querySelectorAll(".gallery").forEach(buildGallery);
