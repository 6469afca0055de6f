// Does work at most once per frame, whatever asks for it, and a second's ticks for what counts time.

/**
 * Returns a function that has `work` done in the next frame; asked again before, it is done once.
 * A page that is not shown has no frames: it is done when it is shown again, or after a second.
 * @param {() => void} work
 * @returns {(() => void) & {cancel: () => void}}
 */
export function oncePerFrame(work) {
  let frame = 0;
  let timer = 0;
  const cancel = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = timer = 0;
  };
  const run = () => {
    cancel();
    work();
  };
  const ask = () => {
    if (frame) return;
    frame = requestAnimationFrame(run);
    timer = window.setTimeout(run, 1000);
  };
  return Object.assign(ask, { cancel });
}

/**
 * Calls `work` once a second while the page is shown; returns what ends that.
 * @param {() => void} work
 */
export function everySecond(work) {
  const timer = setInterval(() => {
    if (!document.hidden) work();
  }, 1000);
  return () => clearInterval(timer);
}
