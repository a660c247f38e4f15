// The newest batches: how much weight, how long it took, and, opened, everything that happened to one in order of time.

import { card, empty, h } from "./dom.js";
import { absolute, after, count, plural, short, span, when, words } from "./format.js";
import { behind, chip, quorum } from "./head.js";

/** What each step means when it went well. */
const STEPS = {
  told: "the status named it",
  persisted: "held on disk here",
  hashed: "its hash is known",
  recorded: "the vote is on disk",
  signed: "the vote is signed",
  sent: "the vote goes to the peers",
  seen: "enough votes were seen",
  certified: "the certificate is stored",
  submitted: "the main node has it",
};

/** What has to be done before this node can vote, in order. */
const UNTIL_SIGNED = ["told", "persisted", "hashed", "recorded", "signed"];

export function batches(doc, state, redraw) {
  const found = unlessListed(doc, state);
  const own = doc.committee?.members.find((member) => member.own)?.name;
  if (doc.batches.length === 0 && doc.progress === null) return null;
  return card("batches", "Batches", lookup(state),
    found !== null && (found.batch === null
      ? h("p", { key: "found", class: "empty" }, found.problem)
      : h("ol", { key: "found", class: "batches found" }, entry(found.batch, { own, open: true, toggle: () => { state.found = null; redraw(); } }))),
    doc.batches.length === 0
      ? empty("No batch since this node started.")
      : h("ol", { class: "batches" }, doc.batches.map((batch, at) => [gap(doc.batches[at - 1], batch), entry(batch, {
          own,
          open: state.open.has(batch.number),
          toggle: (open) => { state.open[open ? "add" : "delete"](batch.number); redraw(); },
        })])));
}

/** Between two batches of the list: those that were attested while this node was away. */
function gap(newer, batch) {
  const many = newer === undefined ? 0 : newer.number - batch.number - 1;
  if (many < 1) return null;
  const which = many === 1 ? `Batch ${batch.number + 1} was` : `${count(many)} batches, ${batch.number + 1} to ${newer.number - 1}, were`;
  const why = stopped(batch, newer) ? "while this node did not run" : "before this node asked again";
  return h("li", { key: `before ${newer.number}`, class: "gap" }, `${which} attested ${why}.`);
}

/** Whether this node stopped during `batch`, or after it: then the next one is the first since it was started. */
function stopped(batch, newer) {
  return batch.steps.some((step) => step.reason === "node_stopped") || newer.steps.some((step) => step.detail.startsWith("the first one since"));
}

/** What kept this node from voting for a batch that others certified: a step; undefined where nothing did. */
function held(batch, own) {
  if (batch.state !== "certified" || !batch.missing.includes(own)) return undefined;
  const last = new Map(batch.steps.map((step) => [step.step, step]));
  return UNTIL_SIGNED.map((name) => last.get(name)).find((step) => step !== undefined && step.reason !== "ok");
}

/** The batch that was asked for; null when the list has all of it: there it is opened then. */
function unlessListed(doc, state) {
  const { found } = state;
  const listed = doc.batches.find((batch) => batch.number === found?.batch?.number);
  if (listed === undefined || listed.votes_left_out > 0) return found;
  state.open.add(listed.number);
  state.found = null;
  return null;
}

/** Any batch that the node knows, also from before it started. */
function lookup(state) {
  return h("form", { role: "search", onsubmit: (event) => { event.preventDefault(); state.find(event.target.elements.number.value); } },
    h("label", { for: "number" }, "Batch "),
    h("input", { id: "number", name: "number", inputmode: "numeric", pattern: "[0-9]{1,18}", required: true, autocomplete: "off", size: 8 }),
    h("button", {}, "Explain"));
}

function entry(batch, { own, open, toggle }) {
  const step = held(batch, own);
  const took = batch.ended_at === null || batch.first_seen === null || batch.ended_at === batch.first_seen ? "" : span(batch.ended_at - batch.first_seen);
  return h("li", { key: batch.number, id: `batch ${batch.number}` },
    h("details", { open, ontoggle: (event) => { if (event.target.open !== open) toggle(event.target.open); } },
      h("summary", {},
        h("span", { class: "number" }, batch.number),
        chip(batch.state),
        quorum(batch),
        h("span", { class: "took num", title: "from the status naming it to its end" }, took),
        h("span", { class: "age num muted" }, when(batch.ended_at ?? batch.first_seen)),
        (batch.reason !== "" && batch.reason !== "ok") && h("span", { class: "reason" }, words(batch.reason)),
        step !== undefined && h("span", { class: "reason" }, `without this node’s vote: ${words(step.reason)}`)),
      open && h("div", { class: "story" }, step !== undefined && h("p", { class: "meaning" }, [step.meaning, step.detail && `(${step.detail})`].filter(Boolean).join(" ")), story(batch))));
}

