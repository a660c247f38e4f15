// What is around the batches: peers, Ethereum, what waits, batches of Aligned, a re-sequencing, epochs, the node, its log.

import { card, empty, h, table } from "./dom.js";
import { bytes, count, percent, plural, short, span, when, words } from "./format.js";

const pairs = (...rows) =>
  h("dl", { class: "pairs" }, rows.filter(Boolean).map(([name, value, title]) => [h("dt", {}, name), h("dd", { title }, value)]));

export function peers(doc) {
  const { peers } = doc;
  if (peers === null) return null;
  return card("peers", "Peers", h("span", {}, `${count(peers.connected)} connected`, peers.expected > 0 && `, ${peers.expected} dialled by name`),
    peers.rows.length === 0
      ? empty(peers.expected > 0 ? "Nobody is connected. This node keeps dialling." : "Nobody is connected, and the configuration names nobody to dial.")
      : table("Connected peers", [["Peer"], ["Direction"], ["Address"], ["Connected"], ["Received", "num"], ["Sent", "num"], ["Score", "num"]],
          peers.rows.map((peer) => ({ key: `${peer.key} ${peer.direction} ${peer.since}`, cells: [
            h("span", { title: peer.key }, peer.name), peer.direction === "inbound" ? "← in" : "→ out", h("code", {}, peer.address), when(peer.since),
            bytes(peer.received_bytes), bytes(peer.sent_bytes), h("span", { class: peer.score < 50 ? "bad" : peer.score < 100 ? "warn" : "" }, count(peer.score)),
          ] }))),
    peers.left_out > 0 && h("p", { class: "muted" }, `${plural(peers.left_out, "connection")} more.`));
}

export function l1(doc) {
  const { l1 } = doc;
  if (l1 === null) return null;
  return card("l1", "Ethereum", null,
    l1.problem !== "" && h("p", { class: "bad" }, `✕ ${l1.problem}`),
    pairs(["Chain", l1.chain_id], l1.finality !== "" && ["Finality", l1.finality], l1.head !== null && ["Newest block", l1.head],
      l1.cursor !== null && ["Processed below", [l1.cursor, l1.head !== null && h("span", { class: "muted" }, ` ${count(Math.max(0, l1.head + 1 - l1.cursor))} to go`)]],
      ["Last answer", l1.answered_at === null ? "none yet" : when(l1.answered_at)]));
}

export function queues(doc) {
  if (doc.queues.length === 0) return null;
  return card("queues", "Waiting", null, pairs(...doc.queues.map((queue) => [words(queue.name), [
    h("span", { class: queue.limit !== null && queue.waiting >= queue.limit ? "bad" : "" }, count(queue.waiting)), queue.limit !== null && ` of ${count(queue.limit)}`,
    queue.oldest_s !== null && h("span", { class: "muted" }, ` the oldest for ${span(queue.oldest_s)}`), queue.detail !== "" && h("span", { class: "muted" }, ` ${queue.detail}`)]])));
}

/** Of batches of Aligned: title, class, whether a row has something there, and what. Each role fills some. */
const COLUMNS = [
  ["Batch", "", () => true, (task) => short(task.batch)],
  ["State", "", () => true, (task) => words(task.state)],
  ["Why", "", (task) => task.reason !== "" || task.detail !== "", (task) => [words(task.reason), task.detail !== "" && h("span", { class: "muted" }, ` ${task.detail}`)]],
  ["Block", "num", (task) => task.block !== null, (task) => task.block ?? "–"],
  ["Signed", "num", (task) => task.signed !== null, (task) => count(task.signed)],
  ["Attempt", "num", (task) => task.attempt !== null, (task) => count(task.attempt)],
  ["Due", "num", (task) => task.due_in_s !== null, (task) => (task.due_in_s === null ? "–" : `in ${span(task.due_in_s)}`)],
  ["Ended", "num", (task) => task.at !== null, (task) => when(task.at)],
];

export function tasks(doc) {
  const { tasks } = doc;
  if (tasks === null) return null;
  const filled = COLUMNS.filter(([, , has]) => tasks.rows.some(has));
  const totals = Object.entries(tasks.counts).map(([state, many]) => `${count(many)} ${words(state)}`).join(", ");
  return card("tasks", "Batches of Aligned", totals,
    tasks.rows.length === 0
      ? empty("Nothing waits, and nothing was refused.")
      : table("Batches of Aligned", filled.map(([title, kind]) => [title, kind]),
          tasks.rows.map((task) => ({ key: `${task.batch} ${task.block} ${task.state}`, cells: filled.map(([, , , cell]) => cell(task)) }))),
    tasks.left_out > 0 && h("p", { class: "muted" }, `${plural(tasks.left_out, "batch", "batches")} more: attestrio ${doc.node.role} status`));
}

export function resequence(doc) {
  const { resequence } = doc;
  if (resequence === null) return null;
  return card("resequence", "Re-sequencing", words(resequence.phase),
    h("progress", { max: Math.max(1, resequence.total), value: resequence.done, "aria-label": "Batches built again" }),
    pairs(["Built again", `${count(resequence.done)} of ${count(resequence.total)} (${percent(resequence.done, resequence.total)})`],
      resequence.first !== null && ["Batches", `${resequence.first} to ${resequence.last}`], resequence.at !== null && ["Being built", resequence.at], resequence.detail !== "" && ["", resequence.detail]));
}

export function epochs(doc) {
  if (doc.epochs.length === 0) return null;
  return card("epochs", "Epochs", null, h("ol", { class: "epochs" }, doc.epochs.map((epoch) => h("li", { key: epoch.number },
    h("p", {}, h("strong", {}, `Epoch ${epoch.number}`), ` fork ${epoch.fork_number}`,
      h("span", { class: "muted" }, epoch.ended_at === null ? " runs since " : " ended "), when(epoch.ended_at ?? epoch.began_at)),
    h("p", { class: "muted" }, words(epoch.cause), epoch.detail !== "" && `, ${epoch.detail}`, " · ", short(epoch.genesis))))));
}

export function about(doc) {
  const { node } = doc;
  return card("about", "This node", null, pairs(
    ["Role", words(node.role)], ["Started", when(node.started_at)],
    node.key !== null && ["Signs with", short(node.key)], node.network_key !== null && ["Known to peers as", short(node.network_key)],
    node.listening !== null && ["Listens at", h("code", {}, node.listening)], node.api_url !== null && ["Serves", h("code", {}, node.api_url)],
    ...doc.facts.map((fact) => [fact.name, fact.value])));
}

export function log(doc) {
  return card("log", "Log", doc.log.length > 0 && "newest first",
    doc.log.length === 0
      ? empty("Nothing was logged since the start.")
      : h("ol", { class: "log", tabindex: "0", role: "log", "aria-live": "off" }, doc.log.toReversed().map((line, at) => h("li", { key: `${line.at} ${doc.log.length - at}`, class: line.level },
          when(line.at), h("span", { class: "level" }, line.level), h("span", { class: "text" }, line.text), h("span", { class: "source muted" }, line.source)))));
}
