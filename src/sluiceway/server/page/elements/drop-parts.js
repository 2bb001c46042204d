// The pieces that <sluice-drop> is built of. Pages style each by ::part(name).

const SVG = "http://www.w3.org/2000/svg";
const SIGN = ["M24 6v22m0 0 9-9m-9 9-9-9", "M6 36c3-3 6-3 9 0s6 3 9 0 6-3 9 0 6 3 9 0"];

/**
 * @param {string} tag
 * @param {string} name
 * @param {Element | ShadowRoot} into
 */
export function make(tag, name, into) {
  const element = document.createElement(tag);
  element.className = name;
  if (name !== "unseen") element.setAttribute("part", name);
  into.append(element);
  return element;
}

/**
 * @param {string} name
 * @param {Element} into
 * @param {() => void} run
 */
export function button(name, into, run) {
  const element = /** @type {HTMLButtonElement} */ (make("button", name, into));
  element.type = "button";
  element.addEventListener("click", run);
  return element;
}

/**
 * An arrow into water.
 * @param {Element} into
 */
export function icon(into) {
  const image = document.createElementNS(SVG, "svg");
  image.setAttribute("class", "icon");
  image.setAttribute("part", "icon");
  image.setAttribute("viewBox", "0 0 48 48");
  image.setAttribute("aria-hidden", "true");
  for (const shape of SIGN) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    image.append(path);
  }
  into.append(image);
}
