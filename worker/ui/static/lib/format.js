// Numbers as people read them. All of them are short, and none says more than is known.

import { S } from "./strings.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @param {number} bytes */
export function bytes(bytes) {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/**
 * A duration in its two largest units at most: "0.8 s", "42 s", "3 min", "2 h 5 min".
 * @param {number} seconds
 */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/**
 * The same for what is counted by the second: no tenths.
 * @param {number} seconds
 */
export function wholeDuration(seconds) {
  return seconds < 10 ? `${Math.max(0, Math.floor(seconds))} s` : duration(seconds);
}

/**
 * The same for what is often shorter than a second: "4 ms".
 * @param {number} seconds
 */
export function shortDuration(seconds) {
  return seconds < 1 ? `${Math.round(Math.max(0, seconds) * 1000)} ms` : duration(seconds);
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  return `${Math.floor(share * 100)} %`;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {number} number */
export function count(number) {
  return WHOLE.format(number);
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/**
 * A moment of today as a time, another one with its day.
 * @param {number} unixTime
 */
export function moment(unixTime) {
  const then = new Date(unixTime * 1000);
  return then.toDateString() === new Date().toDateString() ? CLOCK.format(then) : DAY.format(then);
}

/** @param {string} device such as "gpu0" */
export function device(device) {
  return S.devices[device] ?? device;
}
