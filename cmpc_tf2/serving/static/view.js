// The picture with the masks of the sentences, or with a heat map in their place.

import { byId } from "./elements.js";
import { canvasOf, drawHeat, drawMasks, pixelsOf } from "./pixels.js";

// The longer side of the drawing in pixels: small pictures are enlarged, large ones reduced.
const SIDES = [800, 1280];

export class View {
  #canvas = byId("canvas");
  #context = this.#canvas.getContext("2d");
  #picture = null;
  #pending = false;
  #name = "";

  /** The sentences, each with `mask`, `color`, `isOn` and `text`. */
  sentences = [];
  /** The only sentence to draw; null for all that are on. */
  solo = null;
  /** A heat map, `{levels, title, button}`, in place of the masks; null for none. */
  #heat = null;

  get size() {
    return [this.#canvas.width, this.#canvas.height];
  }

  get canvas() {
    return this.#canvas;
  }

  /** Shows a picture of this name, without masks. */
  showPicture(image, name) {
    const longer = Math.max(image.width, image.height);
    const scale = Math.min(Math.max(longer, SIDES[0]), SIDES[1]) / longer;
    const [width, height] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
    this.#picture = pixelsOf(canvasOf(image, width, height));
    this.#name = name;
    Object.assign(this.#canvas, { width, height, hidden: false });
    byId("empty").hidden = true;
    this.showHeat(null);
  }

  /** Removes the picture. */
  clear() {
    this.#canvas.hidden = true;
    byId("empty").hidden = false;
    this.showHeat(null);
  }

  /** Shows a heat map in place of the masks, or the masks again. */
  showHeat(heat) {
    this.#heat?.button.setAttribute("aria-pressed", "false");
    heat?.button.setAttribute("aria-pressed", "true");
    this.#heat = heat;
    byId("heat").hidden = !heat;
    byId("heat-title").textContent = heat?.title ?? "";
    this.draw();
  }

  /** Whether this button's heat map is shown. */
  isHeatOf(button) {
    return this.#heat?.button === button;
  }

  /** Draws before the next frame. */
  draw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      if (this.#picture) this.#drawNow();
    });
  }

  #drawNow() {
    const image = new ImageData(this.#picture.data.slice(), this.#picture.width);
    const drawn = this.solo ? [this.solo] : this.sentences.filter(({ isOn }) => isOn);
    if (this.#heat) drawHeat(image, this.#heat.levels);
    else drawMasks(image, drawn);
    this.#context.putImageData(image, 0, 0);
    const contents = this.#heat ? `heat map, ${this.#heat.title}` : drawn.map(({ text }) => text).join("; ");
    this.#canvas.setAttribute("aria-label", contents ? `${this.#name}: ${contents}` : this.#name);
  }
}
