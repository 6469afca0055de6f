// Elements, made and changed without markup: texts are only ever set as texts. Nothing in this page
// may use innerHTML and the like; the page's policy (Trusted Types) refuses it as well.

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Props */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element. A function is a listener ("onclick"), true an attribute without a value; false,
 * null and undefined are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * The same for SVG.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props} [props]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function svg(tag, props = {}, ...children) {
  return fill(/** @type {SVGElementTagNameMap[Tag]} */ (document.createElementNS(SVG, tag)), props, children);
}

/**
 * @template {Element} T
 * @param {T} element
 * @param {Props} props
 * @param {Child[]} children
 * @returns {T}
 */
function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else setAttr(element, name, value);
  }
  append(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/**
 * Sets or removes an attribute, if it is other than before.
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function setAttr(element, name, value) {
  if (value === false || value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/**
 * Sets the text of an element, if it is another one.
 * @param {Element} element
 * @param {string | number} text
 */
export function setText(element, text) {
  const wanted = String(text);
  const only = element.firstChild;
  if (wanted && only instanceof Text && !only.nextSibling) {
    if (only.data !== wanted) only.data = wanted; // costs less than another node
  } else if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * Sets a variable of CSS, if it is another one: how numbers become lengths and colours.
 * @param {HTMLElement | SVGElement} element
 * @param {string} name such as "--share"
 * @param {string | number} value
 */
export function setVar(element, name, value) {
  const wanted = String(value);
  if (element.style.getPropertyValue(name) !== wanted) element.style.setProperty(name, wanted);
}

/**
 * Shows or hides an element.
 * @param {HTMLElement} element
 * @param {boolean} isShown
 */
export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/**
 * Puts other children in the place of those that are there.
 * @param {Element} element
 * @param {...Child} children
 */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * A list whose items keep their elements, by key: what is the same is not touched, and not moved.
 * @template T
 */
export class KeyedList {
  /**
   * @param {Element} parent Has nothing else in it.
   * @param {object} how
   * @param {(item: T) => string} how.key
   * @param {(item: T) => HTMLElement | SVGElement} how.create
   * @param {(element: any, item: T) => void} [how.update] Called for new ones as well.
   * @param {(element: any) => void} [how.remove] Called before it goes.
   */
  constructor(parent, how) {
    this.parent = parent;
    this.how = how;
    /** @type {Map<string, HTMLElement | SVGElement>} */
    this.elements = new Map();
  }

  /**
   * @param {Iterable<T>} items in their order
   */
  set(items) {
    const { key, create, update, remove } = this.how;
    /** @type {Set<string>} */
    const kept = new Set();
    /** @type {Element | null} */
    let next = this.parent.firstElementChild;
    for (const item of items) {
      const name = key(item);
      if (kept.has(name)) continue;
      kept.add(name);
      let element = this.elements.get(name);
      if (!element) {
        element = create(item);
        this.elements.set(name, element);
      }
      if (element === next) next = next.nextElementSibling;
      else this.parent.insertBefore(element, next);
      update?.(element, item);
    }
    for (const [name, element] of this.elements) {
      if (!kept.has(name)) {
        remove?.(element);
        if (element.parentNode === this.parent) element.remove(); // another list may have it by now
        this.elements.delete(name);
      }
    }
  }

  /** @param {string} name */
  get(name) {
    return this.elements.get(name);
  }
}
