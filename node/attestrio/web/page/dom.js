// Elements as values: h() describes what should stand, fill() changes only what differs. So focus, selection, scrolling
// and an open <details> outlive an update. Texts are set as texts: nothing that came over the network becomes markup.

/** An element: h("td", {class: "num"}, "7"). null and false among the children are left out. */
export function h(tag, attributes, ...children) {
  const { key, ...rest } = attributes ?? {};
  const kept = children.flat(Infinity).filter((one) => one != null && one !== false && one !== "");
  return { tag, key, attributes: rest, children: kept.map((one) => (typeof one === "object" ? one : String(one))) };
}

/** Make the children of `parent` those of `wanted`. What has a key is found again wherever it stood. */
export function fill(parent, wanted) {
  const keyed = new Map();
  for (const one of parent.childNodes) if (one.madeKey !== undefined) keyed.set(one.madeKey, one);
  let next = parent.firstChild;
  for (const one of wanted) {
    const made = typeof one === "string" ? textAt(next, one) : elementAt(one, one.key === undefined ? next : keyed.get(one.key));
    if (made === next) next = next.nextSibling;
    else parent.insertBefore(made, next);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function textAt(there, text) {
  if (there?.nodeType !== Node.TEXT_NODE) return document.createTextNode(text);
  if (there.data !== text) there.data = text;
  return there;
}

function elementAt(wanted, there) {
  const fits = there?.localName === wanted.tag && there.madeKey === wanted.key;
  const element = fits ? there : document.createElement(wanted.tag);
  element.madeKey = wanted.key;
  dress(element, wanted.attributes);
  fill(element, wanted.children);
  return element;
}

function dress(element, wanted) {
  const worn = element.madeAttributes ?? {};
  for (const name of Object.keys(worn)) if (!(name in wanted)) set(element, name, null);
  for (const [name, value] of Object.entries(wanted)) if (name === "style" || worn[name] !== value) set(element, name, value);
  element.madeAttributes = wanted;
}

function set(element, name, value) {
  if (name === "style") {
    for (const [property, to] of Object.entries(value ?? {})) {
      if (element.style.getPropertyValue(property) !== to) element.style.setProperty(property, to);
    }
  } else if (name.startsWith("on")) element[name] = value;
  else if (value === true) element.setAttribute(name, "");
  else if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** A table that becomes a list of cards on a phone. `columns`: [title, class]; each of `rows`: {key, cells}. */
export function table(caption, columns, rows, kind = "") {
  const cell = (content, at) =>
    h("td", { role: "cell", class: columns[at][1] ?? "", "data-label": columns[at][0] }, content);
  return h("table", { role: "table", class: kind },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      columns.map(([title, kind]) => h("th", { role: "columnheader", scope: "col", class: kind ?? "" }, title)))),
    h("tbody", { role: "rowgroup" },
      rows.map((row) => h("tr", { role: "row", key: row.key, class: row.kind ?? "" }, row.cells.map(cell)))));
}

/** A part of the page with a heading; `aside` stands at the heading's right. */
export function card(id, title, aside, ...content) {
  return h("section", { key: id, id, class: "card", "aria-labelledby": `${id}-title` },
    h("div", { class: "title" }, h("h2", { id: `${id}-title` }, title), h("div", { class: "aside" }, aside)), content);
}

/** What stands where there are no rows. */
export const empty = (text) => h("p", { class: "empty" }, text);
