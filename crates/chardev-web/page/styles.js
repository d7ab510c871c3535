// Lets xterm.js have its styles under a content security policy without 'unsafe-inline'.
//
// It makes <style> elements, and sets style attributes by name. The policy forbids both, since they
// look like injected text; style sheets and declarations that a script makes as objects it allows.
// So a style element of the terminal's is in fact an inert one whose text goes into such a sheet.

const make = Document.prototype.createElement;

function styleElement() {
  const element = make.call(document, "template");
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", {
    get: () => "",
    set: (/** @type {string} */ text) => sheet.replaceSync(text),
  });
  element.remove = () => {
    Element.prototype.remove.call(element);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((it) => it !== sheet);
  };
  return element;
}

/** Once, before the first terminal is made. */
export function allowTerminalStyles() {
  if (Object.hasOwn(document, "createElement")) return;
  document.createElement = (/** @type {string} */ tag, /** @type {any} */ options) =>
    tag === "style" ? styleElement() : make.call(document, tag, options);
  // Colours that are not of the palette are set on spans like this.
  HTMLSpanElement.prototype.setAttribute = function setAttribute(/** @type {string} */ name, /** @type {string} */ value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
}
