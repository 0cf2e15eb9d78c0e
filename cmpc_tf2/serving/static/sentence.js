// A sentence with its mask and its explanation.

import { make, save } from "./elements.js";
import { maskFile, maskOf, maskOfBox, readMap, stretch } from "./pixels.js";

const STAGES = { entities: "entities perceived", relations: "after relations", actions: "after actions" };
// A word type is named if its probability is at least so many times that of chance.
const DECIDED = 2;
// Objects that a model chooses among are listed up to so many.
const MOST_OBJECTS = 5;

export class Sentence {
  isOn = true;

  /**
   * @param {object} segment The server's answer, with the probabilities as mask.
   * @param {string} color Its colour.
   * @param {View} view Where its mask and its heat maps are shown.
   * @param {number?} pictureWidth Width of the picture that the box is about, in pixels; null if the model gives masks.
   * @param {() => void} remove Removes it.
   */
  constructor(segment, color, view, pictureWidth, remove) {
    this.segment = segment;
    this.isBox = pictureWidth !== null;
    this.#pictureWidth = pictureWidth;
    this.text = segment.expression;
    this.color = color;
    this.#view = view;
    this.#chip = make("button", { className: "chip", "aria-pressed": "true" }, make("span", { className: "swatch" }), this.text);
    this.#share = make("p", { className: "share" });
    this.element = make(
      "li",
      { className: "sentence" },
      make(
        "div",
        { className: "row" },
        this.#chip,
        ...(this.isBox ? [] : [this.#saveButton()]),
        make("button", { className: "small", "aria-label": `Remove “${this.text}”`, onclick: remove }, "×"),
      ),
      this.#share,
      ...this.#explanation(),
    );
    this.element.style.setProperty("--color", color);
    this.#listen();
  }

  #view;
  #pictureWidth;
  #chip;
  #share;
  #levels;
  #refined = null;

  /** Scales the probabilities to the view; to be awaited before the first `mark`. */
  async prepare() {
    if (!this.isBox) this.#levels = (await readMap(this.segment.mask, ...this.#view.size)).levels;
    return this;
  }

  /** The mask of DenseCRF, a PNG file in base64, replaces the threshold; null for the threshold again. */
  async refine(base64) {
    this.#refined = base64 && { base64, levels: (await readMap(base64, ...this.#view.size)).levels };
  }

  /** Whether the mask is that of DenseCRF. */
  get isRefined() {
    return this.#refined !== null;
  }

  /** Makes the mask for a threshold, or that of the box. */
  mark(threshold) {
    if (this.isBox) return this.#markBox();
    this.threshold = this.isRefined ? 0.5 : threshold;
    this.mask = maskOf(this.#refined?.levels ?? this.#levels, this.threshold);
    let marked = 0;
    let total = 0;
    this.mask.forEach((value, pixel) => {
      marked += value;
      total += value * this.#levels[pixel];
    });
    const share = (100 * marked) / this.mask.length;
    this.#share.textContent = marked
      ? `${share.toFixed(share < 10 ? 1 : 0)} % of the picture, mean probability ${(total / marked / 255).toFixed(2)}`
      : "Nothing is marked.";
  }

  #markBox() {
    const [width, height] = this.#view.size;
    const [x, y, boxWidth, boxHeight] = this.segment.bbox;
    this.mask = maskOfBox(this.segment.bbox.map((value) => (value * width) / this.#pictureWidth), width, height);
    const [left, top, right, bottom] = [x, y, x + boxWidth, y + boxHeight].map(Math.round);
    this.#share.textContent = `x ${left} to ${right}, y ${top} to ${bottom}, score ${this.segment.score.toFixed(2)}`;
  }

  #listen() {
    this.#chip.onclick = () => {
      this.isOn = !this.isOn;
      this.#chip.setAttribute("aria-pressed", this.isOn);
      this.#view.showHeat(null);
      this.#setSolo(this.isOn);
    };
    // A chip may appear below a mouse at rest, which does not count.
    this.#chip.onpointermove = ({ pointerType }) => pointerType === "mouse" && this.#setSolo(true);
    this.#chip.onfocus = () => this.#setSolo(this.#chip.matches(":focus-visible"));
    this.#chip.onpointerleave = this.#chip.onblur = () => this.#setSolo(false);
  }

  #setSolo(isSolo) {
    const solo = isSolo && this.isOn ? this : null;
    if (solo === this.#view.solo) return;
    this.#view.solo = solo;
    this.#view.draw();
  }

  #saveButton() {
    return make("button", { className: "small", "aria-label": `PNG: save the mask of “${this.text}”`, onclick: () => this.#saveMask() }, "PNG");
  }

  async #saveMask() {
    save(`${this.text}.png`, await maskFile(await readMap(this.#refined?.base64 ?? this.segment.mask), this.threshold));
  }

  #explanation() {
    const { words, phrases, candidates, attention, stages, unknown_words: unknown, truncation } = this.segment;
    const parts = [];
    if (words.length) parts.push(make("h3", {}, "Word types"), make("ul", { className: "words" }, ...words.map(describeWord)));
    else if (unknown.length) parts.push(make("p", { className: "share" }, `Unknown to the model: ${unknown.join(", ")}`));
    if (phrases.length) parts.push(make("h3", {}, "Phrases"), make("ul", { className: "phrases" }, ...phrases.map(describePhrase)));
    if (candidates.length) {
      const best = candidates.slice(0, MOST_OBJECTS).map(describeObject);
      parts.push(make("h3", {}, "Objects to choose from"), make("ol", { className: "objects" }, ...best));
    }
    if (truncation) parts.push(make("p", { className: "share" }, `Too long: ${truncation}.`));
    const buttons = [
      ...attention.map(({ word, map }) =>
        this.#heatButton(word === "[CLS]" ? "whole sentence" : word, `attention of “${word}”`, map, stretch),
      ),
      ...stages.map(({ stage, map }) => this.#heatButton(STAGES[stage] ?? stage, STAGES[stage] ?? stage, map)),
      ...(this.isBox ? [] : [this.#heatButton("probability", "probability", this.segment.mask)]),
    ];
    return [...parts, make("h3", {}, "Heat maps"), make("div", { className: "heats", role: "group", "aria-label": "Heat maps" }, ...buttons)];
  }

  /** A button that shows a map, with the levels changed by a function, in place of the masks, and them again. */
  #heatButton(label, title, map, change = (levels) => levels) {
    const button = make("button", { className: "small", "aria-pressed": "false" }, label);
    button.onclick = async () => {
      if (this.#view.isHeatOf(button)) return this.#view.showHeat(null);
      const { levels } = await readMap(map, ...this.#view.size);
      this.#view.showHeat({ levels: change(levels), button, title: `${title}: ${this.text}` });
    };
    return button;
  }
}

/** An aspect of the object, and the words of the sentence, darker the more they tell about it. */
function describePhrase({ aspect, share, words }) {
  const percent = (value) => `${Math.round(100 * value)} %`;
  const marked = words.flatMap(({ word, weight }) => {
    const mark = make("mark", { title: percent(weight) }, word);
    mark.style.setProperty("--weight", weight);
    return [mark, " "];
  });
  return make("li", {}, make("b", {}, share === null ? aspect : `${aspect} ${percent(share)}`), " ", ...marked);
}

/** An object that the model chooses among, and what each of its modules contributes to the score. */
function describeObject({ label, score, parts, bbox }) {
  const [x, y, width, height] = bbox.map(Math.round);
  const shares = Object.entries(parts).map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", ");
  return make("li", { title: `x ${x} to ${x + width}, y ${y} to ${y + height}` }, make("b", {}, `${label} ${score.toFixed(2)}`), ` ${shares}`);
}

/** A word above a bar with the probabilities of its types, and its type if the model decides for one. */
function describeWord({ word, known, types }) {
  const shares = Object.entries(types);
  const [type, share] = shares.reduce((best, next) => (next[1] > best[1] ? next : best));
  const isDecided = share >= DECIDED / shares.length;
  const bar = make("span", { className: "bar", "aria-hidden": "true" });
  for (const [name, value] of shares) {
    const part = make("span", { className: isDecided ? name : "undecided" });
    part.style.flexGrow = value;
    bar.append(part);
  }
  const percent = (value) => `${Math.round(100 * value)} %`;
  const verdict = isDecided ? `${type} ${percent(share)}` : "undecided";
  const all = shares.map(([name, value]) => `${name} ${percent(value)}`).join(", ");
  return make(
    "li",
    { className: `word ${isDecided ? type : "undecided"}${known ? "" : " unknown"}`, title: all },
    make("b", {}, word),
    bar,
    make("small", {}, known ? verdict : `unknown word, ${verdict}`),
  );
}
