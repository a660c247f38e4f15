// The committee: who voted for the batch of now, when each was last heard, and who missed what.

import { card, h, table } from "./dom.js";
import { count, percent, plural, when, words } from "./format.js";

const SHOWN = 25; // rows until all are asked for
const STANDINGS = { voted: ["good", "✓ voted"], other: ["bad", "≠ another hash"], waiting: ["muted", "· waiting"], missed: ["warn", "✕ missed"] };
const CELLS = { voted: "voted", late: "late", other: "another hash", waiting: "not yet", missed: "no vote", unknown: "not known here" };

export function committee(doc, state, redraw) {
  const { committee } = doc;
  if (committee === null) return null;
  const batches = doc.batches.toReversed().map((batch) => ({ batch, votes: new Map(batch.votes.map((vote) => [vote.key, vote])) }));
  const shown = state.all ? committee.members : committee.members.slice(0, SHOWN);
  const hidden = committee.members.length - shown.length;
  const now = doc.progress?.wanted == null ? "Now" : `Batch ${doc.progress.wanted}`;
  const last = batches.length > 1 ? `Last ${batches.length} batches` : "Batches";
  return card("committee", "Committee",
    h("span", {}, `${plural(committee.size, "member")}, weight ${count(committee.total_weight)}, quorum at ${count(committee.threshold)}`),
    table("Members of the committee",
      [["Member"], ["Weight", "num weight"], [now, "standing"], ["Last vote", "last"], [last, "strip"], ["Missed", "num missed"]],
      shown.map((member) => ({ key: member.key, kind: misses(member).length > 0 ? "" : "clean", cells: row(member, committee, batches) })), "members"),
    (hidden > 0 || state.all) && h("p", {}, h("button", { onclick: () => { state.all = !state.all; redraw(); } }, state.all ? "Show fewer" : `Show ${hidden} more`)),
    committee.left_out > 0 && h("p", { class: "muted" }, `${plural(committee.left_out, "member")} more in the genesis; the page has room for ${committee.members.length}.`));
}

function row(member, committee, batches) {
  const [kind, said] = STANDINGS[member.standing] ?? ["muted", "–"];
  return [
    h("span", { title: member.key }, member.name, member.own && h("span", { class: "own" }, "this node")),
    h("span", { title: `${percent(member.weight, committee.total_weight)} of all` }, count(member.weight)),
    h("span", { class: kind }, said),
    member.last_vote === null
      ? h("span", { class: "muted" }, "never")
      : [h("span", { class: "strong" }, member.last_vote), " ", h("span", { class: "muted" }, when(member.last_vote_at))],
    strip(member, batches),
    missed(member),
  ];
}

/** One cell a batch, the newest at the right. */
function strip(member, batches) {
  const cells = batches.map(({ batch, votes }) => [batch.number, found(batch, votes.get(member.key))]);
  const voted = cells.filter(([, cell]) => cell === "voted").length;
  const known = cells.filter(([, cell]) => cell !== "unknown" && cell !== "waiting").length;
  return h("span", { class: "cells", role: "img", "aria-label": `voted for ${voted} of ${known}` },
    cells.map(([number, cell]) => h("i", { key: number, class: cell, title: `batch ${number}: ${CELLS[cell]}` })));
}

function found(batch, vote) {
  if (vote !== undefined) return vote.other ? "other" : vote.late_s === null ? "voted" : "late";
  if (batch.state === "open") return "waiting";
  return batch.votes_left_out > 0 || batch.votes.length === 0 ? "unknown" : "missed";
}

const misses = (member) => Object.entries(member.missed).filter(([, times]) => times > 0);

function missed(member) {
  const reasons = misses(member);
  if (reasons.length === 0) return h("span", { class: "muted" }, "0");
  return h("span", { class: "warn", title: "silent: no vote was heard; late: it came when the main node had gone on" }, reasons.map(([reason, times]) => `${count(times)} ${words(reason)}`).join(", "));
}