function story(batch) {
  const missing = batch.missing.length + batch.missing_left_out;
  const late = batch.votes.filter((vote) => vote.late_s !== null);
  return [
    batch.meaning !== "" && h("p", { class: "meaning" }, batch.meaning),
    h("dl", { class: "pairs" },
      h("dt", {}, "Hash"), h("dd", {}, batch.hash === null ? h("span", { class: "muted" }, "no vote was heard") : short(batch.hash)),
      h("dt", {}, "Weight"), h("dd", {}, behind(batch), batch.other_weight > 0 && h("span", { class: "bad" }, `; ${count(batch.other_weight)} for other hashes`)),
      missing > 0 && [h("dt", {}, batch.state === "open" ? "Not heard yet" : "No vote"), h("dd", { class: batch.state === "open" ? "" : "warn" },
        batch.missing.join(", "), batch.missing_left_out > 0 && ` and ${batch.missing_left_out} more`)],
      late.length > 0 && [h("dt", {}, "Late"), h("dd", { class: "warn" }, late.map((vote) => `${vote.name} by ${span(vote.late_s)}`).join(", "))],
      batch.taken_by.length > 0 && [h("dt", {}, "Our vote went to"), h("dd", {}, batch.taken_by.flatMap((delivery, at) => [at > 0 ? ", " : "", h("span", { title: absolute(delivery.at) }, delivery.name)]))]),
    timeline(batch),
  ];
}

/** Steps and votes in one order of time; the marks stand where they fell between the first and the last. */
function timeline(batch) {
  const happened = [
    ...batch.steps.map((step, at) => ({ key: `step ${at}`, at: step.at, kind: step.reason === "ok" ? "step" : "step held", ...ofStep(step) })),
    ...batch.votes.filter((vote) => vote.via !== "certificate").map((vote) => ({ key: vote.key, at: vote.at, kind: vote.other ? "vote other" : vote.late_s === null ? "vote" : "vote late", ...ofVote(vote) })),
  ].sort((a, b) => a.at - b.at);
  if (happened.length === 0) return empty("Nothing is on record of how it went.");
  const began = happened[0].at;
  const length = Math.max(happened.at(-1).at - began, 0.000001);
  const unheard = batch.votes.filter((vote) => vote.via === "certificate");
  return [
    h("ol", { class: "timeline", "aria-label": `What happened to batch ${batch.number}` }, happened.map((one, at) =>
      h("li", { key: one.key, class: one.kind },
        h("span", { class: "offset num", title: absolute(one.at) }, at === 0 ? when(began) : after(one.at - began)),
        h("span", { class: "track", "aria-hidden": "true" }, h("i", { style: { left: `${(100 * (one.at - began)) / length}%` } })),
        h("span", { class: "what" }, h("strong", {}, one.name), " ", h("span", { class: one.kind === "step held" ? "warn" : "muted" }, one.said))))),
    unheard.length > 0 && h("p", { class: "muted" }, `In the certificate, not heard here: ${unheard.map((vote) => vote.name).join(", ")}`),
    batch.votes_left_out > 0 && h("p", { class: "muted" }, `${plural(batch.votes_left_out, "vote")} more: ask for the batch by its number above.`),
  ];
}

function ofStep(step) {
  if (step.reason === "ok") return { name: step.step, said: step.detail || (STEPS[step.step] ?? "") };
  return { name: step.step, said: [step.meaning, step.detail, `(${step.reason})`].filter(Boolean).join(" ") };
}

function ofVote(vote) {
  const from = vote.via === "own" ? "this node’s own" : vote.via === "" ? "" : vote.via === vote.name ? "direct" : `by way of ${vote.via}`;
  return { name: `vote of ${vote.name}`, said: [vote.weight === 1 ? "" : `weight ${count(vote.weight)}`, from, vote.other ? "for another hash" : "", vote.late_s === null ? "" : `late by ${span(vote.late_s)}`].filter(Boolean).join(", ") };
}
