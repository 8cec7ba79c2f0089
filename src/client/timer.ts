/**
 * The two places where this library touches the event loop itself, because a fiber for it would cost more than the
 * call it serves (measured: a forked sleep costs 30 µs a call, a timer 1 µs).
 */

/** Calls `f` after so many milliseconds of real time, unless cancelled before; the result cancels. */
export const after = (millis: number, f: () => void): (() => void) => {
  if (millis > longest) return () => {}
  const timer = setTimeout(f, millis)
  return () => clearTimeout(timer)
}

/**
 * Calls `f` when the events at hand have been taken, so that what they brought is handed on in one piece: a microtask
 * would come after each of them.
 */
export const soon = (f: () => void): void => {
  setImmediate(f)
}

// ---- internal ----

// what a timer can be set to: 24 days; a longer deadline is none
const longest = 2 ** 31 - 1
