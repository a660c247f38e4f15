// Numbers and times as people read them. The node's clock counts: a browser's may be minutes off.

import { h } from "./dom.js";

const clock = { ahead: null, absolute: false };

/** The node said what its clock shows. News is delayed, never early: the greatest difference is the nearest. */
export function heardClock(asOf) {
  const ahead = asOf - Date.now() / 1000;
  clock.ahead = clock.ahead === null ? ahead : Math.max(clock.ahead, ahead);
}

export function forgetClock() {
  clock.ahead = null;
}

export function toggleTimes() {
  clock.absolute = !clock.absolute;
}

export const timesAreAbsolute = () => clock.absolute;
export const now = () => Date.now() / 1000 + (clock.ahead ?? 0);

const two = (value) => String(value).padStart(2, "0");

function clockTime(at) {
  const date = new Date(at * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function day(at) {
  const date = new Date(at * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** Local date and time to the millisecond, and the same in UTC. */
export function absolute(at) {
  const date = new Date(at * 1000);
  return `${day(at)} ${clockTime(at)}.${String(date.getMilliseconds()).padStart(3, "0")} (${date.toISOString()})`;
}

/** A point in time: how long ago, with the date on hover; or the other way about. */
export function when(at) {
  if (at === null || at === undefined) return "–";
  const ago = `${span(Math.max(0, Math.floor(now() - at)))} ago`;
  const exact = day(at) === day(now()) ? clockTime(at) : `${day(at)} ${clockTime(at)}`;
  const said = clock.absolute ? exact : now() - at < 1 ? "just now" : ago;
  return h("time", { datetime: new Date(at * 1000).toISOString(), title: clock.absolute ? `${ago}: ${absolute(at)}` : absolute(at) }, said);
}

/** A length of time in seconds, with two or three digits that matter. */
export function span(seconds) {
  if (seconds <= 0) return "0 s";
  if (seconds < 0.001) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** After something else, to the millisecond as long as that matters. */
export const after = (seconds) => `+${seconds < 100 ? `${seconds.toFixed(3)} s` : span(seconds)}`;

/** A weight or a count. The number of a batch is never grouped: it is copied into commands. */
export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-GB"));
export const plural = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;
export const percent = (part, whole) => (whole > 0 ? `${Number(((100 * part) / whole).toPrecision(3))} %` : "–");
export const words = (code) => code.replaceAll("_", " ");

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** A key or hash: beginning and end, the whole on hover and when it is copied. */
export function short(text) {
  if (text === null || text === undefined) return "–";
  const digits = text.slice(text.lastIndexOf(":") + 1);
  const brief = digits.length > 20 ? `${digits.slice(0, 10)}…${digits.slice(-6)}` : digits;
  return h("code", { title: text }, brief);
}
