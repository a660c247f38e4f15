// The page: hears the node's events, keeps the newest document, and shows it, anew every second so that ages grow.

import { batches } from "./batches.js";
import { committee } from "./committee.js";
import { fill, h } from "./dom.js";
import { absolute, forgetClock, heardClock, timesAreAbsolute, toggleTimes, when } from "./format.js";
import { attestation, chain, checks, head } from "./head.js";
import { about, epochs, l1, log, peers, queues, resequence, tasks } from "./rest.js";

const SILENT_MS = 25_000; // two beats and a half without any event
const CUT_MS = 1_500; // a stream that comes back sooner is not worth a banner
const AGAIN_MS = 5_000; // until a refused stream is asked for anew

let doc = null;
let heardAt = null; // when the last event came, by this machine's clock
let cutAt = null; // since when the stream is cut
let closing = false; // the node said that it stops
let polling = false; // no stream was to be had, so the document is asked for
let due = false;

const state = { open: new Set(), found: null, goTo: null, all: false, find };

function listen() {
  const stream = new EventSource("/events");
  stream.addEventListener("open", () => { forgetClock(); askClock(); heard(); });
  stream.addEventListener("status", (event) => { take(JSON.parse(event.data)); heard(); });
  stream.addEventListener("beat", (event) => { heardClock(JSON.parse(event.data).as_of); heard(); });
  stream.addEventListener("closing", () => { closing = true; cut(); });
  stream.addEventListener("error", () => {
    cut();
    if (stream.readyState === EventSource.CLOSED) instead();
  });
}

/** What the node's clock shows now: the document that stands may be old, when nothing has changed since. */
async function askClock() {
  const answer = await fetch("/livez", { method: "HEAD" }).catch(() => null);
  const date = Date.parse(answer?.headers.get("date"));
  if (!Number.isNaN(date)) heardClock(date / 1000);
}

/** The node refused a stream (it has a bounded number): ask for the document now and then, and for a stream again. */
async function instead() {
  const answer = await fetch("/status.json").catch(() => null);
  polling = answer !== null && answer.ok;
  if (polling) take(await answer.json());
  setTimeout(listen, AGAIN_MS);
  draw();
}

function take(newer) {
  doc = newer;
  heardClock(newer.as_of);
}

function heard() {
  heardAt = Date.now();
  cutAt = null;
  closing = polling = false;
  draw();
}

function cut() {
  cutAt ??= Date.now();
  draw();
  setTimeout(draw, CUT_MS + 50);
}

/** Why what is shown may be old; null: it is not. */
function trouble() {
  if (polling) return "The node serves as many live pages as it may. This one asks every few seconds.";
  if (closing) return "The node has stopped. This page goes on by itself when it is back.";
  if (cutAt !== null && Date.now() - cutAt > CUT_MS) return "The node does not answer. Trying again.";
  if (heardAt !== null && Date.now() - heardAt > SILENT_MS) return "Nothing was heard from the node for a while.";
  return null;
}

function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; show(); });
}

function show() {
  const problem = trouble();
  const banner = document.getElementById("banner");
  banner.hidden = problem === null;
  fill(banner, problem === null ? [] : [h("span", {}, problem), doc !== null && h("span", {}, "What you see is of ", when(doc.as_of), ".")].filter(Boolean));
  if (doc === null) return;
  document.body.classList.toggle("stale", problem !== null && !polling);
  document.title = `${problem === null ? "" : "… "}${doc.ready ? "" : "✕ "}${doc.progress?.wanted ?? ""} ${doc.node.name}`.trim();
  const icon = doc.ready && problem === null ? "/page/icon.svg" : "/page/icon-bad.svg";
  const link = document.getElementById("icon");
  if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  fill(document.getElementById("head"), head(doc, problem === null));
  const side = [l1(doc), queues(doc), resequence(doc), epochs(doc), about(doc)];
  fill(document.getElementById("main"), [
    checks(doc), attestation(doc), chain(doc), committee(doc, state, draw),
    h("div", { key: "columns", class: "columns" },
      h("div", { key: "wide", class: "wide" }, batches(doc, state, draw), tasks(doc), peers(doc), log(doc)), h("div", { key: "side", class: "side" }, side)),
  ].filter(Boolean));
  fill(document.getElementById("foot"), foot());
  if (state.goTo !== null) {
    (document.getElementById(`batch ${state.goTo}`) ?? document.getElementById("batches"))?.scrollIntoView();
    state.goTo = null;
  }
}

function foot() {
  return [
    h("button", { onclick: () => { toggleTimes(); draw(); } }, timesAreAbsolute() ? "Show times as ages" : "Show times as dates"),
    h("span", { class: "muted" }, `Document ${doc.version} of ${absolute(doc.as_of).slice(0, 19)}`),
    h("nav", { "aria-label": "The same for programs" }, ["status.json", "readyz", "livez", "metrics"].map((name) => h("a", { href: `/${name}` }, name))),
  ];
}

/** Explain batch `number`, as far back as the node remembers; the address of the page then leads there. */
function find(number) {
  if (location.hash === `#batch-${number}`) follow();
  else location.hash = `batch-${number}`;
}

async function follow() {
  const [, number] = /^#batch-([0-9]{1,18})$/.exec(location.hash) ?? [];
  if (number === undefined) return;
  const answer = await fetch(`/batches/${number}.json`).catch(() => null);
  const body = answer === null ? null : await answer.json().catch(() => null);
  const known = answer !== null && answer.ok && body !== null;
  state.found = { batch: known ? body : null, problem: body?.error ? `Batch ${number}: ${body.error}.` : "The node does not answer." };
  state.goTo = number;
  draw();
}

addEventListener("hashchange", follow);
setInterval(() => { if (!document.hidden) draw(); }, 1000);
listen();
follow();
