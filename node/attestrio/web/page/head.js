// The head of the page: who this is, whether it is ready, and where attestation stands.

import { card, empty, h } from "./dom.js";
import { absolute, count, plural, short, span, now, percent, when, words } from "./format.js";

const MARKS = { open: "●", certified: "✓", missed: "✕", skipped: "–" };

export function head(doc, live) {
  const { node } = doc;
  return [
    h("div", { class: "who" },
      h("h1", {}, node.name),
      h("p", { class: "muted" }, node.name === node.role ? "attestrio" : words(node.role), ` · ${node.version} · up ${span(Math.max(1, Math.floor(now() - node.started_at)))}`)),
    h("div", { class: "state" },
      h("strong", { id: "ready", class: doc.ready ? "good" : "bad" }, doc.ready ? "✓ Ready" : "✕ Not ready"),
      h("span", { id: "live", class: live ? "muted" : "warn", title: `The document is of ${absolute(doc.as_of)}` }, live ? "live" : "not live")),
  ];
}

/** Conditions that fail in full, above everything else; those that hold as a line of names. */
export function checks(doc) {
  const failing = doc.checks.filter((check) => !check.ok);
  const holding = doc.checks.filter((check) => check.ok);
  return h("section", { key: "checks", id: "checks", "aria-label": "Conditions of readiness" },
    h("ul", { class: "failing" }, failing.map((check) =>
      h("li", { key: check.name }, h("strong", {}, `✕ ${words(check.name)}`), h("span", {}, check.reason), h("span", { class: "muted" }, when(check.since))))),
    h("ul", { class: "holding" }, holding.map((check) =>
      h("li", { key: check.name, title: `${check.reason}, since ${absolute(check.since)}` }, h("span", { class: "good" }, "✓ "), words(check.name)))));
}

export function chip(state) {
  return h("span", { class: `chip ${state}` }, h("span", { "aria-hidden": "true" }, `${MARKS[state] ?? "·"} `), state);
}

/** Weight behind one hash against what is needed: a part for each vote, a mark at the threshold. */
export function quorum(batch, big) {
  const share = (weight) => `${batch.total_weight > 0 ? (100 * weight) / batch.total_weight : 0}%`;
  const counted = batch.votes.reduce((sum, vote) => sum + (vote.other ? 0 : vote.weight), 0);
  const parts = batch.votes.filter((vote) => !vote.other);
  const other = batch.votes.filter((vote) => vote.other);
  const rest = Math.max(0, batch.weight - counted);
  const part = (vote, kind) =>
    h("span", { key: vote.key, class: kind, title: `${vote.name}: ${count(vote.weight)}`, style: { width: share(vote.weight) } });
  return h("div", { class: `quorum ${batch.weight >= batch.threshold && batch.threshold > 0 ? "full" : ""} ${big ? "big" : ""}`,
    role: "meter", "aria-valuemin": 0, "aria-valuemax": batch.total_weight, "aria-valuenow": batch.weight,
    "aria-label": `Batch ${batch.number}: weight ${batch.weight} of ${batch.total_weight}, ${batch.threshold} needed` },
    h("span", { class: "parts" },
      parts.map((vote) => part(vote, "vote")),
      rest > 0 && h("span", { key: "rest", class: "vote", style: { width: share(rest) } }),
      other.map((vote) => part(vote, "vote other"))),
    batch.threshold > 0 && h("span", { class: "needed", title: `needed: ${count(batch.threshold)}`, style: { left: share(batch.threshold) } }));
}

export const behind = (batch) =>
  batch.threshold > 0 ? `${count(batch.weight)} of ${count(batch.total_weight)}, ${count(batch.threshold)} needed` : "no committee";

function tile(id, title, number, note) {
  return h("div", { class: "tile", key: id }, h("dt", {}, title), h("dd", {}, h("span", { class: "figure", id }, number ?? "–"), h("span", { class: "muted" }, note)));
}

export function attestation(doc) {
  const { progress } = doc;
  if (progress === null) {
    if (doc.committee === null && doc.node.role !== "attester" && doc.node.role !== "main-node") return null;
    return card("attestation", "Attestation", null, empty("No epoch runs. Batches and committee appear once the genesis is known and accepted."));
  }
  const batch = doc.batches.find((one) => one.number === progress.wanted);
  const { certified = 0, missed = 0, skipped = 0 } = doc.counts;
  return card("attestation", "Attestation", tally(certified, missed, skipped),
    h("dl", { class: "tiles" },
      tile("wanted", "Batch now", progress.wanted, progress.wanted === null ? "none named yet" : ["named ", when(progress.wanted_since)]),
      tile("certified", "Last certified", progress.certified, progress.certified === null ? "none yet" : when(progress.certified_at)),
      doc.node.key !== null && tile("signed", "Last signed here", progress.signed, progress.signed === null ? "nothing yet" : lag(progress.wanted, progress.signed)),
      tile("persisted", "Held on disk", progress.persisted, progress.floor === null ? "" : `votes count from ${progress.floor} on`)),
    batch !== undefined && h("div", { class: "now" },
      h("p", {}, h("span", {}, `Batch ${batch.number}`), h("span", { class: "muted" }, behind(batch), batch.threshold > 0 && ` (${percent(batch.threshold, batch.total_weight)})`)),
      quorum(batch, true),
      h("p", { class: "muted" }, waitingFor(batch))));
}

/** The chain that a sequencer builds. */
export function chain(doc) {
  const { chain } = doc;
  if (chain === null) return null;
  return card("chain", "Chain", chain.halted !== "" && h("span", { class: "bad" }, `✕ nothing is built: ${chain.halted}`),
    h("dl", { class: "tiles" },
      tile("batch", "Batch now", chain.batch, ""),
      tile("block", "Newest block", chain.block, chain.block_at === null ? "from before the start" : when(chain.block_at)),
      chain.stream_entries !== null && tile("entries", "Data stream", count(chain.stream_entries), "entries")),
    h("p", { class: "muted" }, "Hash ", short(chain.hash)));
}

function tally(certified, missed, skipped) {
  return [
    h("span", {}, h("span", { class: "good" }, "✓ "), `${count(certified)} certified`),
    h("span", { class: missed > 0 ? "bad" : "" }, `✕ ${count(missed)} missed`),
    h("span", {}, `– ${count(skipped)} skipped`),
  ];
}

function lag(wanted, signed) {
  if (wanted === null || signed >= wanted) return "the batch of now";
  return wanted - signed === 1 ? "the batch before" : `${plural(wanted - signed, "batch", "batches")} before`;
}

function waitingFor(batch) {
  if (batch.state !== "open") return `This batch is ${batch.state}.`;
  const names = batch.missing.slice(0, 8).join(", ");
  const more = batch.missing.length + batch.missing_left_out - Math.min(8, batch.missing.length);
  if (names === "") return "Everybody has voted.";
  if (batch.votes.length === 0) return "Nobody has voted yet.";
  return `Not heard yet: ${names}${more > 0 ? `, and ${more} more` : ""}`;
}
